"""Charts as inline SVG: coloured by the page's style sheet, so light and dark come for free; sharp at every size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from studperf.report.markup import esc

Points = Iterable[tuple[float, float]]


@dataclass(frozen=True)
class Scale:
    """From values to places: linear, or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; the middle when all values are the same."""
        low, high, value = (
            (math.log(v) for v in (self.low, self.high, value))
            if self.is_log
            else (self.low, self.high, value)
        )
        share = 0.5 if high == low else (value - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values along the scale."""
        if self.high == self.low or self.is_log:
            return sorted({self.low, self.high})
        raw = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """Short, without the dust of floating point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"  # noqa: PLR2004


def at(*values: float) -> str:
    """Coordinates with a digit behind the point, which is finer than a pixel."""
    return " ".join(f"{value:.1f}".removesuffix(".0") for value in values)


def path(points: Points, cls: str, extra: str = "") -> str:
    """A line through points; where one is no number the line breaks."""
    parts, pen = [], "M"
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        parts.append(f"{pen}{at(x, y)}")
        pen = "L"
    return f'<path class="{cls}" d="{"".join(parts)}"{extra}/>' if parts else ""


def cut(values: Sequence[float], high: float) -> list[tuple[float, float]]:
    """Values with their places from 1 on, those above `high` left out, and the points where the line between them crosses it."""
    points: list[tuple[float, float]] = []
    for i, value in enumerate(values):
        before = values[i - 1] if i else value
        if (before > high) != (value > high) and math.isfinite(before) and math.isfinite(value):
            points.append((i + (high - before) / (value - before), high))
        points.append((i + 1, value if value <= high else math.nan))
    return points


@dataclass
class Chart:
    """Axes and what is drawn between them. The origin is the upper left corner, as in SVG."""

    width: float = 440
    height: float = 290
    left: float = 52
    right: float = 14
    top: float = 28
    bottom: float = 44
    parts: list[str] = field(default_factory=list)

    def scale_x(self, low: float, high: float, *, is_log: bool = False) -> Scale:
        """Across the chart."""
        return Scale(low, high, self.left, self.width - self.right, is_log)

    def scale_y(self, low: float, high: float) -> Scale:
        """Up the chart."""
        return Scale(low, high, self.height - self.bottom, self.top)

    def axis_x(
        self, scale: Scale, label: str, *, count: int = 6, ticks: Sequence[float] | None = None
    ) -> None:
        """Ticks, grid and label below."""
        floor = self.height - self.bottom
        for value in ticks if ticks is not None else scale.ticks(count):
            x = scale(value)
            self.parts.append(f'<path class="grid" d="M{at(x, self.top)}V{at(floor)}"/>')
            self.text(x, floor + 18, tick_text(value), "mid")
        self.parts.append(
            f'<path class="axis" d="M{at(self.left, floor)}H{at(self.width - self.right)}"/>'
        )
        self.text((self.left + self.width - self.right) / 2, self.height - 6, label, "mid")

    def axis_y(self, scale: Scale, label: str, *, count: int = 5) -> None:
        """Ticks, grid, and the label above, where it can be read without turning one's head."""
        for value in scale.ticks(count):
            y = scale(value)
            self.parts.append(
                f'<path class="grid" d="M{at(self.left, y)}H{at(self.width - self.right)}"/>'
            )
            self.text(self.left - 8, y + 4, tick_text(value), "end")
        self.text(2, 13, label)

    def text(self, x: float, y: float, text: str, cls: str = "") -> None:
        """Text at its baseline."""
        self.parts.append(
            f'<text x="{at(x)}" y="{at(y)}"{f" class={chr(34)}{cls}{chr(34)}" if cls else ""}>{esc(text)}</text>'
        )

    def add(self, *parts: str) -> None:
        """Anything else."""
        self.parts += parts

    def line(self, points: Points, cls: str = "line a", extra: str = "") -> None:
        """A line through points, in pixels."""
        self.parts.append(path(points, cls, extra))

    def dots(self, points: Points, cls: str = "dots a") -> None:
        """Many dots as one path of strokes without length, which is a quarter of the bytes of circles."""
        self.parts.append(
            f'<path class="{cls}" d="{"".join(f"M{at(x, y)}h0" for x, y in points)}"/>'
        )

    def dot(self, x: float, y: float, radius: float = 4, cls: str = "a") -> None:
        """One dot."""
        self.parts.append(f'<circle class="{cls}" cx="{at(x)}" cy="{at(y)}" r="{at(radius)}"/>')

    def render(self, description: str, extra: str = "") -> str:
        """The SVG; the description is what is read out in its place."""
        body = "".join(self.parts)
        size = f'viewBox="0 0 {at(self.width, self.height)}" style="max-width:{at(1.25 * self.width)}px"'
        return f'<svg {size} role="img" aria-label="{esc(description)}"{extra}>{body}</svg>'
