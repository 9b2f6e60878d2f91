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
_FLAGS = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0, "n": 0.0, "y": 1.0}
_N_EXAMPLES = 3


def to_feeds(columns: Columns, schema: Schema) -> tuple[Feeds, list[str]]:
    """Return the graph's inputs, (N, 1) each, and warnings.

    Warned of are extrapolation, levels taken as another, and columns that are not used.

    Rows count from 1.

    Raises:
        DataError: lists every column with cells that the model was not made for.
    """
    faults: list[str] = []
    unused = [name for name in columns if name not in {c.name for c in schema.columns}]
    warnings = [f"{', '.join(unused)}: not used by the model"] if unused else []
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
                f"{column.name}: {_count(missing, 'missing value')} ({to_places(missing)}), and training had none to learn from"
            )
        feeds[column.name] = _READERS[column.kind](values, missing, column, faults, warnings)[
            :, None
        ]
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
    return f"{cell} (a decimal comma is expected)" if "." in text else text.replace(",", ".")


def _missing(values: Cells, words: tuple[str, ...]) -> NDArray[np.bool_]:
    array = values if isinstance(values, np.ndarray) else None
    if array is not None and array.dtype.kind in "fiub":
        return np.isnan(array) if array.dtype.kind == "f" else np.zeros(len(array), dtype=bool)
    is_missing = [
        v is None or (isinstance(v, float) and math.isnan(v)) or (isinstance(v, str) and v in words)
        for v in values
    ]
    return np.asarray(is_missing, dtype=bool)


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
        faults.append(
            f"{column.name}: {_count(strange, 'value')} that {'is' if strange.sum() == 1 else 'are'} no number: {_shown(values, strange)}"
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
            f"{column.name}: {_count(outside, 'value')} outside of {low:g} to {high:g}{unit}: {_shown(values, outside)}"
        )
    beyond = _outside(numbers, column.seen)
    if beyond.any() and column.seen is not None:
        low, high = column.seen
        where = f"outside of the training range {low:g} to {high:g}{unit}"
        warnings.append(
            f"{column.name}: {_count(beyond, 'value')} {where} ({to_places(beyond)}): predictions there are extrapolation"
        )
    return numbers


def _outside(numbers: NDArray[np.float64], ends: tuple[float, float] | None) -> NDArray[np.bool_]:
    return (
        np.zeros(len(numbers), dtype=bool)
        if ends is None
        else (numbers < ends[0]) | (numbers > ends[1])
    )


def _flags(
    values: Cells,
    missing: NDArray[np.bool_],
    column: InputColumn,
    faults: list[str],
    warnings: list[str],  # noqa: ARG001 - readers share one form
) -> NDArray[Any]:
    flags = _convert(
        values,
        missing,
        lambda value: _FLAGS.get(_text(value).strip().lower().removesuffix(".0"), math.nan),
    )
    strange = np.isnan(flags) & ~missing | ~np.isin(flags, (0.0, 1.0)) & ~np.isnan(flags)
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
    words = [
        column.missing if gone else str(int(v)) if is_whole else _text(v)
        for v, gone in zip(values, missing, strict=True)
    ]
    levels = np.asarray(words, dtype=object)
    unseen = ~np.isin(levels.astype(str), column.levels or ()) & ~missing if words else missing
    if unseen.any() and column.unseen is None:
        known_levels = ", ".join(column.levels or ())
        faults.append(
            f"{column.name}: unknown level in {_count(unseen, 'row')}: {_shown(values, unseen)}; known: {known_levels}"
        )
    elif unseen.any():
        warnings.append(
            f"{column.name}: unknown level in {_count(unseen, 'row')} taken as {column.unseen!r}: {_shown(values, unseen)}"
        )
    return levels


_READERS = {"number": _numbers, "flag": _flags, "category": _levels}


def _convert(
    values: Cells, missing: NDArray[np.bool_], read: Callable[[Any], float]
) -> NDArray[np.float64]:
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return values.astype(np.float64)
    return np.asarray(
        [math.nan if gone else read(value) for value, gone in zip(values, missing, strict=True)],
        dtype=np.float64,
    )


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
    more = f" and {len(index) - _N_EXAMPLES} more" if len(index) > _N_EXAMPLES else ""
    return f"row{'s' if len(index) > 1 else ''} {', '.join(str(i + 1) for i in index[:_N_EXAMPLES])}{more}"


def _shown(values: Cells, mask: NDArray[np.bool_]) -> str:
    index = np.flatnonzero(mask)
    more = f" and {len(index) - _N_EXAMPLES} more" if len(index) > _N_EXAMPLES else ""
    return ", ".join(f"{_text(values[i])[:40]!r} (row {i + 1})" for i in index[:_N_EXAMPLES]) + more
