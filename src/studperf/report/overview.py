"""The charts of many runs: one colour a model, one line a run, linked by `data-run` so that a script can light up all of a run at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studperf.metrics import Interval
from studperf.record import RunRecord
from studperf.report.markup import esc
from studperf.report.svg import Chart, Scale, at, cut, path, tick_text

N_COLOURS = 8
_MAX_AXES = 9
_LOG_RATIO = 20.0
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
        """Classes of its lines."""
        return f"m m{self.colour}"


def curves_chart(lines: Sequence[Line], monitor: str, in_unit: str) -> str:
    """The watched metric of every run by epoch."""
    series = {
        line.index: [float(row[monitor]) for row in line.record.history if monitor in row]
        for line in lines
    }
    finals = sorted(
        values[-1] for values in series.values() if values and math.isfinite(values[-1])
    )
    if not finals:
        return ""
    low = min(v for values in series.values() for v in values if math.isfinite(v))
    high = upper_end(low, finals)
    chart = Chart(height=330)
    x = chart.scale_x(1, max(2, *(len(values) for values in series.values())))
    y = chart.scale_y(low - 0.05 * (high - low), high)
    chart.axis_y(y, monitor + in_unit)
    chart.axis_x(x, "epoch")
    for line in lines:
        points = [(x(i), y(v)) for i, v in cut(series[line.index], y.high)]
        chart.add(_titled(path(points, line.cls, line.marks), line.name))
    return chart.render(f"{monitor} of {len(lines)} runs by epoch.")


def upper_end(low: float, finals: list[float]) -> float:
    """Where three quarters of the runs end, and as much again and a half: a run far off doesn't flatten the contest."""
    reach = finals[int(0.75 * (len(finals) - 1))] - low
    return low + (2.5 * reach or abs(low) * 0.1 or 1.0)


def score_bar(value: Interval, scale: Scale, reference: float | None, colour: int) -> str:
    """A score with its interval, as high as a line of text; the reference is a tick."""
    low, high = (min(max(v, scale.low), scale.high) for v in (value.low, value.high))
    tick = (
        f'<path class="rule b" d="M{at(scale(reference), 2)}V18"/>'
        if reference is not None and scale.low <= reference <= scale.high
        else ""
    )
    dot = (
        f'<circle cx="{at(scale(value.value))}" cy="10" r="4"/>'
        if scale.low <= value.value <= scale.high
        else ""
    )
    bar = f'<path class="whisker" d="M{at(scale(low), 10)}H{at(scale(high))}"/>'
    return f'<svg class="mini m{colour}" viewBox="0 0 144 20" aria-hidden="true">{tick}{bar}{dot}</svg>'


@dataclass(frozen=True)
class Axis:
    """One axis of parallel coordinates: a number, or words in order of appearance; None where a run has no such key."""

    name: str
    values: list[Any]
    cap: float = math.inf
    """Numbers above are drawn there."""

    @property
    def is_number(self) -> bool:
        """Whether all values there are are numbers."""
        return all(
            isinstance(v, int | float) and not isinstance(v, bool)
            for v in self.values
            if v is not None
        )


def choices(records: Sequence[RunRecord]) -> list[Axis]:
    """What was chosen differently among runs: keys of the configuration, those set on the command line first."""
    flat = [{"model": record.model, **_flatten(record.config)} for record in records]
    keys = list(dict.fromkeys(key for config in flat for key in config))
    said = {word.partition("=")[0].lstrip("+~") for record in records for word in record.overrides}
    axes = []
    for key in sorted(keys, key=lambda key: (key != "model", key not in said, keys.index(key))):
        values = [config.get(key) for config in flat]
        if _is_choice(key, values, [config["model"] for config in flat]):
            axes.append(Axis(key, values))
    return axes[:_MAX_AXES]


def _is_choice(key: str, values: list[Any], models: list[str]) -> bool:
    """What differs among runs of one model was chosen; what differs only between models comes with them."""
    if key == "model":
        return len(set(models)) > 1
    return any(
        len({str(v) for v, m in zip(values, models, strict=True) if m == model}) > 1
        for model in set(models)
    )


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name.startswith(_NO_CHOICE):
            continue
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{name}.")
        elif not name.endswith("_target_"):
            flat[name] = (
                value
                if (isinstance(value, int | float | str) and not isinstance(value, bool))
                or value is None
                else str(value)
            )
    return flat


def parallel_chart(lines: Sequence[Line], axes: Sequence[Axis]) -> str:
    """Parallel coordinates, the score as the last axis. Each line carries its places, so that a script can filter by them."""
    chart = Chart(width=max(960, 128 * len(axes)), height=380, left=64, right=70, top=40, bottom=24)
    gap = (chart.width - chart.left - chart.right) / max(1, len(axes) - 1)
    places = [[0.0] * len(axes) for _ in lines]
    drawn = []
    for k, axis in enumerate(axes):
        x = chart.left + k * gap
        scale, ticks = _axis_scale(chart, axis)
        bottom = chart.height - chart.bottom
        known = [v for v in axis.values if v is not None]
        for i, value in enumerate(axis.values):
            places[i][k] = (
                bottom + 14
                if value is None
                else scale(
                    min(float(value), axis.cap)
                    if axis.is_number
                    else float(known_order(known).index(str(value)))
                )
            )
        drawn.append(f'<path class="axis" d="M{at(x, chart.top)}V{at(bottom)}"/>')
        drawn += [
            f'<text x="{at(x + 7)}" y="{at(place + 4)}" class="ink">{esc(_short(text))}</text>'
            for place, text in ticks
        ]
        heading, side = (
            _short(axis.name, 22),
            "mid" if 0 < k < len(axes) - 1 else "end" if k else "",
        )
        drawn.append(
            f'<text x="{at(x if side != "end" else chart.width)}" y="{16 if k % 2 else 30}" class="strong {side}">{esc(heading)}</text>'
        )
        if any(v is None for v in axis.values):
            drawn.append(f'<text x="{at(x + 7)}" y="{at(bottom + 18)}">none</text>')
        drawn.append(
            f'<rect class="hit" data-axis="{k}" x="{at(x - 14)}" y="{at(chart.top - 4)}" width="28" height="{at(bottom - chart.top + 8)}"/>'
        )
    for line, place in zip(lines, places, strict=True):
        points = [(chart.left + k * gap, y) for k, y in enumerate(place)]
        chart.add(
            _titled(
                path(points, line.cls, f'{line.marks} data-y="{",".join(at(y) for y in place)}"'),
                line.name,
            )
        )
    chart.add(*drawn)
    names = ", ".join(axis.name for axis in axes)
    return chart.render(
        f"Parallel coordinates of {len(lines)} runs over {names}.", ' class="parallel"'
    )


def known_order(values: Sequence[Any]) -> list[str]:
    """Words in order of appearance."""
    return list(dict.fromkeys(str(v) for v in values))


def _axis_scale(chart: Chart, axis: Axis) -> tuple[Scale, list[tuple[float, str]]]:
    known = [v for v in axis.values if v is not None]
    top, bottom = chart.top, chart.height - chart.bottom
    if not axis.is_number:
        words = known_order(known)
        scale = Scale(0, max(1, len(words) - 1), bottom - 12, top + 12)
        return scale, [(scale(i), word) for i, word in enumerate(words)]
    low, high = float(min(known)), min(float(max(known)), axis.cap)
    scale = Scale(low, high, bottom - 6, top + 6, is_log=low > 0 and high / low >= _LOG_RATIO)
    distinct = sorted({min(float(v), axis.cap) for v in known})
    shown = (
        distinct
        if len(distinct) <= 6  # noqa: PLR2004
        else sorted({low, *scale.ticks(4), high} if not scale.is_log else {low, high})
    )
    ticks: list[tuple[float, str]] = []
    for value in shown:
        if not ticks or abs(scale(value) - ticks[-1][0]) > 16:  # noqa: PLR2004 - a line of text
            ticks.append((scale(value), f"{'≥ ' if value == axis.cap else ''}{tick_text(value)}"))
    return scale, ticks


def _titled(shape: str, title: str) -> str:
    return shape.replace("/>", f"><title>{esc(title)}</title></path>") if shape else ""


def _short(text: str, length: int = 14) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
