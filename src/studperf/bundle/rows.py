"""The reading of raw cells into the arrays that a bundle's graph takes.

Cells come from a CSV or a request; all faults are told at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studperf.bundle.schema import InputColumn, Schema
from studperf.errors import DataError, listing

Cells = Sequence[Any] | NDArray[Any]
Columns = Mapping[str, Cells]
Feeds = dict[str, NDArray[Any]]
_FLAGS = {
    **dict.fromkeys(("0", "false", "no", "n"), 0.0),
    **dict.fromkeys(("1", "true", "yes", "y"), 1.0),
}
_N_EXAMPLES = 3


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
        warnings.append(f"{', '.join(unused)}: not used by the model")
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
        values = columns[column.name]
        missing = _missing(values, schema.missing)
        if missing.any() and column.fill is None:
            faults.append(
                f"{column.name}: {_count(missing, 'missing value')} ({to_places(missing)}), "
                "and training had none to learn from"
            )
        read = _READERS[column.kind]
        cells = read(values, missing, column, faults, warnings)
        feeds[column.name] = cells[:, None]
    if faults:
        raise DataError(listing("These rows are not what the model was trained for", faults))
    return feeds, warnings


def with_points(
    columns: Columns, schema: Schema, decimal: str, thousands: str | None
) -> dict[str, Cells]:
    """Return the columns of a file with its numbers as Python writes them.

    Cells that are no text stay as they are.

    Args:
        columns: by name, as they were written.
        schema: says which of them are numbers.
        decimal: the mark before the fraction.
        thousands: the mark between groups of three digits, if there is one.
    """
    if decimal == "." and thousands is None:
        return dict(columns)
    numbers = {column.name for column in schema.columns if column.kind == "number"}
    read: dict[str, Cells] = {}
    for name, cells in columns.items():
        if name not in numbers or isinstance(cells, np.ndarray):
            read[name] = cells
            continue
        read[name] = [
            _with_point(cell, schema.missing, decimal, thousands) if isinstance(cell, str) else cell
            for cell in cells
        ]
    return read


def _with_point(cell: str, missing: tuple[str, ...], decimal: str, thousands: str | None) -> str:
    """Return a number with a decimal point.

    A cell that is written otherwise comes back as it is, marked lest it be read as a number.
    """
    if cell in missing:
        return cell
    text = cell
    if thousands == " ":
        text = re.sub("[\u00a0\u202f\u2009]", " ", text)
    if thousands is not None:
        mark = re.escape(thousands)
        if re.fullmatch(
            rf"\s*[+-]?\d{{1,3}}(?:{mark}\d{{3}})+(?:{re.escape(decimal)}\d+)?\s*", text
        ):
            text = text.replace(thousands, "")
    if decimal != ",":
        return text
    # A point is no decimal mark here: 1.5 must not be read as one and a half.
    if "." in text:
        return f"{cell} (a decimal comma is expected)"
    return text.replace(",", ".")


def _missing(values: Cells, words: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which cells hold no value, (N,)."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return np.isnan(values)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iub":
        return np.zeros(len(values), dtype=bool)
    return np.asarray([_is_missing(value, words) for value in values], dtype=bool)


def _is_missing(value: object, words: tuple[str, ...]) -> bool:
    """Return True if a cell is empty, NaN, or a word for no value."""
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    return isinstance(value, str) and value in words


def _numbers(
    values: Cells,
    missing: NDArray[np.bool_],
    column: InputColumn,
    faults: list[str],
    warnings: list[str],
) -> NDArray[Any]:
    numbers = _convert(values, missing, _number)
    strange = np.isnan(numbers) & ~missing
    if strange.any():
        verb = "is" if strange.sum() == 1 else "are"
        faults.append(
            f"{column.name}: {_count(strange, 'value')} that {verb} no number: "
            f"{_shown(values, strange)}"
        )
    infinite = np.isinf(numbers)
    if infinite.any():
        faults.append(
            f"{column.name}: {_count(infinite, 'infinite value')} ({to_places(infinite)})"
        )
    unit = f" {column.unit}" if column.unit else ""
    outside = _outside(numbers, column.range) & ~infinite
    if outside.any() and column.range is not None:
        low, high = column.range
        faults.append(
            f"{column.name}: {_count(outside, 'value')} outside of {low:g} to {high:g}{unit}: "
            f"{_shown(values, outside)}"
        )
    beyond = _outside(numbers, column.seen)
    if beyond.any() and column.seen is not None:
        low, high = column.seen
        where = f"outside of the training range {low:g} to {high:g}{unit}"
        warnings.append(
            f"{column.name}: {_count(beyond, 'value')} {where} ({to_places(beyond)}): "
            "predictions there are extrapolation"
        )
    return numbers


def _outside(numbers: NDArray[np.float64], ends: tuple[float, float] | None) -> NDArray[np.bool_]:
    if ends is None:
        return np.zeros(len(numbers), dtype=bool)
    low, high = ends
    return (numbers < low) | (numbers > high)


def _flags(
    values: Cells,
    missing: NDArray[np.bool_],
    column: InputColumn,
    faults: list[str],
    warnings: list[str],  # noqa: ARG001 - readers share one form
) -> NDArray[Any]:
    flags = _convert(values, missing, _flag)
    is_unread = np.isnan(flags) & ~missing
    is_other = ~np.isin(flags, (0.0, 1.0)) & ~np.isnan(flags)
    strange = is_unread | is_other
    if strange.any():
        faults.append(
            f"{column.name}: a flag is 0/1, true/false or yes/no, got {_shown(values, strange)}"
        )
    return flags


def _levels(
    values: Cells,
    missing: NDArray[np.bool_],
    column: InputColumn,
    faults: list[str],
    warnings: list[str],
) -> NDArray[Any]:
    known = [value for value, is_missing in zip(values, missing, strict=True) if not is_missing]
    # 3 and 3.0 are the same level: a missing value turns a column of whole numbers into floats.
    is_whole = all(
        isinstance(value, float | np.floating) and float(value).is_integer() for value in known
    )
    words = []
    for value, is_missing in zip(values, missing, strict=True):
        if is_missing:
            words.append(column.missing)
        elif is_whole:
            words.append(str(int(value)))
        else:
            words.append(_text(value))
    levels = np.asarray(words, dtype=object)
    unseen = missing
    if words:
        unseen = ~np.isin(levels.astype(str), column.levels or ()) & ~missing
    if unseen.any() and column.unseen is None:
        known_levels = ", ".join(column.levels or ())
        faults.append(
            f"{column.name}: unknown level in {_count(unseen, 'row')}: "
            f"{_shown(values, unseen)}; known: {known_levels}"
        )
    elif unseen.any():
        warnings.append(
            f"{column.name}: unknown level in {_count(unseen, 'row')} "
            f"taken as {column.unseen!r}: {_shown(values, unseen)}"
        )
    return levels


_READERS = {"number": _numbers, "flag": _flags, "category": _levels}


def _convert(
    values: Cells, missing: NDArray[np.bool_], read: Callable[[Any], float]
) -> NDArray[np.float64]:
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return values.astype(np.float64)
    numbers = []
    for value, is_missing in zip(values, missing, strict=True):
        if is_missing:
            numbers.append(math.nan)
        else:
            numbers.append(read(value))
    return np.asarray(numbers, dtype=np.float64)


def _flag(value: object) -> float:
    """Return 0, 1, or NaN for what is no flag."""
    # A missing value turns a column of 0 and 1 into floats, so 1.0 is 1.
    word = _text(value).strip().lower().removesuffix(".0")
    return _FLAGS.get(word, math.nan)


def _number(value: object) -> float:
    if isinstance(value, int | float | np.number):
        return _float(value)
    text = str(value)
    if "_" in text:  # Python reads 1_000 as a thousand; a table that holds it means something else
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def _float(number: float | np.number[Any]) -> float:
    """Return the number as a float, infinite if it is an integer beyond all floats."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _text(value: object) -> str:
    try:
        return str(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "an integer of thousands of digits"


def _count(mask: NDArray[np.bool_], noun: str) -> str:
    return f"{int(mask.sum())} {noun}{'' if mask.sum() == 1 else 's'}"


def to_places(mask: NDArray[np.bool_]) -> str:
    """Return the first rows of a mask in words, counted from 1."""
    index = np.flatnonzero(mask)
    noun = "rows" if len(index) > 1 else "row"
    numbers = ", ".join(str(i + 1) for i in index[:_N_EXAMPLES])
    return f"{noun} {numbers}{_more(index)}"


def _shown(values: Cells, mask: NDArray[np.bool_]) -> str:
    """Return the first cells of a mask with their rows, cut to what a line can hold."""
    index = np.flatnonzero(mask)
    cells = [f"{_text(values[i])[:40]!r} (row {i + 1})" for i in index[:_N_EXAMPLES]]
    return ", ".join(cells) + _more(index)


def _more(index: NDArray[np.intp]) -> str:
    """Return how many rows there are beyond those that are shown."""
    n_more = len(index) - _N_EXAMPLES
    return f" and {n_more} more" if n_more > 0 else ""
