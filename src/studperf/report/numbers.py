"""Numbers as people read them: with decimals that fit a run's errors, and with the unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from studperf.record.record import RunRecord
from studperf.scoring.metrics import Interval


@dataclass(frozen=True)
class Figures:
    """The unit and decimals in which the numbers of one run are written."""

    unit: str
    decimals: int

    @classmethod
    def of(cls, record: RunRecord) -> Self:
        """Choose the decimals by the size of the run's RMSE: 4.94, 123.4, 5,678, 0.0123."""
        size = 1.0
        if record.judgement is not None:
            size = record.judgement.scores.rmse.value
        return cls(record.data.unit, decimals_for(size))

    @property
    def in_unit(self) -> str:
        """Return the unit for a heading, as ` (points)`, or nothing where there is none."""
        return f" ({self.unit})" if self.unit else ""

    def number(self, value: float, *, more: int = 0) -> str:
        """Return a number as text, such as `4.94`, with `more` further decimals."""
        return number(value, self.decimals + more)

    def with_unit(self, value: float) -> str:
        """Return a number with its unit, such as `7.93 points`."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def interval(self, value: Interval, *, more: int = 0) -> str:
        """Return a value with its interval, such as `4.94 [4.70, 5.18]`."""
        return interval(value, self.decimals + more)

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
    return min(12, 2 - math.floor(math.log10(size)))


def number(value: float, decimals: int) -> str:
    """Return a number with its thousands apart, or in words if it is not finite."""
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:,.{decimals}f}"


def interval(value: Interval, decimals: int) -> str:
    """Return a value with its interval, such as `0.868 [0.852, 0.882]`."""
    low = number(value.low, decimals)
    high = number(value.high, decimals)
    return f"{number(value.value, decimals)} [{low}, {high}]"
