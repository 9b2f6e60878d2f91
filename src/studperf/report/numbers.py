"""Numbers as people read them: as many decimals as the size of a run's errors calls for, and the unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from studperf.record.record import RunRecord
from studperf.scoring.metrics import Interval


@dataclass(frozen=True)
class Figures:
    """How the numbers of one run are written."""

    unit: str
    decimals: int

    @classmethod
    def of(cls, record: RunRecord) -> Self:
        """By the size of the run's RMSE: 4.94, 123.4, 5,678, 0.0123."""
        return cls(
            record.data.unit,
            decimals_for(record.judgement.scores.rmse.value if record.judgement else 1.0),
        )

    @property
    def in_unit(self) -> str:
        """` (points)` for a heading; nothing where there is no unit."""
        return f" ({self.unit})" if self.unit else ""

    def number(self, value: float, *, more: int = 0) -> str:
        """`4.94`; `more` asks for further decimals."""
        return number(value, self.decimals + more)

    def with_unit(self, value: float) -> str:
        """`7.93 points`."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def interval(self, value: Interval, *, more: int = 0) -> str:
        """`4.94 [4.70, 5.18]`."""
        return interval(value, self.decimals + more)

    def interval_with_unit(self, value: Interval) -> str:
        """`4.94 [4.70, 5.18] points`."""
        return f"{self.interval(value)} {self.unit}".rstrip()


def decimals_for(size: float) -> int:
    """Two from 1 up, fewer for large numbers, three significant ones below."""
    size = abs(size)
    if not math.isfinite(size) or size == 0:
        return 2
    if size >= 1:
        return 2 if size < 100 else 1 if size < 1000 else 0  # noqa: PLR2004 - powers of ten
    return min(12, 2 - math.floor(math.log10(size)))


def number(value: float, decimals: int) -> str:
    """With thousands apart; words for what is no finite number."""
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "∞" if value > 0 else "-∞"
    return f"{value:,.{decimals}f}"


def interval(value: Interval, decimals: int) -> str:
    """`0.868 [0.852, 0.882]`."""
    return f"{number(value.value, decimals)} [{number(value.low, decimals)}, {number(value.high, decimals)}]"
