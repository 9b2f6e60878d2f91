"""Several runs: one after another, or together as a stack of one architecture."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import yaml
from rich.console import Console

from studperf import report
from studperf.config.console import print_line
from studperf.config.files import write_atomically
from studperf.config.run import RunConfig
from studperf.data.large.memory import enough_memory
from studperf.errors import Interrupted, StudperfError
from studperf.judge.judge import Reference, predict_val
from studperf.record.files import LAST, RECORD, make_folder
from studperf.record.lifecycle import LOG, open_run, recorded
from studperf.record.record import RunRecord
from studperf.tracking.tracker import tracked
from studperf.train.conclusion import export_if_asked, judge_and_draw
from studperf.train.fit import build_trainer, take_best
from studperf.train.job import Job, Result, RunOne
from studperf.train.kept import prepare_again
from studperf.train.module import build_module
from studperf.train.plan import REPEAT, Plan, load_recorded
from studperf.train.preparation import Prepared, prepare
from studperf.train.stack import find_obstacle, stack_key, stack_size
from studperf.train.stack.fit import Member, fit_stack
from studperf.train.stack.stack import Stack
from studperf.train.stack.trace import NotStackableError


def repeat_jobs(config: RunConfig, words: Sequence[str], parent: Path, stem: str) -> list[Job]:
    """Return the runs that a configuration asks for, each with its own seed.

    Their folders are `parent/<stem><seed>`.
    """
    if config.repeat == 1:
        return [Job(config, words, parent / f"{stem}{config.seed}")]
    kept = [word for word in words if not word.startswith(("repeat=", "seed="))]
    jobs = []
    for seed in range(config.seed, config.seed + config.repeat):
        own = config.model_copy(update={"seed": seed, "repeat": 1})
        jobs.append(Job(own, [*kept, f"seed={seed}"], parent / f"{stem}{seed}"))
    return jobs


def open_repeat(config: RunConfig, words: Sequence[str]) -> tuple[Path, list[Job]]:
    """Make a new folder for the runs of `repeat=`, and return it with its runs.

    It holds what is needed to go on in it later.

    Raises:
        RunError: the folder can't be made.
    """
    begun = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    folder = make_folder(Path(config.runs), f"{begun}_{config.model_name}_repeat{config.repeat}")
    text = yaml.safe_dump(
        {"overrides": list(words), "config": config.model_dump(mode="json")},
        sort_keys=False,
        allow_unicode=True,
    )
    write_atomically(folder / REPEAT, text)
    return folder, repeat_jobs(config, words, folder, "seed")


def drop_empty(folder: Path) -> None:
    """Remove the folder of `repeat=` if each of its runs was refused before it began."""
    if not any(folder.glob(f"*/{RECORD}")):
        (folder / REPEAT).unlink()
        folder.rmdir()


def find_jobs(folder: Path) -> list[Job]:
    """Return the runs of a folder of several that are to be gone on with.

    Of a `repeat=` these are all runs. Of a multirun they are those that have not finished, and
    those that never began; a multirun of an earlier version wrote no plan, and is known by what
    lies there.

    Raises:
        ConfigError: the configuration that lies there is refused.
        RunError: a record or the plan can't be read.
    """
    if (folder / REPEAT).is_file():
        saved = yaml.safe_load((folder / REPEAT).read_text(encoding="utf-8"))
        config = load_recorded(saved["config"], saved["overrides"])
        return repeat_jobs(config, saved["overrides"], folder, "seed")

    paths = sorted(folder.glob(f"*/{RECORD}"))
    begun = {path.parent: RunRecord.load(path.parent) for path in paths}
    jobs = [
        Job(load_recorded(record.config, record.overrides), record.overrides, below)
        for below, record in begun.items()
        if record.status != "finished"
    ]
    return jobs + [job for job in _planned_jobs(folder) if job.folder not in begun]


def _planned_jobs(folder: Path) -> list[Job]:
    """Return the runs of a multirun's plan, but for those whose seeds have all begun.

    These are known by their records.
    """
    plan = Plan.load(folder)
    jobs: list[Job] = []
    for planned in plan.runs if plan is not None else ():
        if len(planned.find_begun(folder)) < planned.n_runs:
            config = planned.compose(folder)
            stem = multirun_stem(planned.number, config)
            jobs += repeat_jobs(config, planned.plain_words, folder, stem)
    return jobs


def multirun_stem(number: int, config: RunConfig) -> str:
    """Return the beginning of the folder names of a multirun's run, which its seed ends."""
    return f"{number}_{config.model_name}_seed"


def run_many(
    jobs: Sequence[Job], run_one: RunOne, console: Console, *, is_trial: bool = False
) -> list[Result]:
    """Run jobs one after another, or together as stacks.

    Each job is run as `run_one` would; `engine=stacked` trains those together that can be. As
    trials of a study, jobs end with their predictions for val, see `train.run`. A job whose folder
    holds a finished run is done already. One that fails does not stop the others.

    Returns:
        For each job its record, or the error that it ended with.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM; the message says how to go on.
    """
    results: dict[int, Result] = {}
    # Reasons against a stack that were printed already.
    shown: set[str] = set()
    groups: dict[str, list[int]] = {}
    for i, job in enumerate(jobs):
        finished = _read_finished(job)
        if finished is not None:
            results[i] = finished
        else:
            groups.setdefault(_group_key(job, i), []).append(i)

    try:
        for group in groups.values():
            members = [jobs[i] for i in group]
            done = _run_group(members, run_one, console, shown, is_trial=is_trial)
            results.update(zip(group, done, strict=True))
    except Interrupted as error:
        parents = {job.folder.parent for job in jobs if job.folder is not None}
        if len(jobs) == 1 or len(parents) != 1:
            raise
        raise Interrupted(
            f"interrupted; go on with: python -m studperf.train resume={parents.pop()}"
        ) from error
    return [results[i] for i in range(len(jobs))]


def _read_finished(job: Job) -> RunRecord | None:
    """Return the record of a job that has finished already, or None if it has not."""
    if job.folder is None or not (job.folder / RECORD).is_file():
        return None
    record = RunRecord.load(job.folder)
    return record if record.status == "finished" else None


def _group_key(job: Job, number: int) -> str:
    """Return a key that is equal for jobs to be trained together.

    A job that has a checkpoint goes on from there, alone.
    """
    has_checkpoint = job.folder is not None and (job.folder / LAST).is_file()
    if job.config.engine == "ordinary" or has_checkpoint:
        return str(number)
    return stack_key(job.config)


def _run_group(
    jobs: Sequence[Job],
    run_one: RunOne,
    console: Console,
    shown: set[str],
    *,
    is_trial: bool,
) -> list[Result]:
    """Return the results of jobs that may be trained together."""
    config = jobs[0].config
    obstacle: str | None = "a run alone has nothing to be stacked with"
    if len(jobs) > 1:
        obstacle = find_obstacle(config)
    try:
        if obstacle is None:
            return _run_stacks(jobs, console, is_trial=is_trial)
    except NotStackableError as error:
        obstacle = f"model {config.model_name} can't be stacked: {error}"
    except _caught(is_trial=is_trial) as error:
        return [error] * len(jobs)

    if config.engine == "stacked" and obstacle not in shown:
        shown.add(str(obstacle))
        print_line(
            console,
            f"engine=stacked: trained one after another instead: {obstacle}",
            style="yellow",
        )
    return [_run_alone(job, run_one, is_trial=is_trial) for job in jobs]


def _run_alone(job: Job, run_one: RunOne, *, is_trial: bool) -> Result:
    try:
        run = functools.partial(run_one, is_trial=True) if is_trial else run_one
        return run(job.config, overrides=job.overrides, folder=job.folder)
    except _caught(is_trial=is_trial) as error:
        return error


def _caught(*, is_trial: bool) -> type[Exception]:
    """Return the class of errors that do not stop the other runs.

    Of a trial it is every error, out of memory included; of a run, those that we foresaw.
    """
    return Exception if is_trial else StudperfError


def _run_stacks(jobs: Sequence[Job], console: Console, *, is_trial: bool) -> list[Result]:
    results: list[Result] = []
    reference: Reference | None = None
    config = jobs[0].config
    prepare_rows = prepare_again if is_trial else prepare
    with prepare_rows(config, console) as ready:
        size = stack_size(config.batch_size, len(ready.rows.split.train))
        for start in range(0, len(jobs), size):
            done, reference = _run_stack(
                jobs[start : start + size], ready, reference, console, is_trial=is_trial
            )
            results += done
    return results


def _run_stack(
    jobs: Sequence[Job],
    ready: Prepared,
    reference: Reference | None,
    console: Console,
    *,
    is_trial: bool,
) -> tuple[list[Result], Reference | None]:
    """Train one stack and judge each of its members."""
    config = jobs[0].config
    target = ready.rows.target(ready.rows.split.train)
    trainer = build_trainer(config, Path(config.runs), [])
    device = trainer.strategy.root_device.type
    if device != "cpu":
        raise NotStackableError(
            f"the trainer chose {device}, and a stack trains on the CPU (trainer.accelerator=cpu)"
        )
    modules = [build_module(job.config, ready.encoder.features, target) for job in jobs]
    with enough_memory(config):
        stack = Stack(modules, ready.data.table.part("train"))

    members: list[Member] = []
    results: list[Result] = []
    with _recorded_together(members), enough_memory(config):
        for job, module in zip(jobs, modules, strict=True):
            record, folder = open_run(
                job.config,
                job.overrides,
                ready.rows,
                ready.leaks,
                ready.encoder,
                module.n_parameters,
                job.folder,
            )
            members.append(Member(job.config, module, record, folder))

        report.show_stack([(member.record, member.folder) for member in members], console)
        started = time.monotonic()
        fit_stack(stack, members, ready.data, console)
        for member in members:
            timings = member.record.timings_s
            earlier = timings.get("fit", 0.0)
            timings["fit"] = round(earlier + time.monotonic() - started, 3)

        for member in members:
            try:
                reference = _conclude(member, ready, reference, console, is_trial=is_trial)
                results.append(member.record)
            except _caught(is_trial=is_trial) as error:
                results.append(error)
    return results, reference


def _conclude(
    member: Member,
    ready: Prepared,
    reference: Reference | None,
    console: Console,
    *,
    is_trial: bool,
) -> Reference | None:
    """Load a member's best weights, then judge, draw, bundle and track it.

    Whatever ends this, the member's own record says so.
    """
    record, folder = member.record, member.folder
    with tracked(record, folder, member.config, console, is_trial=is_trial) as tracker:
        with recorded(record, folder):
            LOG.info(
                "trained together with %d other runs: %d epochs",
                record.n_stacked - 1,
                len(record.history),
            )
            for row in record.history:
                tracker.log_epoch(row)
            take_best(member.module, member.config, record, folder)
            if is_trial:
                predict_val(member.module, ready.data, ready.rows, folder)
                return None
            reference = judge_and_draw(
                member.module, ready, member.config, record, folder, console, reference
            )
        report.show_verdict(record, folder, console)
        export_if_asked(member.module, ready, member.config, record, folder, tracker, console)
        tracker.log_judgement(record, folder)
    return reference


@contextmanager
def _recorded_together(members: Sequence[Member]) -> Iterator[None]:
    """Record what ends the work inside.

    It goes into the records of all members that were not concluded.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        for member in _not_concluded(members):
            member.record.leave(member.folder, "interrupted", "stopped by the user or the system")
        raise Interrupted(
            f"interrupted; go on with: python -m studperf.train resume={members[0].folder}"
        ) from error
    except BaseException as error:
        for member in _not_concluded(members):
            member.record.leave(member.folder, "failed", f"{type(error).__name__}: {error}")
        raise


def _not_concluded(members: Sequence[Member]) -> list[Member]:
    return [member for member in members if member.record.status == "running"]
