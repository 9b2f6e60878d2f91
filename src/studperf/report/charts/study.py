"""The charts of a study."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from studperf.report.charts.parallel import Axis, Thread, parallel_chart
from studperf.report.charts.svg import Chart, at, shorten
from studperf.report.views.study import Trials, TrialView
from studperf.scoring.numbers import short_number

_GRID = 18
"""Cells of a contour along each axis."""
_FEW = 10
"""Trials below which a chart shows all values."""
_N_SIDE_BY_SIDE = 4
"""Words below an axis that fit in one line."""
_APART = 0.17
"""The share of a chart's width that a number below it takes."""


def history_chart(trials: Trials) -> Markup:
    """Draw each trial's value, and the best so far."""
    valued = [trial for trial in trials.trials if trial.values]
    done = [trial for trial in valued if trial.state in ("complete", "pruned")]
    complete = [trial for trial in done if trial.state == "complete"]
    last = trials.trials[-1].number
    chart = Chart(width=920, height=320, right=18)
    x = chart.scale_x(0, max(1, last))
    y = chart.scale_y(*shown_range([trial.value for trial in complete], is_max=trials.is_max))
    chart.axis_y(y, trials.objectives[0])
    # A trial's number is whole.
    ticks = [place for place in x.ticks(10) if place == int(place)]
    chart.axis_x(x, "trial", ticks=ticks)

    # The line is level from each best trial to the next one, and from the last one to the end.
    best = trials.best_so_far
    ends = [trial.number for trial, _ in best[1:]]
    ends.append(last)
    line = []
    for (trial, value), end in zip(best, ends, strict=True):
        level = clamp(y(value), chart)
        line += [(x(trial.number), level), (x(end), level)]
    chart.line(line)

    for trial in done:
        cls = "a" if trial.state == "complete" else "s"
        title = f"trial {trial.number}, {trial.state}: {short_number(trial.value)}"
        _draw_mark(chart, x(trial.number), y(trial.value), cls, title)
    return chart.render(
        f"{trials.objectives[0]} of {len(complete)} complete trials; "
        f"the best so far ends at {short_number(best[-1][1])}."
    )


def importance_chart(shares: Mapping[str, float]) -> Markup:
    """Draw a bar for the importance of each parameter."""
    chart = Chart(height=30 + 28 * len(shares), left=190, right=60, top=8, bottom=12)
    x = chart.scale_x(0, max(shares.values()) or 1.0)
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    for i, (name, share) in enumerate(ranked):
        top = chart.top + 28 * i
        chart.text(chart.left - 8, top + 15, shorten(name, 26), "end ink")
        width = max(1.0, x(share) - chart.left)
        place = {"x": at(chart.left), "y": at(top), "width": at(width), "height": "20"}
        chart.draw("rect", cls="bar a", **place)
        chart.text(x(share) + 6, top + 15, f"{share:.0%}")
    said = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return chart.render(f"Importance: {said}.")


def all_together_chart(trials: Trials) -> Markup:
    """Draw parallel coordinates, in which the best quarter of the trials stands out."""
    ranked = trials.ranked
    n_best = max(1, len(ranked) // 4)
    # The best ones come last, so that they lie above the others.
    drawn = ranked[::-1]
    names = list(dict.fromkeys(name for trial in ranked for name in trial.settings))
    axes = [Axis(name, [trial.settings.get(name) for trial in drawn]) for name in names]
    axes.append(Axis(trials.objectives[0], [trial.value for trial in drawn]))
    threads = []
    for i, trial in enumerate(drawn):
        title = f"trial {trial.number}: {short_number(trial.value)}"
        if i >= len(drawn) - n_best:
            threads.append(Thread(title, "m m0"))
        else:
            threads.append(Thread(title, "m m7", style="opacity:.22"))
    return parallel_chart(threads, axes, "trials")


def slice_chart(trials: Trials, name: str) -> Markup:
    """Draw the objective over one parameter."""
    ranked = trials.ranked
    held = [trial for trial in ranked if name in trial.settings]
    axis = _axis_of(held, name)
    chart = Chart(right=18, left=58)
    y = chart.scale_y(*shown_range([trial.value for trial in ranked], is_max=trials.is_max))
    chart.axis_y(y, trials.objectives[0])
    chart.draw("path", cls="axis", d=f"M{at(chart.left, chart.floor)}H{at(chart.edge)}")
    ticks = axis.ticks(_APART)
    # More words would overlap side by side.
    is_staggered = not axis.is_number and len(ticks) > _N_SIDE_BY_SIDE
    for i, (share, text) in enumerate(ticks):
        shift = 13 * (i % 2) if is_staggered else 0
        chart.text(chart.across(share), chart.floor + 16 + shift, shorten(text, 12), "mid")
    for trial in held:
        value = trial.settings[name]
        title = f"trial {trial.number}: {value}, {short_number(trial.value)}"
        _draw_mark(chart, chart.across(axis.share(value)), y(trial.value), "a", title)
    return chart.render(f"{trials.objectives[0]} over {name} in {len(held)} trials.")


def contour_chart(trials: Trials, first: str, second: str) -> Markup:
    """Draw how good the objective is over two parameters: the darker the better.

    A cell's shade is the mean rank of the trials, weighted by their nearness. Nothing where no
    trial has both: in a study of models a parameter of one may never meet one of another.
    """
    held = [t for t in trials.ranked if first in t.settings and second in t.settings]
    if not held:
        return Markup()
    ax = _axis_of(held, first)
    ay = _axis_of(held, second)
    places = [(ax.share(t.settings[first]), ay.share(t.settings[second])) for t in held]

    # From 0 for the worst trial to 1 for the best.
    worst_first = sorted((trial.value for trial in held), reverse=not trials.is_max)
    last = max(1, len(held) - 1)
    ranks = {value: i / last for i, value in enumerate(worst_first)}
    of_places = [ranks[trial.value] for trial in held]

    chart = Chart(width=520, height=400, left=96, right=20, top=30, bottom=52)
    for i in range(_GRID):
        for j in range(_GRID):
            centre = ((i + 0.5) / _GRID, (j + 0.5) / _GRID)
            _draw_cell(chart, i, j, _mean_nearby(centre, places, of_places))

    for (u, v), trial in zip(places, held, strict=True):
        title = short_number(trial.value)
        chart.dot(chart.across(u), chart.up(v), 2.6, "b", title, style="opacity:.7")
    for share, text in ax.ticks(_APART):
        chart.text(chart.across(share), chart.floor + 17, shorten(text, 10), "mid")
    for share, text in ay.ticks():
        chart.text(chart.left - 8, chart.up(share) + 4, shorten(text, 12), "end")
    chart.text(2, 14, second, "strong")
    chart.text(chart.across(0.5), chart.height - 8, first, "strong mid")
    return chart.render(f"The objective over {first} and {second} in {len(held)} trials.")


def _mean_nearby(
    centre: tuple[float, float], places: Sequence[tuple[float, float]], values: Sequence[float]
) -> float:
    """Return the mean of the values, each weighted by how near its place is."""
    weights = []
    for u, v in places:
        # The small number keeps the weight of a trial in the cell's middle finite.
        squared_distance = (centre[0] - u) ** 2 + (centre[1] - v) ** 2 + 1e-3
        weights.append(1 / squared_distance**2)
    weighted = [weight * value for weight, value in zip(weights, values, strict=True)]
    return sum(weighted) / sum(weights)


def _draw_cell(chart: Chart, i: int, j: int, level: float) -> None:
    """Draw a cell of a contour, as dark as its level from 0 to 1 is high."""
    # The cells overlap a little, so that no seams show.
    chart.draw(
        "rect",
        cls="a",
        style=f"stroke:none;opacity:{0.04 + 0.7 * level:.2f}",
        x=at(chart.across(i / _GRID)),
        y=at(chart.up((j + 1) / _GRID)),
        width=at((chart.edge - chart.left) / _GRID + 0.4),
        height=at((chart.floor - chart.top) / _GRID + 0.4),
    )


def timeline_chart(trials: Trials) -> Markup:
    """Draw which trial each worker ran when; nothing where none began."""
    held = [(trial, trial.start) for trial in trials.trials if trial.start is not None]
    if not held:
        return Markup()
    workers = list(dict.fromkeys(trial.worker for trial, _ in held))
    start = min(begun for _, begun in held)
    ends = [trial.end for trial, _ in held if trial.end is not None]
    chart = Chart(width=920, height=64 + 24 * len(workers), left=130, right=20, top=10)
    x = chart.scale_x(0, max([*ends, start + 1]) - start)
    chart.axis_x(x, "seconds since the first trial began", count=8)
    tones = {"complete": "dot m0", "pruned": "s", "fail": "dot m4", "running": "dot m2"}
    for i in range(len(workers)):
        chart.text(chart.left - 8, chart.top + 24 * i + 15, f"worker {i + 1}", "end ink")
    for trial, begun in held:
        end = max(ends, default=start) if trial.end is None else trial.end
        left = x(begun - start)
        chart.draw(
            "rect",
            title=f"trial {trial.number}, {trial.state}",
            cls=tones.get(trial.state, "s"),
            x=at(left),
            y=at(chart.top + 24 * workers.index(trial.worker) + 3),
            width=at(max(1.0, x(end - start) - left - 0.6)),
            height=16,
            rx=2,
        )
    return chart.render(f"{len(held)} trials on {len(workers)} workers.")


def _axis_of(trials: Sequence[TrialView], name: str) -> Axis:
    """Return the axis of a parameter that all of these trials have."""
    return Axis(name, [trial.settings[name] for trial in trials])


def shown_range(values: Sequence[float], *, is_max: bool) -> tuple[float, float]:
    """Return the range of values that a chart shows.

    It goes from the best value to three times as far as the median: a few trials that never learnt
    would flatten all others. Of few trials all are shown.
    """
    if len(values) < _FEW:
        spread = max(values) - min(values)
        pad = spread * 0.08 or abs(values[0]) * 0.05 or 1.0
        return min(values) - pad, max(values) + pad

    middle = statistics.median(values)
    if is_max:
        best = max(values)
        worst = max(best + 3 * (middle - best), min(values))
    else:
        best = min(values)
        worst = min(best + 3 * (middle - best), max(values))
    pad = abs(worst - best) * 0.08 or abs(best) * 0.05 or 1.0
    low, high = sorted((best, worst))
    return low - pad, high + pad


def clamp(y: float, chart: Chart) -> float:
    """Return a height, moved to the chart's edge where it is out of the chart."""
    return min(max(y, chart.top), chart.floor)


def _draw_mark(chart: Chart, x: float, y: float, cls: str, title: str) -> None:
    """Draw a dot, or an arrow at the chart's edge where the place is beyond it."""
    place = clamp(y, chart)
    if place == y:
        chart.dot(x, y, 3.6, cls, title, style="opacity:.7")
        return
    side = -5 if y < place else 5
    shape = f"M{at(x - 4, place - side)}H{at(x + 4)}L{at(x, place)}Z"
    title = f"{title}, beyond the chart"
    chart.draw("path", title=title, cls=cls, style="opacity:.7", d=shape)
