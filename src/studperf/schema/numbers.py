"""Numbers as text writes them, and the limits of those that can be computed with."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LARGEST = 1e30
"""Above it squares leave float32, in which networks compute, and sums of squares soon float64."""
LARGEST_WHOLE = 2.0**63
"""From here on a whole number does not fit into int64."""
SMALLEST = 1e-30
"""A spread below it is lost when it is squared."""
LEAST_RELATIVE_SPREAD = 1e-5
"""A target's least spread, against its size: two of float32's seven digits tell values apart."""
_WIDE_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " "})


@dataclass(frozen=True)
class Marks:
    """Decimal mark and mark between thousands, as a file writes numbers."""

    decimal: str = "."
    thousands: str | None = None

    @cached_property
    def _grouped(self) -> re.Pattern[str]:
        """The form of a number with marks between its groups of three digits."""
        thousands, decimal = re.escape(self.thousands or ""), re.escape(self.decimal)
        return re.compile(rf"\s*[+-]?\d{{1,3}}(?:{thousands}\d{{3}})+(?:{decimal}\d+)?\s*")

    def to_point(self, text: str) -> str | None:
        """Return a number's text with a decimal point and no other mark.

        Other texts do not become numbers by it. None stands for a number that is written with
        another decimal mark.
        """
        if self.thousands == " ":
            text = text.translate(_WIDE_SPACES)
        if self.thousands is not None and self._grouped.fullmatch(text):
            text = text.replace(self.thousands, "")
        if self.decimal != ",":
            return text
        # A point is no decimal mark here: 1.5 must not be read as one and a half.
        if "." in text:
            return None
        return text.replace(",", ".")


PLAIN = Marks()


def read_number(cell: object) -> float:
    """Return a cell as a number, NaN if it is none; pandas and Arrow read text to the same bit."""
    if isinstance(cell, int | float | np.number):
        return _to_float(cell)
    text = str(cell)
    # Python alone reads 1_000 as a thousand, and digits of other scripts.
    if "_" in text or not text.isascii():
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def _to_float(number: float | np.number) -> float:
    """Return a number as a float, infinite if it is an integer beyond all floats."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
