"""The charts of many runs: one colour a model, one line a run.

All that belongs to a run carries its `data-run`, so that a script can light it up at once.
"""

from __future__ import annotations

import math
from itertools import chain

from markupsafe import Markup

from studperf.report.charts.parallel import Axis, Thread, parallel_chart
from studperf.report.charts.svg import Chart, Scale, at, cut
from studperf.report.views.runs import RankedGroup, RankedRun


def curves_chart(group: RankedGroup) -> Markup:
    """Draw the watched metric of every run by epoch; nothing where no run has one."""
    series = group.curves
    ends = [values[-1] for values in series.values() if values]
    finals = sorted(value for value in ends if math.isfinite(value))
    if not finals:
        return Markup()

    known = [value for value in chain(*series.values()) if math.isfinite(value)]
    low = min(known)
    high = upper_end(low, finals)
    chart = Chart(height=330)
    n_epochs = max(len(values) for values in series.values())
    x = chart.scale_x(1, max(2, n_epochs))
    y = chart.scale_y(low - 0.05 * (high - low), high)
    chart.axis_y(y, group.monitored)
    chart.axis_x(x, "epoch")
    for run in group.runs:
        if run.index not in series:
            continue
        values = cut(series[run.index], y.high)
        points = [(x(i), y(value)) for i, value in values]
        chart.line(points, _class_of(run), run.name, data_run=str(run.index))
    return chart.render(f"{group.best.record.monitor} of {len(series)} runs by epoch.")


def choices_chart(group: RankedGroup) -> Markup:
    """Draw each run through what was chosen to how it scored; nothing for a single run."""
    if len(group.runs) == 1:
        return Markup()
    axes = [Axis(name, values) for name, values in group.choices.items()]
    scores = [run.judgement.scores.rmse.value for run in group.runs]
    cap = upper_end(scores[0], scores)
    axes.append(Axis(f"{group.best.judgement.scored_on} RMSE", scores, cap))
    threads = [Thread(run.name, _class_of(run), run=str(run.index)) for run in group.runs]
    return parallel_chart(threads, axes, "runs", has_brushes=True)


def _class_of(run: RankedRun) -> str:
    return f"m m{run.colour}"


def upper_end(low: float, finals: list[float]) -> float:
    """Return the upper end of the axis, so that a run far off doesn't flatten the contest.

    It is two and a half times as far up as three quarters of the runs end: of two or three, all.

    Args:
        low: the axis' lower end.
        finals: where the runs end, ascending.
    """
    last_shown = math.ceil(0.75 * len(finals)) - 1
    # Where all runs end alike there is no reach, and the axis needs some.
    reach = finals[last_shown] - low
    return low + (2.5 * reach or abs(low) * 0.1 or 1.0)


def score_bars(group: RankedGroup) -> dict[int, Markup]:
    """Draw the score of each run with its interval, as high as a line of text.

    The best baseline is a tick. The scale is twice as wide as the best run's interval: the contest
    is there; what lies beyond is drawn at the edge.
    """
    best = group.best.judgement.scores.rmse
    width = max(best.high - best.low, 1e-9)
    scale = Scale(best.low - 0.1 * width, best.high + 1.2 * width, 4, 140)
    _, reference = group.reference
    return {run.index: _draw_bar(run, scale, reference) for run in group.runs}


def _draw_bar(run: RankedRun, scale: Scale, reference: float) -> Markup:
    """Draw one run's score."""
    value = run.judgement.scores.rmse
    bar = Chart(width=144, height=20)
    if scale.low <= reference <= scale.high:
        bar.draw("path", cls="rule b", d=f"M{at(scale(reference), 2)}V18")
    left = min(max(value.low, scale.low), scale.high)
    right = min(max(value.high, scale.low), scale.high)
    bar.draw("path", cls="whisker", d=f"M{at(scale(left), 10)}H{at(scale(right))}")
    if scale.low <= value.value <= scale.high:
        x = at(scale(value.value))
        bar.draw("circle", cx=x, cy=10, r=4)
    return bar.render_within(f"mini m{run.colour}")
