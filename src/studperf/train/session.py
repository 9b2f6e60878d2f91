"""Train one model on one table, judge it against baselines and record it all.

Several runs are trained one after another, or together.

python -m studperf.train model=mlp trainer.max_epochs=30
python -m studperf.train -m model=linear,mlp,tabm seed=0,1,2
python -m studperf.train repeat=8 engine=stacked
python -m studperf.train resume=runs/FOLDER
python -m studperf.train model=mlp cloud=vertex
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studperf.cli.command import only_shows, split_words
from studperf.cli.hydra import run_hydra
from studperf.cli.process import check_output, importing, make_console, print_error
from studperf.config.console import print_line
from studperf.config.load import load
from studperf.errors import ConfigError, ModelCodeError, RunError, StudperfError
from studperf.train.interrupt import interrupted_in
from studperf.train.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.conf import HydraConf
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig
    from rich.console import Console

    from studperf.config.faults import Fault
    from studperf.config.run import RunConfig
    from studperf.record.record import RunRecord
    from studperf.record.run import Job
    from studperf.train.runner import Result, RunOne


@dataclass
class Session:
    """The runs of one command: their folders, the runs that wait, and the errors.

    The jobs of a multirun may run in processes of their own, on a launcher's. They hand back what
    they return, and change nothing here.
    """

    folders: set[Path] = field(default_factory=set)
    """The folder of a multirun, or of a repeated run."""
    waiting: list[Job] = field(default_factory=list)
    """Runs of a multirun that wait for the others, to be trained together."""
    errors: list[StudperfError] = field(default_factory=list)
    """Errors that runs were refused for or ended with.

    They are kept, as Hydra would print each with a heading of its own.
    """

    def run_job(self, cfg: DictConfig) -> list[Job | StudperfError]:
        """Run what a composed configuration asks for, and return what is left of it.

        In a multirun that goes to the command by way of `end_jobs`.
        """
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        try:
            left = _run_or_resume(cfg, self)
        except StudperfError as error:
            left = [error]
        except Exception as error:
            from studperf.config.code.own_code import describe_own_fault

            fault = describe_own_fault(error, str(cfg.model.get("_target_")))
            if fault is None:
                raise
            explained = ModelCodeError(fault)
            explained.__cause__ = error
            left = [explained]
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            self.take(left)
        return left

    def begin_multirun(self, folder: str) -> None:
        """Note the folder of a multirun.

        Its runs are summed up at the end, however it ends.
        """
        check_output("hydra.sweep.dir", Path(folder))
        self.folders.add(Path(folder))

    def end_jobs(self, results: Sequence[JobReturn]) -> None:
        """Take what the jobs of a multirun returned.

        A job that ended with an error of ours has it in the place of its value.
        """
        from hydra.core.utils import JobStatus

        for result in results:
            if result.status == JobStatus.COMPLETED:
                self.take(result.return_value or [])

    def take(self, left: Sequence[Job | StudperfError]) -> None:
        """Take what is left of a job: runs that wait, and errors."""
        for one in left:
            if isinstance(one, StudperfError):
                self.errors.append(one)
            else:
                self.waiting.append(one)

    def show_summaries(self) -> None:
        """Print the closing table of each folder of several runs, as far as they came."""
        for folder in self.folders:
            if any(folder.glob("*/record.json")):
                from studperf.report.summary import show_summary  # brings pandas

                show_summary(folder, make_console())

    def messages(self) -> list[str]:
        """Return the errors' messages, without repeating one that several runs share."""
        return list(dict.fromkeys(map(str, self.errors)))


def resume(folder: Path) -> RunRecord:
    """Resume a run that was killed, interrupted or failed.

    A finished one is left as it is.

    Raises:
        RunError: the folder is no run.
    """
    from studperf.record.record import RunRecord
    from studperf.train.plan import load_recorded

    record = RunRecord.load(folder)  # refuses what is no run, before torch is imported
    if record.status == "finished":
        print_line(make_console(), f"{folder} has finished; there is nothing to go on with.")
        return record
    config = load_recorded(record.config, record.overrides)
    return _run(config, overrides=record.overrides, folder=folder)


def resume_several(folder: Path, session: Session) -> list[StudperfError]:
    """Resume each run of a folder of several that has not finished, begun or not.

    Returns:
        The errors that runs ended with.
    """
    from studperf.train.runs import find_jobs

    session.folders.add(folder)
    jobs = find_jobs(folder)
    if not jobs:
        line = f"{folder}: all of its runs have finished; there is nothing to go on with."
        print_line(make_console(), line)
    return _run_jobs(jobs)


def _resume_any(folder: Path, session: Session) -> list[Job | StudperfError]:
    """Resume a run, or those of a folder of several."""
    from studperf.record.files import RECORD
    from studperf.train.plan import holds_several

    if not (folder / RECORD).is_file() and holds_several(folder):
        return [*resume_several(folder, session)]
    resume(folder)
    return []


def _run_jobs(jobs: Sequence[Job]) -> list[StudperfError]:
    results = _run_several(jobs, _run, make_console())
    return [result for result in results if isinstance(result, StudperfError)]


def _run_or_resume(cfg: DictConfig, session: Session) -> list[Job | StudperfError]:
    """Run what a composed configuration asks for.

    Returns:
        The runs that wait for others, and the errors that some of several ended with.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from studperf.config.interpolation import typed_words

    config = load(cfg)
    if config.cloud.name != "local":
        raise ConfigError(
            f"cloud: a job is asked for on the command line: cloud={config.cloud.name}"
        )

    hydra = HydraConfig.get()
    words = [word.lstrip("+") for word in typed_words(hydra)]
    if config.resume is not None:
        if others := [word for word in words if not word.startswith("resume=")]:
            raise RunError(
                f"resume goes on with the run's own configuration; drop {' '.join(others)}"
            )
        return _resume_any(Path(config.resume), session)

    check_output("runs", Path(config.runs))
    from studperf.data.source import find_source

    find_source(config.data)  # refuses a table that is not there, before torch is imported
    if hydra.mode == RunMode.MULTIRUN:
        has_devices = config.trainer.get("devices") not in (1, None)
        if has_devices or "ddp" in str(config.trainer.get("strategy")):
            raise ConfigError(
                "-m trains one run after another on one device; "
                "start runs of several processes one by one, without -m"
            )
        return _run_in_multirun(config, words, hydra)

    if config.repeat > 1:
        from studperf.train.runs import drop_empty, open_repeat

        folder, jobs = open_repeat(config, words)
        session.folders.add(folder)
        errors = _run_jobs(jobs)
        drop_empty(folder)
        return [*errors]
    _run(config, overrides=words)
    return []


def _run_in_multirun(
    config: RunConfig, words: list[str], hydra: HydraConf
) -> list[Job | StudperfError]:
    from studperf.config.study import is_plain_multirun
    from studperf.train.runs import multirun_stem, repeat_jobs

    stem = multirun_stem(int(hydra.job.num), config)
    jobs = repeat_jobs(config, words, Path(hydra.sweep.dir), stem)
    # Another sweeper wants each run's result before it chooses the next; the plain one knows all of
    # them from the start. Each job of a launcher has a process of its own, and stacks its own seeds
    # alone.
    is_here = str(hydra.launcher._target_).endswith(".BasicLauncher")
    if config.engine == "stacked" and is_here and is_plain_multirun(hydra.sweeper._target_):
        return [*jobs]
    return [*_run_jobs(jobs)]


def _check_study(words: Sequence[str], settings: dict[str, Any]) -> list[Fault]:
    from studperf.sweeps.request import find_study_faults

    return find_study_faults(words, settings)


def _run(config: RunConfig, **named: Any) -> RunRecord:  # noqa: ANN401 - of `train.run.run`
    """Do one run with `train.run.run`, which is imported late as it brings torch."""
    with importing():
        from studperf.train.run import run

    return run(config, **named)


def _run_several(
    jobs: Sequence[Job], run_one: RunOne, console: Console, *, is_trial: bool = False
) -> list[Result]:
    """Do several runs with `train.runs.run_many`, which is imported late as it brings torch."""
    with importing():
        from studperf.train.runs import run_many

    return run_many(jobs, run_one, console, is_trial=is_trial)


def main() -> int | None:
    """Run the command."""
    from studperf.cloud.container.quoting import is_for_cloud

    runner = Runner(_run, _run_several, make_console)
    flags, words = split_words()
    if is_for_cloud(words) and not only_shows(flags):
        from studperf.cloud.launch import launch

        return launch(flags, words, runner, make_console())
    session = Session()
    try:
        run_hydra(
            session.run_job,
            check_study=_check_study,
            begin_multirun=session.begin_multirun,
            end_jobs=session.end_jobs,
            runner=runner,
        )
        if session.waiting:
            session.errors += _run_jobs(session.waiting)
    except KeyboardInterrupt as error:
        if len(session.folders) != 1:
            raise
        (folder,) = session.folders
        raise interrupted_in(folder) from error
    except Exception:
        for message in session.messages():
            print_error(message)
        raise
    finally:  # several runs that failed or were interrupted show what they have
        session.show_summaries()
    for message in session.messages()[:-1]:
        print_error(message)
    if session.errors:
        raise session.errors[-1]
    return None
