"""Hashes by which equal rows are known: 64 bits, so that among ten million rows two unequal ones meet once in 400,000 tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from studperf.data.schema import Table

Hashes = NDArray[np.uint64]

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_WORD = 8
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(_WORD + 1)], dtype=np.uint64)
_ABSENT = np.uint64(np.iinfo(np.uint64).max)  # as pandas hashes a category's missing cell
_NAN_BITS = np.float64(np.nan).view(np.uint64)
NOTHING = np.uint64(0x5D5C_A1AB_1E5E_ED01)


def hash_rows(columns: pd.DataFrame) -> Hashes:
    """(N,) of each row's cells. Text and a category of the same text have the same hash."""
    return np.asarray(pd.util.hash_pandas_object(columns, index=False), dtype=np.uint64)


def hash_numbers(values: np.ndarray) -> Hashes:
    """(N,) of one column's numbers, (N,) float64: pandas' own hashes in a third of the time. All NaN are one, and so are both zeros."""
    bits: Hashes = (values + 0.0).view(np.uint64)  # -0 + 0 = 0
    if (absent := np.isnan(values)).any():
        bits[absent] = _NAN_BITS
    return _mix(bits)


def hash_levels(levels: Sequence[str]) -> Hashes:
    """(L + 1,) of a category's levels; the last one, at -1, is that of a missing cell."""
    known = pd.util.hash_array(np.array(levels, dtype=object), categorize=False)
    return np.append(np.asarray(known, dtype=np.uint64), _ABSENT)


def join_cells(columns: Iterable[Hashes], n_columns: int, n_rows: int) -> Hashes:
    """(N,) of rows, by the hashes of their cells: what `hash_rows` says of them, without a frame."""
    hashes = np.full(n_rows, 0x345678, dtype=np.uint64)
    factor = 1000003
    for i, column in enumerate(columns):
        hashes ^= column
        hashes *= np.uint64(factor)
        factor += 82520 + 2 * (n_columns - i)
    return hashes + np.uint64(97531)


def hash_features(table: Table) -> Hashes:
    """(N,) of each row's features, by which `evaluate` knows rows that a run has seen."""
    return hash_rows(table.frame[list(table.dataset.feature_names)])


def combine(first: Hashes, second: Hashes) -> Hashes:
    """(N,) of rows that are known by two hashes."""
    return first * _FACTOR + second


def hash_values(values: pa.Array) -> Hashes:
    """(N,) of one column's cells, whatever their type; a missing one has a hash as well."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if (
        pa.types.is_string(values.type)
        or pa.types.is_large_string(values.type)
        or pa.types.is_binary(values.type)
    ):
        hashes = _hash_text(values)
    elif pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        numbers = values if not values.null_count else values.fill_null(0)
        hashes = np.asarray(
            pd.util.hash_array(numbers.to_numpy(zero_copy_only=False)), dtype=np.uint64
        )
    else:
        hashes = hash_rows(values.to_pandas().astype(str).to_frame())
    if values.null_count:
        hashes = np.where(values.is_null().to_numpy(zero_copy_only=False), NOTHING, hashes)
    return hashes


def have_equals(hashes: Hashes, *, may_sort: bool = False) -> bool:
    """Whether any comes twice; hashes that are not needed in their order any more may be sorted where they lie."""
    ordered = hashes if may_sort else hashes.copy()
    ordered.sort()
    return bool((ordered[1:] == ordered[:-1]).any())


def group_rows(hashes: Hashes) -> NDArray[np.int64]:
    """(N,) each row's group of equal hashes; groups count from 0 in the order in which they first come."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    del ordered
    first = np.empty(len(hashes), dtype=np.int64)
    first[order] = np.repeat(order[begins], np.diff(np.append(begins, len(hashes))))
    number = np.cumsum(first == np.arange(len(hashes))) - 1
    return number[first]


def _hash_text(values: pa.Array) -> Hashes:
    """Eight bytes of all texts at a time, where a loop over ten million Python strings would take ten seconds."""
    width = np.int64 if pa.types.is_large_string(values.type) else np.int32
    _, offsets_buffer, text_buffer = values.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=width)[
        values.offset : values.offset + len(values) + 1
    ].astype(np.int64)
    if not len(values):
        return np.zeros(0, dtype=np.uint64)
    begin, end = int(offsets[0]), int(offsets[-1])
    text = np.zeros(end - begin + _WORD, dtype=np.uint8)
    if text_buffer is not None:
        text[: end - begin] = np.frombuffer(text_buffer, dtype=np.uint8)[begin:end]
    words = np.ndarray((len(text) - _WORD + 1,), dtype="<u8", buffer=text, strides=(1,))
    starts, lengths = offsets[:-1] - begin, np.diff(offsets)
    hashes = _mix(lengths.astype(np.uint64))
    for done in range(0, int(lengths.max()), _WORD):
        longer = np.flatnonzero(lengths > done)
        left = np.minimum(lengths[longer] - done, _WORD)
        hashes[longer] = _mix(
            hashes[longer] * _FACTOR + (words[starts[longer] + done] & _MASKS[left])
        )
    return hashes


def _mix(hashes: Hashes) -> Hashes:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014): each bit in changes half of the bits out."""
    hashes = hashes ^ (hashes >> np.uint64(30))
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(27)
    hashes *= np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(31)
    return hashes
