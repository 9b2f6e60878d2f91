"""The charts of many runs: one colour a model, one line a run.

All that belongs to a run carries its `data-run`, so that a script can light it up at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from studperf.record.record import RunRecord
from studperf.report.pages.markup import esc
from studperf.report.pages.svg import Chart, Scale, at, cut, path, shorten, tick_text
from studperf.scoring.metrics import Interval

N_COLOURS = 8
_MAX_AXES = 9
# An axis is logarithmic where its values span this ratio.
_LOG_RATIO = 20.0
# With more different values than this, an axis has round ticks instead.
_MAX_DISTINCT = 6
# Pixels between two ticks, for a line of text.
_MIN_GAP = 16
_NAME_LENGTH = 14
# What differs between runs without being a choice about the model.
_NO_CHOICE = (
    "model_name",
    "runs",
    "resume",
    "progress",
    "threads",
    "export",
    "tracking",
    "cloud",
    "score_on",
    "data.source",
    "data.columns",
    "sweep",
)


@dataclass(frozen=True)
class Line:
    """A run in a chart: its place on the page, its colour and its name."""

    index: int
    colour: int
    name: str
    record: RunRecord

    @property
    def marks(self) -> str:
        """Attributes by which script and style know the run."""
        return f' data-run="{self.index}"'

    @property
    def cls(self) -> str:
        """Classes of the run's lines."""
        return f"m m{self.colour}"


def curves_chart(lines: Sequence[Line], monitor: str, in_unit: str) -> str:
    """Draw the watched metric of every run by epoch."""
    series = {}
    for line in lines:
        history = line.record.history
        series[line.index] = [float(row[monitor]) for row in history if monitor in row]
    ends = [values[-1] for values in series.values() if values]
    finals = sorted(value for value in ends if math.isfinite(value))
    if not finals:
        return ""

    known = [value for value in chain(*series.values()) if math.isfinite(value)]
    low = min(known)
    high = upper_end(low, finals)
    chart = Chart(height=330)
    n_epochs = max(len(values) for values in series.values())
    x = chart.scale_x(1, max(2, n_epochs))
    y = chart.scale_y(low - 0.05 * (high - low), high)
    chart.axis_y(y, monitor + in_unit)
    chart.axis_x(x, "epoch")
    for line in lines:
        values = cut(series[line.index], y.high)
        points = [(x(i), y(value)) for i, value in values]
        chart.add(_titled(path(points, line.cls, line.marks), line.name))
    return chart.render(f"{monitor} of {len(lines)} runs by epoch.")


def upper_end(low: float, finals: list[float]) -> float:
    """Return the upper end of the axis, so that a run far off doesn't flatten the contest.

    It is two and a half times as far up as three quarters of the runs end.
    """
    reach = finals[int(0.75 * (len(finals) - 1))] - low
    return low + (2.5 * reach or abs(low) * 0.1 or 1.0)


def score_bar(value: Interval, scale: Scale, reference: float | None, colour: int) -> str:
    """Draw a score with its interval, as high as a line of text; the reference is a tick."""
    low = min(max(value.low, scale.low), scale.high)
    high = min(max(value.high, scale.low), scale.high)
    tick = ""
    if reference is not None and scale.low <= reference <= scale.high:
        tick = f'<path class="rule b" d="M{at(scale(reference), 2)}V18"/>'
    dot = ""
    if scale.low <= value.value <= scale.high:
        dot = f'<circle cx="{at(scale(value.value))}" cy="10" r="4"/>'
    bar = f'<path class="whisker" d="M{at(scale(low), 10)}H{at(scale(high))}"/>'
    return (
        f'<svg class="mini m{colour}" viewBox="0 0 144 20" aria-hidden="true">'
        f"{tick}{bar}{dot}</svg>"
    )


@dataclass(frozen=True)
class Axis:
    """One axis of parallel coordinates: a number, or words in order of appearance.

    A value is None where a run has no such key.
    """

    name: str
    values: list[Any]
    cap: float = math.inf
    """Largest number that the axis shows; those above are drawn there."""

    @property
    def is_number(self) -> bool:
        """True if all values that there are are numbers."""
        return all(_is_number(value) for value in self.known)

    @property
    def known(self) -> list[Any]:
        """Values of the runs that have the key."""
        return [value for value in self.values if value is not None]


def _is_number(value: Any) -> bool:  # noqa: ANN401 - a value of the configuration
    """Return True for a number; in Python a bool is one, too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def choices(records: Sequence[RunRecord]) -> list[Axis]:
    """Return an axis for each key of the configuration that was chosen differently among runs.

    Those set on the command line come first.
    """
    flat = [{"model": record.model, **_flatten(record.config)} for record in records]
    models = [config["model"] for config in flat]
    keys = list(dict.fromkeys(chain(*flat)))
    words = chain(*(record.overrides for record in records))
    typed = {word.partition("=")[0].lstrip("+~") for word in words}
    # A stable sort: beyond these two, the order of the configuration stays.
    keys.sort(key=lambda key: (key != "model", key not in typed))
    axes = []
    for key in keys:
        values = [config.get(key) for config in flat]
        if _is_choice(key, values, models):
            axes.append(Axis(key, values))
    return axes[:_MAX_AXES]


def _is_choice(key: str, values: list[Any], models: list[str]) -> bool:
    """Return True if a key was chosen: it differs among runs of one model.

    What differs only between models comes with them.
    """
    if key == "model":
        return len(set(models)) > 1
    by_model: dict[str, set[str]] = {}
    for model, value in zip(models, values, strict=True):
        by_model.setdefault(model, set()).add(str(value))
    return any(len(different) > 1 for different in by_model.values())


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the configuration's values by dotted keys, as an axis can show them."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name.startswith(_NO_CHOICE):
            continue
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{name}.")
        elif not name.endswith("_target_"):
            is_plain = value is None or isinstance(value, str) or _is_number(value)
            flat[name] = value if is_plain else str(value)
    return flat


def parallel_chart(lines: Sequence[Line], axes: Sequence[Axis]) -> str:
    """Draw parallel coordinates, with the score as the last axis.

    Each line carries its places, so that a script can filter by them.
    """
    width = max(960, 128 * len(axes))
    chart = Chart(width=width, height=380, left=64, right=70, top=40, bottom=24)
    gap = (chart.edge - chart.left) / max(1, len(axes) - 1)
    columns = []
    drawn: list[str] = []
    for k, axis in enumerate(axes):
        scale, ticks = _axis_scale(chart, axis)
        columns.append(_places(chart, axis, scale))
        drawn += _draw_axis(chart, axis, ticks, k, len(axes))

    for line, places in zip(lines, zip(*columns, strict=True), strict=True):
        points = [(chart.left + k * gap, y) for k, y in enumerate(places)]
        text = ",".join(at(y) for y in places)
        shape = path(points, line.cls, f'{line.marks} data-y="{text}"')
        chart.add(_titled(shape, line.name))
    # Over the lines, so that the words can be read and the axes be taken hold of.
    chart.add(*drawn)
    names = ", ".join(axis.name for axis in axes)
    return chart.render(
        f"Parallel coordinates of {len(lines)} runs over {names}.", ' class="parallel"'
    )


def _places(chart: Chart, axis: Axis, scale: Scale) -> list[float]:
    """Return the place of each run on an axis; below its end where a run has no value."""
    words = known_order(axis.known)
    places = []
    for value in axis.values:
        if value is None:
            places.append(chart.floor + 14)
        elif axis.is_number:
            places.append(scale(min(float(value), axis.cap)))
        else:
            places.append(scale(float(words.index(str(value)))))
    return places


def _draw_axis(
    chart: Chart, axis: Axis, ticks: Sequence[tuple[float, str]], k: int, n_axes: int
) -> list[str]:
    """Draw axis k of n with its ticks, its name, and the area that a script listens to."""
    gap = (chart.edge - chart.left) / max(1, n_axes - 1)
    x = chart.left + k * gap
    bottom = chart.floor
    drawn = [f'<path class="axis" d="M{at(x, chart.top)}V{at(bottom)}"/>']
    for place, text in ticks:
        label = esc(shorten(text, _NAME_LENGTH))
        drawn.append(f'<text x="{at(x + 7)}" y="{at(place + 4)}" class="ink">{label}</text>')

    # Names stand in two rows by turns, and the outer ones within the chart.
    heading_x, side = x, ""
    if 0 < k < n_axes - 1:
        side = "mid"
    elif k:
        heading_x, side = chart.width, "end"
    heading_y = 16 if k % 2 else 30
    heading = esc(shorten(axis.name, 22))
    drawn.append(
        f'<text x="{at(heading_x)}" y="{heading_y}" class="strong {side}">{heading}</text>'
    )
    if len(axis.known) < len(axis.values):
        drawn.append(f'<text x="{at(x + 7)}" y="{at(bottom + 18)}">none</text>')
    drawn.append(
        f'<rect class="hit" data-axis="{k}" x="{at(x - 14)}" y="{at(chart.top - 4)}" '
        f'width="28" height="{at(bottom - chart.top + 8)}"/>'
    )
    return drawn


def known_order(values: Sequence[Any]) -> list[str]:
    """Return words in order of appearance."""
    return list(dict.fromkeys(str(v) for v in values))


def _axis_scale(chart: Chart, axis: Axis) -> tuple[Scale, list[tuple[float, str]]]:
    """Return an axis's scale, and its ticks with their places."""
    known = axis.known
    top = chart.top
    bottom = chart.floor
    if not axis.is_number:
        words = known_order(known)
        scale = Scale(0, max(1, len(words) - 1), bottom - 12, top + 12)
        return scale, [(scale(i), word) for i, word in enumerate(words)]

    low = float(min(known))
    high = min(float(max(known)), axis.cap)
    is_log = low > 0 and high / low >= _LOG_RATIO
    scale = Scale(low, high, bottom - 6, top + 6, is_log=is_log)
    shown = {min(float(value), axis.cap) for value in known}
    if len(shown) > _MAX_DISTINCT:
        shown = {low, high}
        if not is_log:
            shown.update(scale.ticks(4))
    ticks: list[tuple[float, str]] = []
    for value in sorted(shown):
        place = scale(value)
        if ticks and abs(place - ticks[-1][0]) <= _MIN_GAP:
            continue
        prefix = "≥ " if value == axis.cap else ""
        ticks.append((place, prefix + tick_text(value)))
    return scale, ticks


def _titled(shape: str, title: str) -> str:
    """Return a line that shows a title at the pointer."""
    return shape.replace("/>", f"><title>{esc(title)}</title></path>")
