"""Charts as inline SVG, coloured by the page's style sheet.

So light and dark come for free, and they are sharp at every size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from studperf.scoring.numbers import short_number

Points = Iterable[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """A map from values to places, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value; the middle when all values are the same."""
        low = self.low
        high = self.high
        if self.is_log:
            low = math.log(low)
            high = math.log(high)
            value = math.log(value)
        share = 0.5
        if high != low:
            share = (value - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Return round values along the scale."""
        if self.high == self.low or self.is_log:
            return sorted({self.low, self.high})
        # The smallest round step that gives no more than `count` of them; the small numbers let an
        # end that is round but for floating point count as round.
        raw = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def shorten(text: str, length: int) -> str:
    """Return a text, cut to so many characters where it is longer."""
    if len(text) <= length:
        return text
    return text[: length - 1] + "…"


def at(*values: float) -> str:
    """Return coordinates with a digit behind the point, which is finer than a pixel."""
    return " ".join(f"{value:.1f}".removesuffix(".0") for value in values)


def element(name: str, *inside: str, **attributes: object) -> Markup:
    """Return an element, in which every text and every attribute's value is escaped.

    An attribute's `_` stands for a `-`, and `cls` for `class`; those without a value are left out.
    """
    marks = Markup()
    for key, value in attributes.items():
        if value == "":
            continue
        called = "class" if key == "cls" else key.replace("_", "-")
        marks += Markup(' {}="{}"').format(called, value)
    if not inside:
        return Markup("<{}{}/>").format(name, marks)
    return Markup("<{0}{1}>{2}</{0}>").format(name, marks, Markup().join(inside))


def line_through(points: Points) -> str:
    """Return a path through points, which breaks where one is no number."""
    parts = []
    pen = "M"
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        parts.append(f"{pen}{at(x, y)}")
        pen = "L"
    return "".join(parts)


def cut(values: Sequence[float], high: float) -> list[tuple[float, float]]:
    """Return values with their places from 1 on, cut off above `high`.

    Where the line between two values crosses `high`, the point of crossing is among them.
    """
    points: list[tuple[float, float]] = []
    for i, value in enumerate(values):
        before = values[i - 1] if i else value
        crosses = (before > high) != (value > high)
        if crosses and math.isfinite(before) and math.isfinite(value):
            points.append((i + (high - before) / (value - before), high))
        points.append((i + 1, value if value <= high else math.nan))
    return points


@dataclass
class Chart:
    """Axes and what is drawn between them; the origin is the upper left corner, as in SVG."""

    width: float = 440
    height: float = 290
    left: float = 52
    right: float = 14
    top: float = 28
    bottom: float = 44
    parts: list[Markup] = field(default_factory=list)

    @property
    def edge(self) -> float:
        """Right end of what is between the axes."""
        return self.width - self.right

    @property
    def floor(self) -> float:
        """Lower end of what is between the axes, where the axis of x lies."""
        return self.height - self.bottom

    def scale_x(self, low: float, high: float, *, is_log: bool = False) -> Scale:
        """Return a scale across the chart."""
        return Scale(low, high, self.left, self.edge, is_log)

    def scale_y(self, low: float, high: float) -> Scale:
        """Return a scale up the chart."""
        return Scale(low, high, self.floor, self.top)

    def axis_x(
        self, scale: Scale, label: str, *, count: int = 6, ticks: Sequence[float] | None = None
    ) -> None:
        """Draw ticks, grid and label below."""
        floor = self.floor
        if ticks is None:
            ticks = scale.ticks(count)
        for value in ticks:
            x = scale(value)
            self.draw("path", cls="grid", d=f"M{at(x, self.top)}V{at(floor)}")
            self.text(x, floor + 18, short_number(value), "mid")
        self.draw("path", cls="axis", d=f"M{at(self.left, floor)}H{at(self.edge)}")
        self.text((self.left + self.edge) / 2, self.height - 6, label, "mid")

    def axis_y(self, scale: Scale, label: str, *, count: int = 5) -> None:
        """Draw ticks, grid and label.

        The label stands above, where it can be read without turning one's head.
        """
        for value in scale.ticks(count):
            y = scale(value)
            self.draw("path", cls="grid", d=f"M{at(self.left, y)}H{at(self.edge)}")
            self.text(self.left - 8, y + 4, short_number(value), "end")
        self.text(2, 13, label)

    def draw(self, name: str, *, title: str = "", **attributes: object) -> None:
        """Draw an element, with a title that is shown at the pointer."""
        inside = [element("title", title)] if title else []
        self.parts.append(element(name, *inside, **attributes))

    def text(self, x: float, y: float, text: str, cls: str = "") -> None:
        """Draw text at its baseline."""
        self.parts.append(element("text", text, x=at(x), y=at(y), cls=cls))

    def line(
        self, points: Points, cls: str = "line a", title: str = "", **attributes: object
    ) -> None:
        """Draw a line through points, in pixels."""
        through = line_through(points)
        if through:
            self.draw("path", title=title, cls=cls, d=through, **attributes)

    def dots(self, points: Points, cls: str = "dots a") -> None:
        """Draw many dots as one path.

        Strokes without length are a quarter of the bytes of circles.
        """
        strokes = "".join(f"M{at(x, y)}h0" for x, y in points)
        self.draw("path", cls=cls, d=strokes)

    def dot(
        self,
        x: float,
        y: float,
        radius: float = 4,
        cls: str = "a",
        title: str = "",
        style: str = "",
    ) -> None:
        """Draw one dot."""
        place = {"cx": at(x), "cy": at(y), "r": at(radius)}
        self.draw("circle", title=title, cls=cls, style=style, **place)

    def rule(self, x: float, cls: str = "") -> None:
        """Draw a vertical line from the top to the axis."""
        self.draw("path", cls=f"rule {cls}".rstrip(), d=f"M{at(x, self.top)}V{at(self.floor)}")

    def across(self, share: float) -> float:
        """Return the place of a share from 0 to 1 across the chart."""
        return self.left + share * (self.edge - self.left)

    def up(self, share: float) -> float:
        """Return the height of a share from 0 at the chart's lower edge to 1 at its upper one."""
        return self.floor - share * (self.floor - self.top)

    def render(self, description: str, cls: str = "") -> Markup:
        """Return the SVG; the description is what is read out in its place."""
        return element(
            "svg",
            *self.parts,
            viewBox=f"0 0 {at(self.width, self.height)}",
            style=f"max-width:{at(1.25 * self.width)}px",
            role="img",
            aria_label=description,
            cls=cls,
        )

    def render_within(self, cls: str) -> Markup:
        """Return the SVG beside a number that says what it shows."""
        size = f"0 0 {at(self.width, self.height)}"
        return element("svg", *self.parts, cls=cls, viewBox=size, aria_hidden="true")
