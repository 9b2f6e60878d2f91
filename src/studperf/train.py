"""Trains one model on one table, judges it against baselines and records it all; or several, one after another or together.

python -m studperf.train model=mlp trainer.max_epochs=30
python -m studperf.train -m model=linear,mlp,tabm seed=0,1,2
python -m studperf.train repeat=8 engine=stacked
python -m studperf.train resume=runs/FOLDER
python -m studperf.train model=mlp cloud=vertex
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studperf import sweeps
from studperf.cli import (
    end_at_once,
    importing,
    make_console,
    only_shows,
    print_error,
    run_command,
    run_hydra,
    split_words,
)
from studperf.config import load
from studperf.errors import ConfigError, Interrupted, RunError, StudperfError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.conf import HydraConf
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning.pytorch import Callback
    from omegaconf import DictConfig

    from studperf.config.faults import Fault
    from studperf.config.shape import RunConfig
    from studperf.many import Job
    from studperf.record import RunRecord
_several: set[Path] = set()
"""The folders of several runs that this process works on: a multirun's, or a repeated run's."""
_collected: list[Job] = []
"""Runs of a multirun that wait for the others, to be trained together."""
_refused: list[StudperfError] = []
"""What the runs of this process were refused for. Hydra would print each with a heading of its own."""


def run(
    config: RunConfig,
    *,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    is_trial: bool = False,
) -> RunRecord:
    """The whole way from a table to a judged run; everything that trains alone goes through here.

    Args:
        config: checked by `load`; `repeat` and `engine` are for `run_many`.
        overrides: the words of the command line, for the record.
        folder: where the run lies: one to go on in, or one to make; a new one below `config.runs` by default.
        callbacks: lightning's, called after our own: `record.history[-1]` is the epoch's row by then.
        is_trial: one of many runs of a study: the rows are prepared once a process, nothing is printed, and it ends with its predictions
            for val. It is not judged or drawn, and the test split stays closed.

    Raises:
        DataError: the table was refused, or (LeakError) a feature gives the target away; nothing was written.
        TooLargeError: memory does not suffice for the model; where it did not even suffice to build it, nothing was written.
        Interrupted: stopped by Ctrl-C or SIGTERM; the record says so, and `resume` goes on.
    """
    with importing():
        from studperf import report
        from studperf.data.kept import prepare_again
        from studperf.data.memory import enough_memory
        from studperf.data.prepare import prepare
        from studperf.fit import build_trainer, fit
        from studperf.judge import judge_run, predict_val
        from studperf.module import build_module
        from studperf.record import open_run, recorded, timed
        from studperf.tracking.callback import LogEpochs
        from studperf.tracking.mode import choose_mode
        from studperf.tracking.tracker import tracked

    choose_mode(config.tracking.wandb.mode)
    # What lightning refuses, it refuses before there is a folder. Of a run's several processes, the first one speaks and writes.
    environment = _find_environment(config)
    is_first = build_trainer(config, Path(config.runs), [], environment).is_global_zero
    console = make_console(is_quiet=is_trial or not is_first)
    with (prepare_again if is_trial else prepare)(config, console) as ready:
        config, rows, encoder, data = ready.config, ready.rows, ready.encoder, ready.data
        module = build_module(config, encoder.features, rows.target(rows.split.train))
        record, folder = open_run(
            config, overrides, rows, ready.leaks, encoder, module, folder, is_kept=is_first
        )
        if not is_first:
            with contextlib.suppress(Interrupted):  # which the first process tells
                fit(module, data, config, record, folder, console, callbacks, environment)
            return record
        with tracked(record, folder, config, console, is_trial=is_trial) as tracker:
            with recorded(record, folder), enough_memory(config):
                report.show_start(record, folder, console)
                with timed(record, "fit"):
                    fit(
                        module,
                        data,
                        config,
                        record,
                        folder,
                        console,
                        [LogEpochs(tracker, record), *callbacks],
                        environment,
                    )
                if is_trial:
                    predict_val(module, data, rows, folder)
                    return record
                with timed(record, "judge"):
                    judge_run(module, data, rows, record, folder, console=console)
                if config.plots:
                    with timed(record, "plots"):
                        report.draw_plots(record, folder)
            report.show_end(record, folder, console)
            if config.export is True or (config.export == "auto" and tracker.is_live()):
                from studperf.export.write import write_bundle
                from studperf.finished import scored_tables

                console.print(
                    f"Bundle in {write_bundle(module, encoder, scored_tables(rows, record), record, folder)}",
                    soft_wrap=True,
                )
            tracker.log_judgement(record, folder)
    return record


def _find_environment(config: RunConfig) -> ClusterEnvironment | None:
    """What knows the other machines of a run on Vertex AI; None for a run of one machine, and where lightning knows by itself.

    Raises:
        CloudError: CLUSTER_SPEC is broken.
    """
    if config.trainer.get("num_nodes", 1) == 1 or not os.environ.get("CLUSTER_SPEC"):
        return None
    from studperf.cloud.environment import VertexEnvironment

    return VertexEnvironment()


def resume(folder: Path) -> RunRecord | None:
    """Goes on with a run that was killed, interrupted or failed, or with each such run of a folder of several.

    Returns:
        The run's record; None for several.

    Raises:
        RunError: the folder is no run and holds none.
    """
    from studperf.many import find_jobs
    from studperf.record import RECORD, RunRecord

    if not (folder / RECORD).is_file() and (jobs := find_jobs(folder)):
        _several.add(folder)
        _run_jobs(jobs)
        return None
    record = RunRecord.load(folder)
    if record.status == "finished":
        make_console().print(
            f"{folder} has finished; there is nothing to go on with.", soft_wrap=True
        )
        return record
    return run(load(record.config, is_trusted=False), overrides=record.overrides, folder=folder)


def _run_jobs(jobs: Sequence[Job]) -> None:
    from studperf.many import run_many

    results = run_many(jobs, run, make_console())
    _refused.extend(result for result in results if isinstance(result, StudperfError))


def _task(cfg: DictConfig) -> None:
    try:
        _run_or_resume(cfg)
    except StudperfError as error:
        _refused.append(error)


def _run_or_resume(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    config = load(cfg)
    if config.cloud.name != "local":
        raise ConfigError(
            f"cloud: a job is asked for on the command line: cloud={config.cloud.name}"
        )
    hydra = HydraConfig.get()
    words = [word.lstrip("+") for word in hydra.overrides.task]
    if config.resume is not None:
        if others := [word for word in words if not word.startswith("resume=")]:
            raise RunError(
                f"resume goes on with the run's own configuration; drop {' '.join(others)}"
            )
        resume(Path(config.resume))
    elif hydra.mode == RunMode.MULTIRUN:
        if config.trainer.get("devices") not in (1, None) or "ddp" in str(
            config.trainer.get("strategy")
        ):
            raise ConfigError(
                "-m trains one run after another on one device; start runs of several processes one by one, without -m"
            )
        _several.add(Path(hydra.sweep.dir))
        _run_in_multirun(config, words, hydra)
    elif config.repeat > 1:
        from studperf.many import drop_empty, open_repeat

        folder, jobs = open_repeat(config, words)
        _several.add(folder)
        _run_jobs(jobs)
        drop_empty(folder)
    else:
        run(config, overrides=words)


def _run_in_multirun(config: RunConfig, words: list[str], hydra: HydraConf) -> None:
    from studperf.many import repeat_jobs

    jobs = repeat_jobs(
        config, words, Path(hydra.sweep.dir), f"{hydra.job.num}_{config.model_name}_seed"
    )
    # Another sweeper wants each run's result before it chooses the next; Hydra's own knows all of them from the start.
    if config.engine == "stacked" and str(hydra.sweeper._target_).endswith(".BasicSweeper"):
        _collected.extend(jobs)
    else:
        _run_jobs(jobs)


def _check_study(words: Sequence[str], settings: dict[str, Any]) -> list[Fault]:
    from studperf.sweeps.door import find_study_faults

    return find_study_faults(words, settings)


def main() -> int | None:
    """The command."""
    from studperf.cloud.words import is_for_cloud

    sweeps.hand_over(run, make_console)
    flags, words = split_words()
    if is_for_cloud(words) and not only_shows(flags):
        from studperf.cloud.launch import launch

        return launch(flags, words, make_console())
    try:
        run_hydra(_task, check_study=_check_study)
        if _collected:
            _run_jobs(_collected)
    finally:  # several runs that failed or were interrupted show what they have
        for folder in _several:
            if any(folder.glob("*/record.json")):
                from studperf.summary import show_summary

                show_summary(folder, make_console())
    messages = dict.fromkeys(map(str, _refused))  # a fault that all runs share is told once
    for message in list(messages)[:-1]:
        print_error(message)
    if _refused:
        raise _refused[-1]
    return None


if __name__ == "__main__":
    end_at_once()
    run_command(main)
