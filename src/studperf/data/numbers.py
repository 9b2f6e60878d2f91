"""Numbers in text files: with a decimal point or comma, with or without marks between thousands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from studperf.config.dataset import Source

LARGEST = 1e30
"""Above it squares leave float32, in which networks compute, and sums of squares soon float64."""
LARGEST_WHOLE = 2.0**63
"""From here on a whole number does not fit into int64."""
SMALLEST = 1e-30
"""A spread below it is lost when it is squared."""
LEAST_RELATIVE_SPREAD = 1e-5
"""A target's least spread, against its size: two of float32's seven digits tell values apart."""
_WIDE_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " "})
_N_TRIED = 2_000
_MARKED = re.compile("[0-9][, '\u00a0\u202f\u2009][0-9]")
_MOSTLY = 0.8
_EITHER = r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*"
"""A comma before three digits: decimal, or between thousands."""


@dataclass(frozen=True)
class Marks:
    """Decimal mark and mark between thousands, as a file writes numbers."""

    decimal: str = "."
    thousands: str | None = None


# In the order in which they are preferred, where several read the same columns; `find_marks` moves
# one of them.
_KNOWN = (
    Marks(),
    Marks(","),
    Marks(".", ","),
    Marks(",", "."),
    Marks(".", " "),
    Marks(",", " "),
    Marks(".", "'"),
    Marks(",", "'"),
)


def to_numbers(values: pd.Series, source: Source) -> pd.Series:
    """Return (N,) float64, NaN for cells that are no numbers as the source writes them.

    Args:
        values: text, or what a Parquet file holds, which knows no marks.
        source: names the marks of numbers.
    """
    return read_numbers(values, Marks(source.decimal, source.thousands))


def read_numbers(values: pd.Series, marks: Marks) -> pd.Series:
    """Return (N,) float64, NaN for cells that are no numbers with these marks."""
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return values.astype(np.float64)
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if pd.api.types.is_datetime64_any_dtype(values) or pd.api.types.is_timedelta64_dtype(values):
        return pd.Series(np.nan, index=values.index)
    if marks != Marks():
        is_text = values.map(lambda cell: isinstance(cell, str)).astype(bool)
        values = values.astype(object).where(~is_text, _with_points(values, marks))
    return pd.to_numeric(values, errors="coerce").astype(np.float64)


def _with_points(values: pd.Series, marks: Marks) -> pd.Series:
    """Return the texts as Python writes numbers; other texts do not become numbers by it."""
    text = values.astype(str)
    if marks.thousands == " ":
        text = text.map(lambda cell: cell.translate(_WIDE_SPACES))
    if marks.thousands is not None:
        is_grouped = text.str.fullmatch(_grouped(marks))
        text = text.where(~is_grouped, text.str.replace(marks.thousands, "", regex=False))
    if marks.decimal == ",":
        # A point is no decimal mark here: 1.5 must not be read as one and a half.
        text = text.str.replace(".", "?", regex=False)
        text = text.str.replace(",", ".", regex=False)
    return text


def _grouped(marks: Marks) -> str:
    thousands, decimal = re.escape(marks.thousands or ""), re.escape(marks.decimal)
    return rf"\s*[+-]?\d{{1,3}}(?:{thousands}\d{{3}})+(?:{decimal}\d+)?\s*"


def find_marks(columns: Iterable[pd.Series], delimiter: str) -> Marks:
    """Return the marks by which most of these columns of text are numbers; in doubt, the plainest.

    Args:
        columns: each without its missing cells; of long ones the first cells are tried.
        delimiter: of the file. If it is a comma, `1,234` is a thousand; otherwise the comma is
            free to be a decimal one.
    """
    cells = [column.iloc[:_N_TRIED] for column in columns]
    if not any(_MARKED.search("\n".join(column)) for column in cells):
        return Marks()
    read = dict.fromkeys(_KNOWN, 0)
    for column in cells:
        for marks in _KNOWN:
            share = read_numbers(column, marks).notna().mean()
            read[marks] += bool(share >= _MOSTLY)
    order = list(_KNOWN)
    if delimiter == ",":
        order.remove(Marks(","))
        order.append(Marks(","))
    return max(order, key=lambda marks: read[marks])


def is_ambiguous(column: pd.Series, marks: Marks) -> bool:
    """Return True if a column's commas could be of either kind: 1,234 as a thousand or as 1.234."""
    if marks.thousands is not None or marks.decimal != ",":
        return False
    marked = column[column.str.contains(",", regex=False)]
    return len(marked) > 1 and bool(marked.str.fullmatch(_EITHER).all())
