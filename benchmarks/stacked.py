"""What does a trial cost when many are trained at once?

K networks (conf/model/mlp.yaml: 64-32, SiLU, dropout 0.3) that differ in their seed, trained as a stack (engine=stacked), beside one
network at a time: studperf's own fit, the raw torch loop, and a usual Lightning module, each written out in steps.py and peers/. All-in:
one validation an epoch with its metrics, best weights kept, histories and checkpoints on disk; judging and plots are left out. CPU time,
since a trial that waits costs nothing.
"""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from common import (
    CSV,
    Bar,
    Lane,
    Options,
    Report,
    Rounds,
    Values,
    interleave,
    open_lanes,
    ratio,
    run_script,
)
from steps import Clock, Task, run_raw, run_studperf, run_usual

_COST = "CPU ms/trial"
_EPOCHS = {32: 5, 256: 30}
_SIZES = (8, 32, 128)
_LEAST = {32: 6.0, 256: 2.5}
"""Batch size -> trials of 32 stacked ones in the CPU time of one alone, at least."""
_LEAST_USUAL = 15.0
ALONE, RAW, USUAL = "studperf, one at a time", "raw torch loop", "usual Lightning module"


def run_stack(task: Task, n_members: int) -> Values:
    """`StackLearner.fit` on runs opened as the chain opens them, in stacks of the size that it chooses."""
    from rich.console import Console

    from studperf.config.load import load_overrides
    from studperf.data.preparation import prepare
    from studperf.record.lifecycle import open_run
    from studperf.record.run import Job
    from studperf.train.stack.fit import StackLearner

    console = Console(file=io.StringIO())
    base = load_overrides([*task.overrides, "engine=stacked"])
    configs = [base.model_copy(update={"seed": seed}) for seed in range(n_members)]
    learner = StackLearner(base)
    cpu = 0.0
    with prepare(base, console) as ready, tempfile.TemporaryDirectory() as folder:
        size = learner.n_together(ready)
        for start in range(0, n_members, size):
            together = configs[start : start + size]
            models = learner.build(together, ready)
            runs = []
            for config, model in zip(together, models, strict=True):
                job = Job(config, folder=Path(folder) / f"seed{config.seed}")
                runs.append(open_run(job, ready, console, n_parameters=model.n_parameters))
            clock = Clock()
            learner.fit(runs, models, ready)
            clock.stop()
            cpu += clock.cpu
    return {_COST: 1e3 * cpu / n_members}


def run_alone(task: Task, contender: Callable[[Task], Values]) -> Values:
    """One trial of a contender that knows no stacks."""
    values = contender(task)
    epochs_s = task.n_epochs / values["epochs/s"]
    return {_COST: 1e3 * epochs_s * values["CPU us/step"] / values["us/step"]}


CONTENDERS: dict[str, Callable[[Task], Values]] = {
    ALONE: functools.partial(run_alone, contender=run_studperf),
    **{f"{size} stacked": functools.partial(run_stack, n_members=size) for size in _SIZES},
    RAW: functools.partial(run_alone, contender=run_raw),
    USUAL: functools.partial(run_alone, contender=run_usual),
}


def measure(options: Options) -> list[Report]:
    """A table for each batch size."""
    with open_lanes(CONTENDERS, options) as lanes:
        if options.quick:
            return [compare(lanes, Task(64, 2, is_quick=True), options)]
        return [
            compare(lanes, Task(batch_size, n_epochs, is_quick=False), options)
            for batch_size, n_epochs in _EPOCHS.items()
        ]


def compare(lanes: dict[str, Lane], task: Task, options: Options) -> Report:
    """All contenders on one task."""
    if not options.quick:
        for name, lane in lanes.items():
            lane.run(
                CONTENDERS[name], Task(task.batch_size, 2, is_quick=True)
            )  # imports, and what torch sets up in its first steps
    rounds = interleave(
        {name: functools.partial(lane.run, CONTENDERS[name], task) for name, lane in lanes.items()},
        options.rounds,
    )
    data = "the simulated table" if task.is_quick or not CSV.is_file() else "the real table"
    return Report(
        title=f"batch {task.batch_size}, {task.n_epochs} epochs of {data}",
        rounds=rounds,
        columns=(_COST,),
        against=ALONE,
        bars=() if task.is_quick else bars(task, rounds),
        notes=(
            "Their histories equal those of single runs to 1e-6 (tests/train/stack/test_fit.py). More runs than fit the cache are trained as",
            "several stacks. Drawing dropout masks as single runs draw them takes about two fifths of a stack's time at batch 256.",
        ),
    )


def bars(task: Task, rounds: Rounds) -> tuple[Bar, ...]:
    """What must hold for 32 runs."""
    stack = "32 stacked"
    return (
        Bar(
            f"trials per CPU second, {stack} / {ALONE}",
            ratio(rounds, ALONE, stack, _COST),
            at_least=_LEAST[task.batch_size],
        ),
        Bar(
            f"trials per CPU second, {stack} / {RAW}",
            ratio(rounds, RAW, stack, _COST),
            at_least=_LEAST[task.batch_size],
        ),
        Bar(
            f"trials per CPU second, {stack} / {USUAL}",
            ratio(rounds, USUAL, stack, _COST),
            at_least=_LEAST_USUAL,
        ),
    )


if __name__ == "__main__":
    run_script(measure)
