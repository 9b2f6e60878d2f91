"""What a single cell means: missing, a flag, or the name of a level."""

from __future__ import annotations

import math
from collections.abc import Collection

_FLAGS = {
    **dict.fromkeys(("0", "false", "no", "n"), 0.0),
    **dict.fromkeys(("1", "true", "yes", "y"), 1.0),
}


def is_missing(cell: object, words: Collection[str]) -> bool:
    """Return True if a cell is empty, NaN, or a word for no value."""
    if cell is None:
        return True
    if isinstance(cell, float):
        return math.isnan(cell)
    return isinstance(cell, str) and cell in words


def read_flag(cell: object) -> float:
    """Return 0 or 1 by any of their spellings, NaN for what is no flag."""
    # Beside a missing value the integers 0 and 1 of a column become 0.0 and 1.0.
    word = to_text(cell).strip().lower().removesuffix(".0")
    return _FLAGS.get(word, math.nan)


def to_text(cell: object) -> str:
    """Return a cell as text, which is also the name of its level."""
    try:
        return str(cell)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "an integer of thousands of digits"
