"""One run, from a checked configuration to a judged and recorded model."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.cli.process import (
    importing,
    make_console,
)
from studperf.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning.pytorch import Callback
    from rich.console import Console

    from studperf.config.run import RunConfig
    from studperf.record.record import RunRecord


def run(
    config: RunConfig,
    *,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    console: Console | None = None,
    is_trial: bool = False,
) -> RunRecord:
    """Train, judge and record one run.

    Every run that trains alone goes through here.

    Args:
        config: checked by `load`; `repeat` and `engine` are for `run_many`.
        overrides: the words of the command line, for the record.
        folder: the run's folder: one to go on in, or one to make; by default a new one below
            `config.runs`.
        callbacks: lightning's, called after our own: `record.history[-1]` is the epoch's row by
            then.
        console: the place to show the run; the terminal by default.
        is_trial: True for a run of a study. Its rows are prepared once a process, nothing is
            printed, and it ends with its predictions for val. It is not judged or drawn, and the
            test split stays closed.

    Raises:
        DataError: the table was refused, or (LeakError) a feature gives the target away; nothing
            was written.
        TooLargeError: memory does not suffice for the model; where it did not even suffice to build
            it, nothing was written.
        Interrupted: stopped by Ctrl-C or SIGTERM; the record says so, and `resume` goes on.
    """
    with importing():
        from studperf import report
        from studperf.data.large.memory import enough_memory
        from studperf.judge.judge import predict_val
        from studperf.record.lifecycle import open_run, recorded, timed
        from studperf.tracking.callback import LogEpochs
        from studperf.tracking.mode import choose_mode
        from studperf.tracking.tracker import tracked
        from studperf.train.conclusion import export_if_asked, judge_and_draw
        from studperf.train.fit import build_trainer, fit
        from studperf.train.kept import prepare_again
        from studperf.train.module import build_module
        from studperf.train.preparation import prepare

    choose_mode(config.tracking.wandb.mode)
    # Built here so that lightning refuses its arguments before there is a folder.
    # Of a run's several processes, only the first one prints and writes.
    environment = _find_environment(config)
    is_first = build_trainer(config, Path(config.runs), [], environment).is_global_zero
    if console is None or is_trial or not is_first:
        console = make_console(is_quiet=is_trial or not is_first)

    prepare_rows = prepare_again if is_trial else prepare
    with prepare_rows(config, console) as ready:
        config = ready.config
        rows = ready.rows
        encoder = ready.encoder
        data = ready.data
        module = build_module(config, encoder.features, rows.target(rows.split.train))
        record, folder = open_run(
            config,
            overrides,
            rows,
            ready.leaks,
            encoder,
            module.n_parameters,
            folder,
            is_kept=is_first,
        )

        if not is_first:
            with contextlib.suppress(Interrupted):  # the first process reports it
                fit(module, data, config, record, folder, console, callbacks, environment)
            return record

        with tracked(record, folder, config, console, is_trial=is_trial) as tracker:
            with recorded(record, folder), enough_memory(config):
                report.show_start(record, folder, console)
                hooks = [LogEpochs(tracker, record), *callbacks]
                with timed(record, "fit"):
                    fit(module, data, config, record, folder, console, hooks, environment)
                if is_trial:
                    predict_val(module, data, rows, folder)
                    return record
                judge_and_draw(module, ready, config, record, folder, console)
            report.show_end(record, folder, console)
            export_if_asked(module, ready, config, record, folder, tracker, console)
            tracker.log_judgement(record, folder)
    return record


def _find_environment(config: RunConfig) -> ClusterEnvironment | None:
    """Return lightning's cluster environment for a run on several machines of Vertex AI.

    None for a run of one machine, and where lightning knows by itself.

    Raises:
        CloudError: CLUSTER_SPEC is broken.
    """
    is_one_machine = config.trainer.get("num_nodes", 1) == 1
    if is_one_machine or not os.environ.get("CLUSTER_SPEC"):
        return None
    from studperf.cloud.container.environment import VertexEnvironment

    return VertexEnvironment()
