"""The one rule for the digits of a number, wherever people read it.

A run's errors have the decimals that the size of its RMSE deserves: two from 1 up, one from 100,
none from 1,000, three significant digits below 1. Numbers that are set beside each other, as those
of two runs, have one more. Shares of the variance (R2) have three. All else, as a setting, a tick of
an axis or an epoch's value, has four significant digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from studperf.scoring.metrics import Interval

R2_DECIMALS = 3
_MOST_DECIMALS = 12
_FAR = 1e3
"""An end so many times further off than the value says that the rows are too few.

Its own digits would say nothing, and take the place of the others.
"""


@dataclass(frozen=True)
class Digits:
    """The unit and decimals in which the errors of one run are written."""

    unit: str
    decimals: int

    @classmethod
    def of(cls, rmse: float, unit: str = "") -> Self:
        """Choose the decimals by the size of the RMSE: 4.94, 123.4, 5,678, 0.0123."""
        return cls(unit, decimals_for(rmse))

    @property
    def in_unit(self) -> str:
        """Return the unit for a heading, as ` (points)`, or nothing where there is none."""
        return f" ({self.unit})" if self.unit else ""

    def number(self, value: float, *, more: int = 0) -> str:
        """Return a number as text, such as `4.94`, with `more` further decimals."""
        return number(value, self.decimals + more)

    def signed(self, value: float, *, more: int = 1) -> str:
        """Return a difference as text with its sign, such as `+0.012`."""
        return number(value, self.decimals + more, sign="+")

    def with_unit(self, value: float) -> str:
        """Return a number with its unit, such as `7.93 points`."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def interval(self, value: Interval, *, more: int = 0) -> str:
        """Return a value with its interval, such as `4.94 [4.70, 5.18]`."""
        return interval(value, self.decimals + more)

    def signed_interval(self, value: Interval) -> str:
        """Return a difference with its interval, such as `+0.012 [-0.004, +0.028]`."""
        return interval(value, self.decimals + 1, sign="+")

    def interval_with_unit(self, value: Interval) -> str:
        """Return a value with interval and unit, such as `4.94 [4.70, 5.18] points`."""
        return f"{self.interval(value)} {self.unit}".rstrip()


def decimals_for(size: float) -> int:
    """Return how many decimals show a number of this size.

    Two from 1 up, fewer for large numbers, three significant ones below.
    """
    size = abs(size)
    if not math.isfinite(size) or size == 0:
        return 2
    if size >= 1000:  # noqa: PLR2004 - a power of ten
        return 0
    if size >= 100:  # noqa: PLR2004 - a power of ten
        return 1
    if size >= 1:
        return 2
    return min(_MOST_DECIMALS, 2 - math.floor(math.log10(size)))


def number(value: float, decimals: int, *, sign: str = "") -> str:
    """Return a number with its thousands apart, or in words if it is not finite.

    With `+` as its sign, positive numbers show theirs.
    """
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:{sign},.{decimals}f}"


def ends(value: Interval, decimals: int, *, sign: str = "") -> tuple[str, str]:
    """Return both ends of an interval; one that is very far off as a power of ten."""
    farthest = _FAR * max(1.0, abs(value.value))
    texts = []
    for end in (value.low, value.high):
        if math.isfinite(end) and abs(end) > farthest:
            texts.append(f"{end:.0e}")
        else:
            texts.append(number(end, decimals, sign=sign))
    return texts[0], texts[1]


def interval(value: Interval, decimals: int, *, sign: str = "") -> str:
    """Return a value with its interval, such as `0.868 [0.852, 0.882]`."""
    low, high = ends(value, decimals, sign=sign)
    return f"{number(value.value, decimals, sign=sign)} [{low}, {high}]"


def short_number(value: float) -> str:
    """Return a number with four digits, without the dust of floating point."""
    if abs(value) >= 1000:  # noqa: PLR2004 - from here on whole numbers, which 4 digits can't show
        return f"{value:,.0f}"
    return f"{value:.4g}"
