"""The page of one run."""

from __future__ import annotations

from pathlib import Path

from studperf.record.record import RunRecord
from studperf.report.charts import run as charts
from studperf.report.pages.template import fill
from studperf.report.views.run import read_columns, read_rows, view_run


def render_run(record: RunRecord, folder: Path) -> str:
    """Return one self-contained page about a run.

    The page of a run that was not judged says why, with what is known.
    """
    view = view_run(record)
    rows = read_rows(record, folder)
    drawn = {}
    if record.history:
        drawn["learning"] = charts.learning_chart(view, rows)
        drawn["loss"] = charts.loss_chart(record)
    if record.judgement is not None:
        drawn["scores"] = charts.score_chart(view)
    if view.slices:
        drawn["slices"] = charts.slice_chart(view)
    if rows is not None:
        drawn["parity"] = charts.parity_chart(view, rows)
        drawn["residuals"] = charts.residual_chart(view, rows)
    columns = read_columns(record, folder)
    return fill("run.html", view=view, rows=rows, columns=columns, charts=drawn)
