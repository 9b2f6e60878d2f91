"""What does a trial of a study cost?

Studies of studperf beside plain Optuna around our own `train.run` (peers/optuna_loop.py) and beside hydra-optuna-sweeper, which runs the
same task in an environment of its own (peers/official). Then what the engine costs where a trial costs nothing, what a second worker
brings, and what pruning saves.
"""

from __future__ import annotations

import io
import itertools
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common import (
    CSV,
    Bar,
    Options,
    Report,
    Rounds,
    Values,
    interleave,
    open_lanes,
    ratio,
    run_script,
    timed_process,
)
from peers.official.environment import environment, find_python

PEERS = Path(__file__).parent / "peers"
OURS, PLAIN, OFFICIAL = "studperf", "plain Optuna", "hydra-optuna-sweeper"
ONCE, WHOLE = "plain Optuna, composed once", "plain Optuna, whole runs"
SPACE = {
    "optimizer.lr": "tag(log,interval(1e-4,3e-2))",
    "optimizer.weight_decay": "tag(log,interval(1e-6,1e-1))",
    "model.dropout": "interval(0.1,0.5)",
    "scheduler.warmup": "interval(0.0,0.3)",
}
"""What is varied here changes nothing about how long a trial takes, whatever a sampler draws; peers/optuna_loop.py has the same."""
_VARIED = [f"{key}={text}" for key, text in SPACE.items()]
_QUICK = ("data=simulated", "data.source.simulate.rows=400")
_SWEEPER = ("hydra/sweeper=optuna", "hydra/sweeper/pruner=none", "hydra.sweeper.winner.top=0")
_TRIAL, _WALL, _REST = "s/trial", "whole wall s", "start and end s"
_COST = "CPU ms/trial"
_START, _WORK, _EACH = "start s", "wall s after it", "fit s"
_EPOCHS, _BEST = "epochs", "best val RMSE"
_N_SEEDS = 3
_N_ROUNDS = 3


def fixed_words(options: Options, n_epochs: int, *, batch_size: int = 256) -> list[str]:
    """Words that every contender's trials have: no early stopping, so that all do the same work."""
    data = _QUICK if options.quick or not CSV.is_file() else ()
    epochs = (
        f"trainer.max_epochs={n_epochs}",
        f"monitor.patience={n_epochs}",
        f"batch_size={batch_size}",
    )
    rest = (
        "trainer.accelerator=cpu",
        "threads=1",
        "progress=false",
        "plots=false",
        "score_on=val",
        "tracking.wandb.mode=disabled",
    )
    return [*data, "model=mlp", *epochs, *rest]


def commands(words: Sequence[str], n_trials: int, python: Path | None) -> dict[str, list[str]]:
    """Contender -> the command of its study; `python` is of the environment of hydra-optuna-sweeper, if there is one."""
    loop = [sys.executable, str(PEERS / "optuna_loop.py"), "study.journal", str(n_trials)]
    total = f"hydra.sweeper.n_trials={n_trials}"
    found = {
        OURS: [sys.executable, "-m", "studperf.train", "-m", *_SWEEPER, total, *words, *_VARIED],
        PLAIN: [*loop, "trial", *words],
        ONCE: [*loop, "once", *words],
        WHOLE: [*loop, "whole", *words],
    }
    if python is not None:
        script, conf = PEERS / "official" / "train.py", PEERS / "official" / "conf"
        theirs = [
            str(script),
            "-m",
            f"hydra.searchpath=[file://{conf}]",
            "hydra/sweeper=official",
            total,
        ]
        found[OFFICIAL] = [str(python), *theirs, *words, *_VARIED]
    return found


def trials(options: Options) -> list[Report]:
    """A trial's wall time in several ways of running the same study."""
    n_trials, n_epochs = (2, 2) if options.quick else (30, 10)
    words = fixed_words(options, n_epochs)
    python, why_not = find_python(may_build=not options.quick)
    if not options.quick:
        for name, command in commands(
            words, 2, python
        ).items():  # compiles bytecode, fills the page cache
            timed_study(command, 2, env_of(name))
    contenders: dict[str, Callable[[], Values]] = {
        name: partial(timed_study, command, n_trials, env_of(name))
        for name, command in commands(words, n_trials, python).items()
    }
    rounds = interleave(contenders, min(options.rounds, _N_ROUNDS))
    bars = (
        ()
        if options.quick
        else tuple(
            Bar(f"{OURS} / {peer}, {_TRIAL}", ratio(rounds, OURS, peer, _TRIAL), at_most=1.1)
            for peer in (PLAIN, ONCE)
        )
    )
    return [
        Report(
            title=f"{n_trials} trials of {n_epochs} epochs, TPE over {len(SPACE)} numbers, nothing pruned",
            rounds=rounds,
            columns=(_TRIAL, _WALL, _REST, "CPU s", "peak MB"),
            against=PLAIN,
            bars=bars,
            ratios=(_WALL, "CPU s"),
            notes=(
                f"{_TRIAL}: from one trial's end to the next one's, mean. {_REST}: the rest of the process, such as imports and the reading of",
                f"the table. {PLAIN} composes each trial's configuration with load_overrides; {ONCE}: once, then sets values and checks them.",
                "studperf's journal has an entry an epoch and three notes a trial, and each entry waits for the disk; the loops keep draws and ends.",
                f"{WHOLE}: train.run as a single run has it, baselines and judgement included; the others ask for trials (is_trial).",
                *([f"{OFFICIAL} is left out: {why_not}."] if python is None else []),
            ),
        )
    ]


def env_of(name: str) -> dict[str, str]:
    """Of a contender's process."""
    return environment() if name == OFFICIAL else {}


def timed_study(command: Sequence[str], n_trials: int, env: dict[str, str]) -> Values:
    """A study as a process in a folder of its own; when trials ended is read from what their runs left.

    Raises:
        RuntimeError: it has not as many finished runs as it was to have.
    """
    with tempfile.TemporaryDirectory() as name:
        values = timed_process(command, cwd=Path(name), env=env)
        ends = sorted(path.stat().st_mtime for path in finished_runs(Path(name)))
    if len(ends) != n_trials:
        raise RuntimeError(f"{' '.join(command)}: {len(ends)} trials are finished, not {n_trials}")
    per_trial = (ends[-1] - ends[0]) / (n_trials - 1)
    return {
        _TRIAL: per_trial,
        _WALL: values["wall s"],
        _REST: values["wall s"] - n_trials * per_trial,
        **values,
    }


def finished_runs(folder: Path) -> list[Path]:
    """Records of the runs below a folder that have finished."""
    found = sorted(folder.rglob("record.json"))
    return [
        path
        for path in found
        if json.loads(path.read_text(encoding="utf-8"))["status"] == "finished"
    ]


def engine(options: Options) -> list[Report]:
    """What a trial costs that returns at once: drawing, composing, checking, keeping and showing it."""
    n_trials = 3 if options.quick else 60
    kinds = [
        (storage, sampler) for storage in ("journal", "sqlite") for sampler in ("tpe", "random")
    ][: 1 if options.quick else None]
    with open_lanes(INSTANT, options) as lanes:
        for (name, work), (storage, sampler) in itertools.product(INSTANT.items(), kinds):
            lanes[name].run(work, storage, sampler, 2)  # imports
        contenders = {
            f"{name}, {storage}, {sampler}": partial(
                lanes[name].run, work, storage, sampler, n_trials
            )
            for (storage, sampler), (name, work) in itertools.product(kinds, INSTANT.items())
        }
        rounds = interleave(contenders, min(options.rounds, _N_ROUNDS))
    default = f"{OURS}, journal, tpe"
    cost = statistics.median(values[_COST] for values in rounds[default])
    return [
        Report(
            title=f"{n_trials} trials that return at once",
            rounds=rounds,
            columns=(_COST, "wall ms/trial"),
            against="plain Optuna, journal, tpe",
            bars=() if options.quick else (Bar(f"{default}, {_COST}", cost, at_most=40),),
            notes=(
                "studperf: the study opened, and for each trial a checked RunConfig, its folder, its words and costs kept, its line shown; only",
                "train.run is replaced. plain Optuna: study.optimize around four suggestions.",
            ),
        )
    ]


def instant_study(storage: str, sampler: str, n_trials: int) -> Values:
    """A study of ours whose runs return at once."""
    from rich.console import Console

    from studperf.config.load import compose
    from studperf.sweeps.request import read_order
    from studperf.sweeps.workers import run_study
    from studperf.train.runner import Runner
    from studperf.train.runs import run_many

    node = compose(
        [*_SWEEPER, f"hydra/sweeper/sampler={sampler}"], return_hydra_config=True
    ).hydra.sweeper
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            **node,
            "n_trials": n_trials,
            "storage": f"sqlite:///{folder}/study.db" if storage == "sqlite" else None,
        }
        order = read_order([*_VARIED, f"runs={folder}"], settings)
        clock = Clock()
        console = Console(file=io.StringIO())
        runner = Runner(instant_run, run_many, lambda: console)
        run_study(order, runner, console, None, None)
        return clock.per_trial(n_trials)


def instant_run(config: Any, **_: Any) -> Any:  # noqa: ANN401 - in the place of train.run
    """A record of a run that nobody made, with all that a study reads of one."""
    value = abs(config.optimizer.lr - 1e-2) + config.optimizer.weight_decay
    return SimpleNamespace(
        n_parameters=1, best_epoch=0, history=[{"val/rmse": value}], timings_s={"fit": 0.0}
    )


def instant_loop(storage: str, sampler: str, n_trials: int) -> Values:
    """Plain Optuna's."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("optimizer.lr", 1e-4, 3e-2, log=True)
        weight_decay = trial.suggest_float("optimizer.weight_decay", 1e-6, 1e-1, log=True)
        trial.suggest_float("model.dropout", 0.1, 0.5)
        trial.suggest_float("scheduler.warmup", 0.0, 0.3)
        return abs(lr - 1e-2) + weight_decay

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")  # Optuna marks options of its sampler as experimental
    tpe = partial(
        optuna.samplers.TPESampler,
        n_startup_trials=10,
        multivariate=True,
        group=True,
        constant_liar=True,
    )
    drawer = tpe(seed=0) if sampler == "tpe" else optuna.samplers.RandomSampler(seed=0)
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        where = (
            f"sqlite:///{folder}/study.db"
            if storage == "sqlite"
            else JournalStorage(JournalFileBackend(f"{folder}/study.journal"))
        )
        study = optuna.create_study(
            storage=where, sampler=drawer, pruner=optuna.pruners.NopPruner()
        )
        study.optimize(objective, n_trials=n_trials)
        return clock.per_trial(n_trials)


INSTANT: dict[str, Callable[[str, str, int], Values]] = {OURS: instant_study, PLAIN: instant_loop}


class Clock:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def per_trial(self, n_trials: int) -> Values:
        """What went by, shared among trials."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {_COST: 1e3 * cpu / n_trials, "wall ms/trial": 1e3 * wall / n_trials}


def workers(options: Options) -> list[Report]:
    """One worker and two, on the same trials."""
    n_trials, words = (
        (2, fixed_words(options, 2))
        if options.quick
        else (60, fixed_words(options, 40, batch_size=16))
    )
    contenders = {
        name: partial(timed_workers, words, n_jobs, n_trials)
        for n_jobs, name in enumerate(WORKERS, 1)
    }
    rounds = interleave(contenders, 1)
    one, two = WORKERS
    bars = (
        ()
        if options.quick
        else (Bar(f"speed-up, {_WALL}", ratio(rounds, one, two, _WALL), at_least=1.6),)
    )
    return [
        Report(
            title=f"{n_trials} trials by one worker and by two",
            rounds=rounds,
            columns=(_WALL, _START, _WORK, _EACH, "CPU s"),
            against=one,
            bars=bars,
            ratios=(_WORK,),
            notes=(
                f"{_START}: until a worker trains, mean of the workers. {_EACH}: median of a run's fit.",
            ),
        )
    ]


def timed_workers(words: Sequence[str], n_jobs: int, n_trials: int) -> Values:
    """A study with so many workers, as a process."""
    jobs = (f"hydra.sweeper.n_jobs={n_jobs}", f"hydra.sweeper.n_trials={n_trials}")
    with tempfile.TemporaryDirectory() as name:
        began = time.time()
        values = timed_process(
            [sys.executable, "-m", "studperf.train", "-m", *_SWEEPER, *jobs, *words, *_VARIED],
            cwd=Path(name),
        )
        runs = finished_runs(Path(name))
        starts = sorted((path.parent / "config.yaml").stat().st_mtime - began for path in runs)
        start = statistics.fmean(starts[:n_jobs])
        fits = [json.loads(path.read_text(encoding="utf-8"))["timings_s"]["fit"] for path in runs]
    return {
        **values,
        _WALL: values["wall s"],
        _START: start,
        _WORK: values["wall s"] - start,
        _EACH: statistics.median(fits),
    }


def pruning(options: Options) -> list[Report]:
    """The shipped study of the MLP, pruned as it is shipped and not at all; a round is a seed of the sampler."""
    rounds = interleave(
        {
            name: partial(timed_pruning, words, itertools.count(), options)
            for name, words in PRUNERS.items()
        },
        n_seeds(options),
    )
    default, none = PRUNERS
    share = mean_of(rounds, default, _EPOCHS) / mean_of(rounds, none, _EPOCHS)
    excess = 100 * (mean_of(rounds, default, _BEST) / mean_of(rounds, none, _BEST) - 1)
    bars = (
        Bar(f"{_EPOCHS}, {default} / {none}", share, at_most=0.5),
        Bar(f"{_BEST}, {default} above {none}, %", excess, at_most=0.5),
    )
    return [
        Report(
            title="sweeps=mlp, 50 trials, three seeds of the sampler",
            rounds=rounds,
            columns=(_EPOCHS, _BEST, "pruned", "wall s"),
            against=none,
            bars=() if options.quick else bars,
            ratios=("wall s",),
            notes=(
                "Epochs of all trials together; a trial has 60 at most, and early stopping's patience is 20. Bars: of means over the seeds.",
            ),
        )
    ]


def n_seeds(options: Options) -> int:
    """Of the sampler: its own rounds, for its figures do not depend on time."""
    return 1 if options.quick else _N_SEEDS


def timed_pruning(words: Sequence[str], seeds: itertools.count[int], options: Options) -> Values:
    """A study as a process, with the next seed."""
    size = ["hydra.sweeper.n_trials=2", "trainer.max_epochs=2", *_QUICK] if options.quick else []
    size += [] if CSV.is_file() else _QUICK[:1]
    more = [
        "hydra.sweeper.winner.top=0",
        f"hydra.sweeper.seed={next(seeds)}",
        "progress=false",
        "tracking.wandb.mode=disabled",
    ]
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "studperf.train", "-m", "sweeps=mlp", *words, *more, *size]
        values = timed_process(command, cwd=Path(name))
        records = [
            json.loads(path.read_text(encoding="utf-8")) for path in Path(name).rglob("record.json")
        ]
    complete = [record for record in records if record["status"] == "finished"]
    return {
        _EPOCHS: sum(len(record["history"]) for record in records),
        _BEST: min(record["best_value"] for record in complete),
        "pruned": len(records) - len(complete),
        "wall s": values["wall s"],
    }


def mean_of(rounds: Rounds, name: str, column: str) -> float:
    """Over the rounds."""
    return statistics.fmean(values[column] for values in rounds[name])


WORKERS = ("one worker", "two workers")
PRUNERS = {"pruned": (), "not pruned": ("hydra/sweeper/pruner=none",)}
PARTS = {"trials": trials, "engine": engine, "workers": workers, "pruning": pruning}


if __name__ == "__main__":
    run_script(PARTS)
