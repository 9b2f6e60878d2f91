"""The reading of raw cells into the arrays that a bundle's graph takes.

Cells come from a CSV or a request; all faults are told at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studperf.bundle.schema import InputColumn, Schema
from studperf.errors import DataError, listing
from studperf.schema import words
from studperf.schema.cells import is_missing, read_flag, to_text
from studperf.schema.findings import (
    Cells,
    Mask,
    Show,
    are_outside,
    observe_flags,
    observe_numbers,
)
from studperf.schema.numbers import PLAIN, Marks, read_number

Values = Sequence[Any] | NDArray[Any]
"""The cells of a column: texts of a CSV, values of a Parquet file or a request."""
Columns = Mapping[str, Values]
Feeds = dict[str, NDArray[Any]]
_LONGEST_SHOWN = 40


def to_feeds(columns: Columns, schema: Schema) -> tuple[Feeds, list[str]]:
    """Return the graph's inputs, (N, 1) each, and warnings.

    Warned of are extrapolation, levels taken as another, and columns that are not used.

    Rows count from 1.

    Raises:
        DataError: lists every column with cells that the model was not made for.
    """
    faults: list[str] = []
    warnings: list[str] = []
    used = {column.name for column in schema.columns}
    unused = [name for name in columns if name not in used]
    if unused:
        warnings.append(f"{', '.join(unused)}: {words.NOT_USED}")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        faults.append(
            f"the columns differ in their number of rows: {', '.join(map(str, sorted(lengths)))}"
        )
    feeds: Feeds = {}
    for column in schema.columns:
        if column.name not in columns:
            faults.append(f"{column.name}: the column is missing")
            continue
        read = _READERS[column.kind](columns[column.name], column, schema.missing)
        feeds[column.name] = read.cells[:, None]
        faults += [f"{column.name}: {fault}" for fault in read.faults]
        warnings += [f"{column.name}: {warning}" for warning in read.warnings]
    if faults:
        raise DataError(listing("These rows are not what the model was trained for", faults))
    return feeds, warnings


def with_points(
    columns: Columns, schema: Schema, decimal: str, thousands: str | None
) -> dict[str, Values]:
    """Return the columns of a file with its numbers as Python writes them.

    Cells that are no text stay as they are.

    Args:
        columns: by name, as they were written.
        schema: says which of them are numbers.
        decimal: the mark before the fraction.
        thousands: the mark between groups of three digits, if there is one.
    """
    marks = Marks(decimal, thousands)
    if marks == PLAIN:
        return dict(columns)
    numbers = {column.name for column in schema.columns if column.kind == "number"}
    read: dict[str, Values] = {}
    for name, cells in columns.items():
        if name not in numbers or isinstance(cells, np.ndarray):
            read[name] = cells
        else:
            read[name] = [_with_point(cell, schema.missing, marks) for cell in cells]
    return read


def _with_point(cell: object, missing: tuple[str, ...], marks: Marks) -> object:
    """Return a number with a decimal point.

    A cell that is written otherwise comes back as it is, marked lest it be read as a number.
    """
    if not isinstance(cell, str) or cell in missing:
        return cell
    text = marks.to_point(cell)
    return f"{cell} (a decimal comma is expected)" if text is None else text


@dataclass
class _Read:
    """A column as the graph takes it, with what is said of its cells."""

    cells: NDArray[Any]
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _find_missing(
    values: Values, column: InputColumn, spelled: Collection[str]
) -> tuple[Mask, list[str]]:
    """Return which cells hold no value, (N,), and the fault of it if the model fills none."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        missing = np.isnan(values)
    elif isinstance(values, np.ndarray) and values.dtype.kind in "iub":
        missing = np.zeros(len(values), dtype=bool)
    else:
        missing = np.asarray([is_missing(value, spelled) for value in values], dtype=bool)
    if column.fill is not None or not missing.any():
        return missing, []
    said = words.missing_values(Cells.where(missing))
    return missing, [f"{said}, and training had none to learn from"]


def _read_numbers(values: Values, column: InputColumn, spelled: Collection[str]) -> _Read:
    missing, faults = _find_missing(values, column, spelled)
    numbers = _convert(values, missing, read_number)
    show = _show_cells(values)
    facts = observe_numbers(numbers, missing, column.range, show_cell=show, show_number=show)
    if facts.bad:
        faults.append(words.no_numbers(facts.bad, brief=True))
    if facts.infinite:
        faults.append(words.infinite_values(facts.infinite, brief=True))
    if facts.outside and column.range is not None:
        faults.append(words.values_outside(facts.outside, column.range, column.unit, brief=True))

    read = _Read(numbers, faults)
    if column.seen is not None:
        beyond = Cells.where(are_outside(numbers, column.seen))
        if beyond:
            counted = beyond.count("value")
            said = words.values_beyond(counted, column.seen, column.unit, beyond.numbers)
            read.warnings.append(said)
    return read


def _read_flags(values: Values, column: InputColumn, spelled: Collection[str]) -> _Read:
    missing, faults = _find_missing(values, column, spelled)
    flags = _convert(values, missing, read_flag)
    bad = observe_flags(flags, missing, _show_cells(values)).bad
    if bad:
        faults.append(words.no_flags(bad))
    return _Read(flags, faults)


def _read_levels(values: Values, column: InputColumn, spelled: Collection[str]) -> _Read:
    missing, faults = _find_missing(values, column, spelled)
    known = [value for value, is_absent in zip(values, missing, strict=True) if not is_absent]
    # 3 and 3.0 are the same level: a missing value turns a column of whole numbers into floats.
    is_whole = all(
        isinstance(value, float | np.floating) and float(value).is_integer() for value in known
    )
    texts = []
    for value, is_absent in zip(values, missing, strict=True):
        if is_absent:
            texts.append(column.missing)
        elif is_whole:
            texts.append(str(int(value)))
        else:
            texts.append(to_text(value))
    levels = np.asarray(texts, dtype=object)
    taught = set(column.levels or ())
    is_known = np.asarray([text in taught for text in texts], dtype=bool)
    unseen = Cells.where(~is_known & ~missing, _show_cells(values))

    read = _Read(levels, faults)
    if unseen and column.unseen is None:
        read.faults.append(words.unknown_levels(unseen, column.levels))
    elif unseen and column.unseen is not None:
        read.warnings.append(words.taken_levels(unseen, column.unseen))
    return read


_READERS = {"number": _read_numbers, "flag": _read_flags, "category": _read_levels}


def _convert(values: Values, missing: Mask, read: Callable[[Any], float]) -> NDArray[np.float64]:
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return values.astype(np.float64)
    numbers = []
    for value, is_absent in zip(values, missing, strict=True):
        numbers.append(math.nan if is_absent else read(value))
    return np.asarray(numbers, dtype=np.float64)


def _show_cells(values: Values) -> Show:
    """Return how a cell is shown: as text, cut to what a line can hold."""
    return lambda row: repr(to_text(values[row])[:_LONGEST_SHOWN])
