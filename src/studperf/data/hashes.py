"""64-bit hashes of rows, by which equal rows are found.

In a table of ten million rows the chance that two different rows collide is 1 in 400,000.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from studperf.data.schema import Table

Hashes = NDArray[np.uint64]

# 2^64 divided by the golden ratio, made odd: splitmix64's step.
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_WORD = 8
# The first n bytes of a word.
_MASKS = np.array(
    [(1 << 8 * n) - 1 for n in range(_WORD + 1)],
    dtype=np.uint64,
)
# As pandas hashes a category's missing cell.
_ABSENT = np.uint64(np.iinfo(np.uint64).max)
_NAN_BITS = np.float64(np.nan).view(np.uint64)
NOTHING = np.uint64(0x5D5C_A1AB_1E5E_ED01)
"""Hash of a missing cell in `hash_values`."""


def hash_rows(columns: pd.DataFrame) -> Hashes:
    """Return a hash (N,) of each row's cells.

    Text and a category of the same text have the same hash.
    """
    return np.asarray(pd.util.hash_pandas_object(columns, index=False), dtype=np.uint64)


def hash_numbers(values: np.ndarray) -> Hashes:
    """Return a hash (N,) of each number of one column, (N,) float64.

    They are pandas' own hashes in a third of the time. All NaN are one, and so are both zeros.
    """
    # -0 + 0 = 0
    bits: Hashes = (values + 0.0).view(np.uint64)
    absent = np.isnan(values)
    if absent.any():
        bits[absent] = _NAN_BITS
    return _mix(bits)


def hash_levels(levels: Sequence[str]) -> Hashes:
    """Return a hash (L + 1,) of each of a category's levels.

    The last one, at -1, is that of a missing cell.
    """
    known = pd.util.hash_array(np.array(levels, dtype=object), categorize=False)
    return np.append(np.asarray(known, dtype=np.uint64), _ABSENT)


def join_cells(columns: Iterable[Hashes], n_columns: int, n_rows: int) -> Hashes:
    """Return a hash (N,) of each row from the hashes of its cells.

    It is the hash of `hash_rows`, without a frame.
    """
    # The formula and the numbers of pandas' combine_hash_arrays, which are those of Python's
    # tuples.
    hashes = np.full(n_rows, 0x345678, dtype=np.uint64)
    factor = 1000003
    for i, column in enumerate(columns):
        hashes ^= column
        hashes *= np.uint64(factor)
        factor += 82520 + 2 * (n_columns - i)
    return hashes + np.uint64(97531)


def hash_features(table: Table) -> Hashes:
    """Return a hash (N,) of each row's features, by which `evaluate` finds rows that a run saw."""
    return hash_rows(table.frame[list(table.dataset.feature_names)])


def combine(first: Hashes, second: Hashes) -> Hashes:
    """Return one hash (N,) for rows that are known by two."""
    return first * _FACTOR + second


def hash_values(values: pa.Array) -> Hashes:
    """Return a hash (N,) of each cell of one column, whatever its type.

    A missing cell has a hash as well.
    """
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if is_text or pa.types.is_binary(kind):
        hashes = _hash_text(values)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        # With a null, integers would become floats, which hash otherwise.
        numbers = values.fill_null(0) if values.null_count else values
        plain = numbers.to_numpy(zero_copy_only=False)
        hashes = np.asarray(pd.util.hash_array(plain), dtype=np.uint64)
    else:
        hashes = hash_rows(values.to_pandas().astype(str).to_frame())

    if values.null_count:
        is_null = values.is_null().to_numpy(zero_copy_only=False)
        hashes = np.where(is_null, NOTHING, hashes)
    return hashes


def have_equals(hashes: Hashes, *, may_sort: bool = False) -> bool:
    """Return True if any hash comes twice.

    With `may_sort` they are sorted where they lie, which saves a copy.
    """
    ordered = hashes if may_sort else hashes.copy()
    ordered.sort()
    return bool((ordered[1:] == ordered[:-1]).any())


def group_rows(hashes: Hashes) -> NDArray[np.int64]:
    """Return the number (N,) of each row's group of equal hashes.

    Groups count from 0 in the order in which they first come.
    """
    n_rows = len(hashes)
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    is_new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    begins = np.flatnonzero(is_new)
    # Arrays of a large table are let go as soon as they are used up.
    del ordered, is_new
    sizes = np.diff(np.append(begins, n_rows))
    # The first row of each row's group; the sort is stable, so that it comes first in its group.
    first = np.empty(n_rows, dtype=np.int64)
    first[order] = np.repeat(order[begins], sizes)
    del sizes
    number = np.cumsum(first == np.arange(n_rows)) - 1
    return number[first]


def _hash_text(values: pa.Array) -> Hashes:
    """Return a hash (N,) of each text.

    Eight bytes of all texts are read at a time; a loop over ten million Python strings would take
    ten seconds.
    """
    if not len(values):
        return np.zeros(0, dtype=np.uint64)
    width = np.int64 if pa.types.is_large_string(values.type) else np.int32
    _, offsets_buffer, text_buffer = values.buffers()
    all_offsets = np.frombuffer(offsets_buffer, dtype=width)
    # A slice of an array shares the whole array's buffers.
    first, last = values.offset, values.offset + len(values)
    offsets = all_offsets[first : last + 1].astype(np.int64)

    begin = int(offsets[0])
    end = int(offsets[-1])
    # A word more than there is, so that the last text can be read by whole words.
    text = np.zeros(end - begin + _WORD, dtype=np.uint8)
    if text_buffer is not None:
        text[: end - begin] = np.frombuffer(text_buffer, dtype=np.uint8)[begin:end]
    # words[i] is the eight bytes from byte i on: a view, in which the words overlap.
    n_words = len(text) - _WORD + 1
    words = np.ndarray(
        n_words,
        dtype="<u8",
        buffer=text,
        strides=(1,),
    )

    starts = offsets[:-1] - begin
    lengths = np.diff(offsets)
    hashes = _mix(lengths.astype(np.uint64))
    for done in range(0, int(lengths.max()), _WORD):
        longer = np.flatnonzero(lengths > done)
        left = np.minimum(lengths[longer] - done, _WORD)
        word = words[starts[longer] + done] & _MASKS[left]
        hashes[longer] = _mix(hashes[longer] * _FACTOR + word)
    return hashes


def _mix(hashes: Hashes) -> Hashes:
    """Return hashes in which each bit changes half of the bits.

    It is the finaliser of splitmix64 (Steele, Lea & Flood 2014).
    """
    hashes = hashes ^ (hashes >> np.uint64(30))
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(27)
    hashes *= np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(31)
    return hashes


def group_equal_rows(table: Table) -> NDArray[np.int64]:
    """Return the number (N,) of each row's group: rows whose features and target are equal share one."""
    return group_rows(combine(hash_features(table), hash_numbers(table.target)))
