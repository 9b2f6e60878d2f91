"""Trains one model on one table, judges it against baselines and records it all.

python -m studperf.train model=mlp trainer.max_epochs=30
python -m studperf.train -m model=linear,mlp,tabm seed=0,1,2
python -m studperf.train resume=runs/FOLDER
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studperf import sweeps
from studperf.cli import make_console, print_error, run_command, run_hydra
from studperf.config import load
from studperf.errors import ConfigError, RunError, StudperfError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning.pytorch import Callback
    from omegaconf import DictConfig

    from studperf.config.shape import RunConfig
    from studperf.record import RunRecord
_multirun: set[Path] = set()
"""The folder of the multirun that this process works on."""
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
    """The whole way from a table to a judged run; everything that trains goes through here.

    Args:
        config: checked by `load`.
        overrides: the words of the command line, for the record.
        folder: where the run lies: one to go on in, or one to make; a new one below `config.runs` by default.
        callbacks: of lightning's, beside our own.
        is_trial: one of many runs of a study: the rows are prepared once a process, nothing is printed, and it ends with its predictions
            for val. It is not judged or drawn, and the test split stays closed.

    Raises:
        DataError: the table was refused, or (LeakError) a feature gives the target away; nothing was written.
        Interrupted: stopped by Ctrl-C or SIGTERM; the record says so, and `resume` goes on.
    """
    from studperf import report
    from studperf.data.kept import prepare_again
    from studperf.data.prepare import prepare
    from studperf.fit import build_trainer, fit
    from studperf.judge import judge_run, predict_val
    from studperf.module import build_module
    from studperf.record import open_run, recorded, timed

    # What lightning refuses, it refuses before there is a folder. Of a run's several processes, the first one speaks and writes.
    is_first = build_trainer(config, Path(config.runs), []).is_global_zero
    console = make_console(is_quiet=is_trial or not is_first)
    rows = prepare_again(config, console) if is_trial else prepare(config, console)
    module = build_module(config, rows.encoder.features, rows.parts["train"].target)
    record, folder = open_run(
        config, overrides, rows.origin, rows.table, rows.split, rows.leaks, rows.encoder, module, folder, is_kept=is_first
    )
    if not is_first:
        fit(module, rows.data, config, record, folder, console, callbacks)
        return record
    with recorded(record, folder):
        report.show_start(record, folder, console)
        with timed(record, "fit"):
            fit(module, rows.data, config, record, folder, console, callbacks)
        if is_trial:
            predict_val(module, rows.data, rows.parts, folder)
            return record
        with timed(record, "judge"):
            judge_run(module, rows.data, rows.encoder, rows.parts, record, folder)
        with timed(record, "plots"):
            report.draw_plots(record, folder)
    report.show_end(record, folder, console)
    return record


def resume(folder: Path) -> RunRecord:
    """Goes on with a run that was killed, interrupted or failed; says so when there is nothing left to do.

    Raises:
        RunError: the folder is no run.
    """
    from studperf.record import RunRecord

    record = RunRecord.load(folder)
    if record.status == "finished":
        make_console().print(f"{folder} has finished; there is nothing to go on with.", soft_wrap=True)
        return record
    return run(load(record.config, is_trusted=False), overrides=record.overrides, folder=folder)


def _task(cfg: DictConfig) -> None:
    try:
        _run_or_resume(cfg)
    except StudperfError as error:
        _refused.append(error)


def _run_or_resume(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    config = load(cfg)
    hydra = HydraConfig.get()
    words = [word.lstrip("+") for word in hydra.overrides.task]
    if config.resume is not None:
        if others := [word for word in words if not word.startswith("resume=")]:
            raise RunError(f"resume goes on with the run's own configuration; drop {' '.join(others)}")
        resume(Path(config.resume))
        return
    folder = None
    if hydra.mode == RunMode.MULTIRUN:
        if config.trainer.get("devices") not in (1, None) or "ddp" in str(config.trainer.get("strategy")):
            raise ConfigError("-m trains one run after another on one device; start runs of several processes one by one, without -m")
        _multirun.add(Path(hydra.sweep.dir))
        folder = Path(hydra.sweep.dir) / f"{hydra.job.num}_{config.model_name}_seed{config.seed}"
    run(config, overrides=words, folder=folder)


def main() -> None:
    """The command."""
    sweeps.hand_over(run, make_console)
    try:
        run_hydra(_task)
    finally:  # a failed or interrupted multirun too shows what it has
        for folder in _multirun:
            if any(folder.glob("*/record.json")):
                from studperf.summary import show_summary

                show_summary(folder, make_console())
    for error in _refused[:-1]:
        print_error(str(error))
    if _refused:
        raise _refused[-1]


if __name__ == "__main__":
    run_command(main)
