"""Several runs of one command: which they are, and which of them are trained together."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import yaml
from rich.console import Console

from studperf.config.console import print_line
from studperf.config.files import write_atomically
from studperf.config.run import RunConfig
from studperf.errors import Interrupted, StudperfError
from studperf.record.files import LAST, RECORD, make_folder
from studperf.record.record import RunRecord
from studperf.record.run import Job
from studperf.train.interrupt import interrupted_in
from studperf.train.plan import REPEAT, Plan, load_recorded
from studperf.train.run import run_jobs
from studperf.train.runner import Result, RunOne
from studperf.train.stack import find_obstacle, stack_key
from studperf.train.stack.fit import StackLearner
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
        raise interrupted_in(parents.pop()) from error
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
    caught = _caught(is_trial=is_trial)
    try:
        if obstacle is None:
            learner = StackLearner(config)
            return run_jobs(jobs, learner, console, is_trial=is_trial, caught=(caught,))
    except NotStackableError as error:
        obstacle = f"model {config.model_name} can't be stacked: {error}"
    except caught as error:
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
