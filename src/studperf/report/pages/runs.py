"""The page of many runs: leaderboard, learning curves, and what was chosen differently."""

from __future__ import annotations

from pathlib import Path

from studperf.errors import counted
from studperf.judge.ranking import Found
from studperf.report.charts.runs import choices_chart, curves_chart, score_bars
from studperf.report.pages.template import fill
from studperf.report.views.runs import view_runs


def render_runs(found: Found, folder: Path) -> str:
    """Return one page over all runs.

    Runs that can't be compared are ranked apart, each group under its heading.
    """
    view = view_runs(found, folder)
    charts = []
    for group in view.groups:
        drawn = {
            "bars": score_bars(group),
            "curves": curves_chart(group),
            "choices": choices_chart(group),
        }
        charts.append(drawn)
    return fill(
        "runs.html",
        view=view,
        charts=charts,
        name=folder.name or str(folder),
        n_records=counted(view.n_runs, "record"),
    )
