"""The page of a study."""

from __future__ import annotations

from studperf.report.charts import study as charts
from studperf.report.pages.template import fill
from studperf.report.views.study import CANDIDATE_HEADER, MIN_DRAWN, StudyView


def render_study(view: StudyView) -> str:
    """Return one self-contained page about a study."""
    trials = view.trials
    drawn = {"timeline": charts.timeline_chart(trials)}
    if view.is_drawn:
        if len(trials.objectives) == 1:
            drawn["history"] = charts.history_chart(trials)
        if view.shares:
            drawn["importance"] = charts.importance_chart(view.shares)
        if len(view.parameters) > 1:
            drawn["contour"] = charts.contour_chart(trials, *view.parameters[:2])
        drawn["all"] = charts.all_together_chart(trials)
    slices = {}
    for name in view.parameters:
        n_trials = sum(name in trial.settings for trial in trials.ranked)
        if n_trials >= MIN_DRAWN:
            slices[name] = charts.slice_chart(trials, name)
    return fill(
        "study.html", view=view, charts=drawn, slices=slices, candidate_header=CANDIDATE_HEADER
    )
