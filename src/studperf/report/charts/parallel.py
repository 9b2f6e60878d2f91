"""Parallel coordinates, and the axes that they share with charts of a parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup

from studperf.report.charts.svg import Chart, Scale, at, shorten
from studperf.scoring.numbers import short_number

_LOG_RATIO = 20.0
"""An axis is logarithmic where its values span this ratio."""
_MAX_DISTINCT = 6
"""With more different values than this, an axis has round ticks instead."""
_LINE = 0.052
"""The share of an axis that a line of text takes."""
_NAME_LENGTH = 14


@dataclass(frozen=True)
class Axis:
    """An axis of numbers, or of words from short to long; places along it are shares from 0 to 1.

    Args:
        name: what it shows.
        values: those that it must hold; None where there is none.
        cap: largest number that it shows; those above are drawn there.
    """

    name: str
    values: Sequence[Any]
    cap: float = math.inf

    @property
    def known(self) -> list[Any]:
        """Values that there are."""
        return [value for value in self.values if value is not None]

    @cached_property
    def is_number(self) -> bool:
        """True if all values that there are are numbers."""
        return all(_is_number(value) for value in self.known)

    @cached_property
    def words(self) -> list[str]:
        """The different words, from short to long."""
        return sorted(set(map(str, self.known)), key=lambda word: (len(word), word))

    @cached_property
    def scale(self) -> Scale:
        """The scale on which the values lie."""
        if not self.is_number:
            return Scale(0, max(1, len(self.words) - 1), 0.04, 0.96)
        low = float(min(self.known))
        high = min(float(max(self.known)), self.cap)
        is_log = low > 0 and high / low >= _LOG_RATIO
        return Scale(low, high, 0.04, 0.96, is_log=is_log)

    def share(self, value: Any) -> float:  # noqa: ANN401 - a value of the configuration
        """Return the place of a value along the axis; NaN where there is none."""
        if value is None:
            return math.nan
        if self.is_number:
            return self.scale(min(float(value), self.cap))
        return self.scale(float(self.words.index(str(value))))

    def ticks(self, gap: float = _LINE) -> list[tuple[float, str]]:
        """Return the ticks' places with their texts, those of numbers at least `gap` apart."""
        if not self.is_number:
            return [(self.scale(float(i)), word) for i, word in enumerate(self.words)]
        shown = {min(float(value), self.cap) for value in self.known}
        if len(shown) > _MAX_DISTINCT:
            shown = {self.scale.low, self.scale.high, *self.scale.ticks(4)}
        ticks: list[tuple[float, str]] = []
        for value in sorted(shown):
            place = self.scale(value)
            if ticks and place - ticks[-1][0] <= gap:
                continue
            prefix = "≥ " if value == self.cap else ""
            ticks.append((place, prefix + short_number(value)))
        return ticks


def _is_number(value: Any) -> bool:  # noqa: ANN401 - a value of the configuration
    """Return True for a number; in Python a bool is one, too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Thread:
    """The look of a line through all axes.

    Args:
        title: shown at the pointer.
        cls: its classes.
        style: beside them.
        run: the number by which a page's script knows the run.
    """

    title: str
    cls: str
    style: str = ""
    run: str = ""


def parallel_chart(
    threads: Sequence[Thread], axes: Sequence[Axis], what: str, *, has_brushes: bool = False
) -> Markup:
    """Draw parallel coordinates: a line for each run or trial, through its value on each axis.

    Args:
        threads: the lines, the last ones above the others.
        axes: with the values of all of them, in the same order.
        what: the lines are.
        has_brushes: each line carries its places, so that a script can filter by them.
    """
    width = max(960, 128 * len(axes))
    chart = Chart(width=width, height=380, left=64, right=70, top=40, bottom=24)
    for i, thread in enumerate(threads):
        shares = [axis.share(axis.values[i]) for axis in axes]
        # A run without the key passes below the axis.
        ys = [chart.floor + 14 if math.isnan(share) else chart.up(share) for share in shares]
        points = [(_place(chart, k, len(axes)), y) for k, y in enumerate(ys)]
        marks = {}
        if has_brushes:
            marks = {"data_run": thread.run, "data_y": ",".join(at(y) for y in ys)}
        chart.line(points, thread.cls, thread.title, style=thread.style, **marks)
    # Over the lines, so that the words can be read and the axes be taken hold of.
    for k, axis in enumerate(axes):
        _draw_axis(chart, axis, k, len(axes))
        if has_brushes:
            _draw_grip(chart, k, len(axes))
    names = ", ".join(axis.name for axis in axes)
    return chart.render(f"Parallel coordinates of {len(threads)} {what} over {names}.", "parallel")


def _place(chart: Chart, k: int, n_axes: int) -> float:
    """Return the place of axis k of n."""
    return chart.across(k / max(1, n_axes - 1))


def _draw_axis(chart: Chart, axis: Axis, k: int, n_axes: int) -> None:
    """Draw axis k of n with its ticks and its name."""
    x = _place(chart, k, n_axes)
    chart.draw("path", cls="axis", d=f"M{at(x, chart.top)}V{at(chart.floor)}")
    for share, text in axis.ticks():
        chart.text(x + 7, chart.up(share) + 4, shorten(text, _NAME_LENGTH), "ink")

    # Names stand in two rows by turns, and the outer ones within the chart.
    heading_x = x
    side = ""
    if 0 < k < n_axes - 1:
        side = " mid"
    elif k:
        heading_x = chart.width
        side = " end"
    chart.text(heading_x, 16 if k % 2 else 30, shorten(axis.name, 22), f"strong{side}")
    if len(axis.known) < len(axis.values):
        chart.text(x + 7, chart.floor + 18, "none")


def _draw_grip(chart: Chart, k: int, n_axes: int) -> None:
    """Draw the area along axis k of n that a script listens to."""
    chart.draw(
        "rect",
        cls="hit",
        data_axis=k,
        x=at(_place(chart, k, n_axes) - 14),
        y=at(chart.top - 4),
        width=28,
        height=at(chart.floor - chart.top + 8),
    )
