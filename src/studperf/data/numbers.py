"""Columns of numbers, and the marks by which a text file writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from studperf.config.dataset import Source
from studperf.schema.numbers import PLAIN, Marks

_N_TRIED = 2_000
_MARKED = re.compile("[0-9][, '\u00a0\u202f\u2009][0-9]")
_MOSTLY = 0.8
_EITHER = r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*"
"""A comma before three digits: decimal, or between thousands."""
# In the order in which they are preferred, where several read the same columns; `find_marks` moves
# one of them.
_KNOWN = (
    PLAIN,
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
    if marks != PLAIN:
        cells = [marks.to_point(cell) if isinstance(cell, str) else cell for cell in values]
        values = pd.Series(cells, index=values.index, dtype=object)
    # As `schema.numbers.read_number` reads each cell, to the last bit, in a third of its time.
    return pd.to_numeric(values, errors="coerce").astype(np.float64)


def find_marks(columns: Iterable[pd.Series], delimiter: str) -> Marks:
    """Return the marks by which most of these columns of text are numbers; in doubt, the plainest.

    Args:
        columns: each without its missing cells; of long ones the first cells are tried.
        delimiter: of the file. If it is a comma, `1,234` is a thousand; otherwise the comma is
            free to be a decimal one.
    """
    cells = [column.iloc[:_N_TRIED] for column in columns]
    if not any(_MARKED.search("\n".join(column)) for column in cells):
        return PLAIN
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
