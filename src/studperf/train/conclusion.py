"""The steps after the fit: judgement and plots, then the bundle.

They are the same for a run alone and for one of a stack.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from studperf import report
from studperf.config.run import RunConfig
from studperf.judge.judge import Reference, judge_run
from studperf.record.lifecycle import timed
from studperf.record.record import RunRecord
from studperf.tracking.tracker import Tracker
from studperf.train.finished import scored_tables
from studperf.train.module import ScoreModule
from studperf.train.preparation import Prepared


def judge_and_draw(
    module: ScoreModule,
    ready: Prepared,
    config: RunConfig,
    record: RunRecord,
    folder: Path,
    console: Console,
    reference: Reference | None = None,
) -> Reference:
    """Score the run with its best weights and draw its plots, where they are asked for.

    Args:
        module: with the best weights.
        ready: the rows.
        config: of the run.
        record: of the run.
        folder: of the run.
        console: shows which baselines take long.
        reference: the baselines' predictions, where an earlier run on the same rows made them.

    Returns:
        The baselines' predictions, for a next run on the same rows.
    """
    with timed(record, "judge"):
        made = judge_run(module, ready.data, ready.rows, record, folder, reference, console)
    if config.plots:
        with timed(record, "plots"):
            report.draw_plots(record, folder)
    return made


def export_if_asked(
    module: ScoreModule,
    ready: Prepared,
    config: RunConfig,
    record: RunRecord,
    folder: Path,
    tracker: Tracker,
    console: Console,
) -> None:
    """Write the run's bundle if `export` asks for it.

    It may ask always, or for runs that are live at W&B.

    Raises:
        ExportError: the graph does not give what torch gives, or can't be made.
    """
    is_asked = config.export is True or (config.export == "auto" and tracker.is_live())
    if is_asked:
        # Here, since it brings onnx and onnxruntime, which most runs do without.
        from studperf.export.write import write_bundle

        tables = scored_tables(ready.rows, record)
        bundle = write_bundle(module, ready.encoder, tables, record, folder)
        console.print(f"Bundle in {bundle}", soft_wrap=True, markup=False)
