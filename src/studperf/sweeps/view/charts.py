"""The charts of a study."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from studperf.report.pages.markup import esc
from studperf.report.pages.svg import Chart, Scale, at, path, tick_text
from studperf.sweeps.space import read

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_LOG_RATIO = 10.0
"""Positive numbers whose ends are so many times apart get a logarithmic axis."""
_GRID = 18
"""Cells of a contour along each axis."""
_MAX_LABEL = 18
_FEW = 10
"""Trials below which a chart shows all values."""
_N_SIDE_BY_SIDE = 4
"""Words below an axis that fit in one line."""


def history_chart(trials: Sequence[FrozenTrial], objective: str, *, is_max: bool) -> str:
    """Draw each trial's value, and the best so far."""
    valued = [t for t in trials if t.value is not None]
    done = [t for t in valued if t.state.name in ("COMPLETE", "PRUNED")]
    complete = [t for t in done if t.state.name == "COMPLETE"]
    chart = Chart(width=920, height=320, right=18)
    x = chart.scale_x(0, max(1, trials[-1].number))
    y = chart.scale_y(*shown_range([t.values[0] for t in complete], is_max=is_max))
    chart.axis_y(y, objective)
    # A trial's number is whole.
    ticks = [place for place in x.ticks(10) if place == int(place)]
    chart.axis_x(x, "trial", ticks=ticks)

    better = max if is_max else min
    best: list[tuple[int, float]] = []
    for t in complete:
        value = t.values[0]
        before = best[-1][1] if best else value
        best.append((t.number, better(before, value)))

    # The line is level from each best trial to the next one, and from the last one to the end.
    ends = [number for number, _ in best[1:]]
    ends.append(trials[-1].number)
    line = []
    for (number, value), end in zip(best, ends, strict=True):
        level = clamp(y(value), chart)
        line += [(x(number), level), (x(end), level)]
    chart.line(line)

    for t in done:
        cls = "a" if t.state.name == "COMPLETE" else "s"
        title = f"trial {t.number}, {t.state.name.lower()}: {t.value:.4g}"
        height = y(t.value or 0.0)
        chart.add(_mark(chart, x(t.number), height, cls, title))
    return chart.render(
        f"{objective} of {len(complete)} complete trials; "
        f"the best so far ends at {best[-1][1]:.4g}."
    )


def importance_chart(shares: dict[str, float]) -> str:
    """Draw a bar for the importance of each parameter."""
    chart = Chart(height=30 + 28 * len(shares), left=190, right=60, top=8, bottom=12)
    x = chart.scale_x(0, max(shares.values()) or 1.0)
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    for i, (name, share) in enumerate(ranked):
        top = chart.top + 28 * i
        chart.text(chart.left - 8, top + 15, _short(name, 26), "end ink")
        width = max(1.0, x(share) - chart.left)
        size = f'x="{at(chart.left)}" y="{at(top)}" width="{at(width)}" height="20"'
        chart.add(f'<rect class="bar a" {size}/>')
        chart.text(x(share) + 6, top + 15, f"{share:.0%}")
    said = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return chart.render(f"Importance: {said}.")


def parallel_chart(trials: Sequence[FrozenTrial], objective: str, *, is_max: bool) -> str:
    """Draw parallel coordinates, in which the best quarter of the trials stands out."""
    names = list(dict.fromkeys(name for t in trials for name in t.params))
    axes = [_Axis([t.params.get(name) for t in trials]) for name in names]
    axes.append(_Axis([t.values[0] for t in trials]))
    width = max(920, 130 * len(axes))
    chart = Chart(width=width, height=380, left=40, right=60, top=44, bottom=26)
    gap = _width(chart) / max(1, len(axes) - 1)
    xs = [chart.left + k * gap for k in range(len(axes))]

    sign = -1 if is_max else 1
    ranked = sorted(trials, key=lambda t: sign * t.values[0])
    best = {t.number for t in ranked[: max(1, len(ranked) // 4)]}
    # The best ones come last, so that they lie above the others.
    for t in reversed(ranked):
        values = [t.params.get(name) for name in names]
        values.append(t.values[0])
        ys = [axis.place(value, chart) for axis, value in zip(axes, values, strict=True)]
        points = list(zip(xs, ys, strict=True))
        if t.number in best:
            shape = path(points, "m m0", "")
        else:
            shape = path(points, "m m7", ' style="opacity:.22"')
        title = f"<title>trial {t.number}: {t.values[0]:.4g}</title>"
        chart.add(shape.replace("/>", f">{title}</path>"))

    last = len(axes) - 1
    for k, (name, axis) in enumerate(zip([*names, objective], axes, strict=True)):
        x = xs[k]
        chart.add(f'<path class="axis" d="M{at(x, chart.top)}V{at(chart.floor)}"/>')
        if k == 0:
            cls = "strong"
        elif k < last:
            cls = "strong mid"
        else:
            cls = "strong end"
        # Names of neighbours stand at two heights, where they do not overlap.
        chart.text(x, 16 if k % 2 else 32, _short(name, 22), cls)
        for place, text in axis.ticks(chart):
            chart.text(x + 6, place + 4, _short(text), "ink")
    return chart.render(
        f"Parallel coordinates of {len(trials)} trials over {', '.join(names)}.",
        ' class="parallel"',
    )


def slice_chart(trials: Sequence[FrozenTrial], name: str, objective: str, *, is_max: bool) -> str:
    """Draw the objective over one parameter."""
    held = [t for t in trials if name in t.params]
    axis = _Axis([t.params[name] for t in held])
    chart = Chart(right=18, left=58)
    y = chart.scale_y(*shown_range([t.values[0] for t in trials], is_max=is_max))
    chart.axis_y(y, objective)
    chart.add(f'<path class="axis" d="M{at(chart.left, chart.floor)}H{at(chart.edge)}"/>')
    for i, (share, text) in enumerate(axis.shares()):
        # More words would overlap side by side.
        shift = 13 * (i % 2) if len(axis.words) > _N_SIDE_BY_SIDE else 0
        chart.text(_across(chart, share), chart.floor + 16 + shift, _short(text, 12), "mid")
    for t in held:
        place = _across(chart, axis.share(t.params[name]))
        title = f"trial {t.number}: {t.params[name]}, {t.values[0]:.4g}"
        chart.add(_mark(chart, place, y(t.values[0]), "a", title))
    return chart.render(f"{objective} over {name} in {len(held)} trials.")


def contour_chart(trials: Sequence[FrozenTrial], first: str, second: str, *, is_max: bool) -> str:
    """Draw how good the objective is over two parameters: the darker the better.

    A cell's shade is the mean rank of the trials, weighted by their nearness.
    """
    held = [t for t in trials if first in t.params and second in t.params]
    ax = _Axis([t.params[first] for t in held])
    ay = _Axis([t.params[second] for t in held])
    points = []
    for t in held:
        u = ax.share(t.params[first])
        v = ay.share(t.params[second])
        points.append((u, v, t.values[0]))

    # From 0 for the worst trial to 1 for the best.
    worst_first = sorted((value for _, _, value in points), reverse=not is_max)
    last = max(1, len(points) - 1)
    ranks = {value: i / last for i, value in enumerate(worst_first)}

    chart = Chart(width=520, height=400, left=96, right=20, top=30, bottom=52)
    wide = _width(chart) / _GRID
    high = (chart.floor - chart.top) / _GRID
    for i in range(_GRID):
        for j in range(_GRID):
            u = (i + 0.5) / _GRID
            v = (j + 0.5) / _GRID
            weights = []
            weighted = []
            for a, b, value in points:
                # The small number keeps the weight of a trial in the cell's middle finite.
                squared_distance = (u - a) ** 2 + (v - b) ** 2 + 1e-3
                weight = 1 / squared_distance**2
                weights.append(weight)
                weighted.append(weight * ranks[value])
            level = sum(weighted) / sum(weights)
            opacity = 0.04 + 0.7 * level

            x = chart.left + i * wide
            y = chart.floor - (j + 1) * high
            # The cells overlap a little, so that no seams show.
            size = f'x="{at(x)}" y="{at(y)}" width="{at(wide + 0.4)}" height="{at(high + 0.4)}"'
            chart.add(f'<rect class="a" style="stroke:none;opacity:{opacity:.2f}" {size}/>')

    for u, v, value in points:
        chart.add(_dot(_across(chart, u), _up(chart, v), 2.6, "b", f"{value:.4g}"))
    for share, text in ax.shares():
        chart.text(_across(chart, share), chart.floor + 17, _short(text, 10), "mid")
    for share, text in ay.shares():
        chart.text(chart.left - 8, _up(chart, share) + 4, _short(text, 12), "end")
    chart.text(2, 14, second, "strong")
    middle = (chart.left + chart.edge) / 2
    chart.text(middle, chart.height - 8, first, "strong mid")
    return chart.render(f"The objective over {first} and {second} in {len(held)} trials.")


def timeline_chart(trials: Sequence[FrozenTrial]) -> str:
    """Draw which trial each worker ran when."""
    held = [t for t in trials if t.datetime_start is not None]
    workers = list(dict.fromkeys(map(_worker, held)))
    start = min(t.datetime_start.timestamp() for t in held if t.datetime_start is not None)
    ends = [t.datetime_complete.timestamp() for t in held if t.datetime_complete is not None]
    chart = Chart(width=920, height=64 + 24 * len(workers), left=130, right=20, top=10)
    x = chart.scale_x(0, max([*ends, start + 1]) - start)
    chart.axis_x(x, "seconds since the first trial began", count=8)
    tones = {"COMPLETE": "dot m0", "PRUNED": "s", "FAIL": "dot m4", "RUNNING": "dot m2"}
    for i in range(len(workers)):
        chart.text(chart.left - 8, chart.top + 24 * i + 15, f"worker {i + 1}", "end ink")
    for t in held:
        if t.datetime_start is None:
            continue
        end = max(ends, default=start)
        if t.datetime_complete is not None:
            end = t.datetime_complete.timestamp()
        a = x(t.datetime_start.timestamp() - start)
        b = x(end - start)
        top = chart.top + 24 * workers.index(_worker(t)) + 3
        title = f"<title>trial {t.number}, {t.state.name.lower()}</title>"
        size = f'x="{at(a)}" y="{at(top)}" width="{at(max(1.0, b - a - 0.6))}" height="16" rx="2"'
        chart.add(f'<rect class="{tones.get(t.state.name, "s")}" {size}>{title}</rect>')
    return chart.render(f"{len(held)} trials on {len(workers)} workers.")


def _worker(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("worker", "?"))


class _Axis:
    """The axis of one parameter, from 0 to 1: of numbers, or of words from short to long."""

    def __init__(self, values: Sequence[Any]) -> None:
        given = [v for v in values if v is not None]
        known = [read(v) if isinstance(v, str) else v for v in given]
        is_number = bool(known) and all(map(_is_number, known))

        self.words: list[str] = []
        if is_number:
            low, high = float(min(known)), float(max(known))
        else:
            self.words = sorted(set(map(str, given)), key=lambda text: (len(text), text))
            low, high = 0.0, max(1.0, len(self.words) - 1.0)
        is_log = is_number and low > 0 and high / low >= _LOG_RATIO
        self.scale = Scale(low, high, 0.04, 0.96, is_log)

    def share(self, value: Any) -> float:  # noqa: ANN401 - of a trial
        """Return the place of a value along the axis."""
        if self.words:
            value = self.words.index(str(value))
        return self.scale(float(value))

    def shares(self) -> list[tuple[float, str]]:
        """Return the places of the ticks along the axis, each with its text."""
        if self.words:
            return [(self.scale(float(i)), word) for i, word in enumerate(self.words)]
        return [(self.scale(v), tick_text(v)) for v in self.scale.ticks(4)]

    def place(self, value: Any, chart: Chart) -> float:  # noqa: ANN401 - of a trial
        """Return the height of a value in a chart; NaN where there is none."""
        if value is None:
            return math.nan
        return _up(chart, self.share(value))

    def ticks(self, chart: Chart) -> list[tuple[float, str]]:
        """Return the heights of the ticks in a chart, each with its text."""
        return [(_up(chart, share), text) for share, text in self.shares()]


def _is_number(value: Any) -> bool:  # noqa: ANN401 - of a trial
    return isinstance(value, int | float) and not isinstance(value, bool)


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


def _width(chart: Chart) -> float:
    """Return the width between a chart's edges."""
    return chart.edge - chart.left


def _across(chart: Chart, share: float) -> float:
    """Return the place of a share from 0 to 1 across a chart."""
    return chart.left + share * _width(chart)


def _up(chart: Chart, share: float) -> float:
    """Return the height of a share from 0 at a chart's lower edge to 1 at its upper one."""
    return chart.floor - share * (chart.floor - chart.top)


def _mark(chart: Chart, x: float, y: float, cls: str, title: str) -> str:
    """Return a dot, or an arrow at the chart's edge where the place is beyond it."""
    place = clamp(y, chart)
    if place == y:
        return _dot(x, y, 3.6, cls, title)
    side = -5 if y < place else 5
    shape = f"M{at(x - 4, place - side)}H{at(x + 4)}L{at(x, place)}Z"
    text = f"<title>{esc(title)}, beyond the chart</title>"
    return f'<path class="{cls}" style="opacity:.7" d="{shape}">{text}</path>'


def _dot(x: float, y: float, radius: float, cls: str, title: str) -> str:
    size = f'cx="{at(x)}" cy="{at(y)}" r="{at(radius)}"'
    return f'<circle class="{cls}" style="opacity:.7" {size}><title>{esc(title)}</title></circle>'


def _short(text: str, length: int = _MAX_LABEL) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
