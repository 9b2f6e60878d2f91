"""Type and check one chunk of a large table: fast where nothing is wrong, else cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa

from studperf.config.dataset import Column, Dataset
from studperf.data.hashes import Hashes, combine, hash_levels, hash_numbers, hash_values, join_cells
from studperf.data.large.chunks import Chunk
from studperf.data.schema import drop_targetless, type_rows
from studperf.schema.cells import read_flag
from studperf.schema.findings import Cells, Facts, show
from studperf.schema.numbers import LARGEST

FLAG_MISSING = -1
CODE_MISSING = -1
# The last one's place is FLAG_MISSING, -1, too.
_FLAG_HASHES = hash_numbers(np.array([0.0, 1.0, np.nan]))


@dataclass
class Piece:
    """A chunk's typed rows, with the facts of each column.

    Args:
        columns: numbers and target float64 with NaN where there is none; flags int8 and categories
            int32, -1 where there is none, a category's codes being places in `levels`; other
            columns as they were written.
        facts: of each column; ids are not compared here.
        features: hashes of the features, those by which a run knows rows that it has seen.
        rows: hashes of features and target.
        others: hashes of the columns that are neither feature, target, id nor leak; None if there
            are none.
        ids: hashes of each id column.
        dropped: rows left out because they have no target.
        left_out: places of these in the chunk, all of them.
    """

    n_rows: int
    columns: dict[str, np.ndarray | pa.Array] = field(default_factory=dict)
    levels: dict[str, list[str]] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    features: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    rows: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    others: Hashes | None = None
    ids: dict[str, Hashes] = field(default_factory=dict)
    dropped: Cells = field(default_factory=Cells)
    left_out: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


class _NeedsFullCheck(Exception):  # noqa: N818 - no error, a detour
    """Raised where the fast path meets a cell that it can't judge."""


def scan(
    chunk: Chunk, dataset: Dataset, type_of: Callable[[str], pa.DataType], *, for_training: bool
) -> Piece:
    """Return a chunk's typed rows with the facts of each column.

    Args:
        chunk: rows as the file holds them.
        dataset: describes what they should be.
        type_of: returns the type of a column that is kept as it was written.
        for_training: rows without a target are left out where the dataset asks for it.

    Raises:
        DataError: the rows can't be told apart.
    """
    try:
        piece = _scan_typed(chunk, dataset, for_training=for_training)
    except (pa.ArrowInvalid, _NeedsFullCheck):
        piece = _scan_raw(chunk, dataset, type_of, for_training=for_training)
    if piece.n_rows:
        _add_hashes(piece, dataset)
    if len(piece.left_out):
        places = np.arange(piece.n_rows + len(piece.left_out))
        kept = np.delete(places, piece.left_out)
        for facts in piece.facts.values():
            facts.renumber(kept)
    return piece


def _scan_typed(chunk: Chunk, dataset: Dataset, *, for_training: bool) -> Piece:
    target = dataset.target.column
    known = {*dataset.columns, target}
    columns = {name: values for name, values in chunk.typed().items() if name in known}
    if not columns:
        raise _NeedsFullCheck  # nothing here tells the number of rows
    features = set(dataset.feature_names)
    dropped, left_out = Cells(), np.zeros(0, np.int64)
    if for_training and dataset.drop_missing_target and target in columns:
        absent = _is_null(columns[target])
        if absent.any():
            dropped, left_out = Cells.where(absent), np.flatnonzero(absent)
            keep = pa.array(~absent)
            columns = {name: values.filter(keep) for name, values in columns.items()}
    piece = Piece(len(columns[next(iter(columns))]), dropped=dropped, left_out=left_out)
    if not piece.n_rows:
        return piece

    for name, values in columns.items():
        column = dataset.columns.get(name)
        if name == target:
            _add_numbers(piece, name, values, dataset.target.range)
        elif name not in features or column is None:
            piece.columns[name] = values
            piece.facts[name] = Facts(len(values), Cells.where(_is_null(values)))
        elif column.kind == "number":
            _add_numbers(piece, name, values, column.range)
        else:
            _add_codes(piece, name, values, column)
    return piece


def _is_null(values: pa.Array) -> np.ndarray:
    return np.asarray(values.is_null().to_numpy(zero_copy_only=False))


def _add_numbers(
    piece: Piece, name: str, values: pa.Array, ends: tuple[float, float] | None
) -> None:
    numbers = values.to_numpy(zero_copy_only=False)
    missing = np.zeros(len(numbers), dtype=bool)
    if values.null_count:
        missing = np.isnan(numbers)
    n_missing = int(np.count_nonzero(missing))
    if n_missing > values.null_count:
        raise _NeedsFullCheck  # the text `nan`, which is missing only where the dataset says so
    known = numbers[~missing] if n_missing else numbers

    facts = Facts(len(numbers), Cells.where(missing), first=show(float(numbers[0])))
    if len(known):
        low, high = float(known.min()), float(known.max())
        # If one is NaN, so are the least and the largest, and no comparison holds.
        is_sound = low >= -LARGEST and high <= LARGEST
        is_inside = ends is None or (ends[0] <= low and high <= ends[1])
        if not (is_sound and is_inside):
            raise _NeedsFullCheck
        facts.some = (low,) if low == high else (low, high)
        facts.low, facts.high = low, high
    piece.columns[name] = numbers
    piece.facts[name] = facts


def _add_codes(piece: Piece, name: str, values: pa.DictionaryArray, column: Column) -> None:
    codes = values.indices.fill_null(CODE_MISSING).to_numpy().astype(np.int32)
    missing = codes == CODE_MISSING
    n_entries = len(values.dictionary)
    # A dictionary may hold levels that no row has. One more place, the last, is CODE_MISSING's.
    used = np.flatnonzero(np.bincount(codes + 1, minlength=n_entries + 1)[1:])
    levels = values.dictionary.take(pa.array(used)).to_pylist()
    place = np.full(n_entries + 1, CODE_MISSING, dtype=np.int32)
    place[used] = np.arange(len(used))
    codes = place[codes]

    facts = Facts(len(codes), Cells.where(missing))
    first: float | str = float("nan")
    if column.kind == "flag":
        flags = _flags_of(tuple(levels))
        if np.isnan(flags).any():
            raise _NeedsFullCheck
        known = np.array([*flags, FLAG_MISSING], dtype=np.int8)[codes]
        piece.columns[name] = known
        facts.some = tuple(float(value) for value in dict.fromkeys(flags.tolist()))
        if not missing[0]:
            first = float(known[0])
    else:
        piece.columns[name] = codes
        piece.levels[name] = levels
        facts.some = tuple(levels[:2])
        facts.unseen = _unseen(codes, levels, column)
        if not missing[0]:
            first = levels[codes[0]]
    facts.first = show(first)
    piece.facts[name] = facts


@lru_cache(maxsize=16)
def _flags_of(spellings: tuple[str, ...]) -> np.ndarray:
    """Return flags by their spellings; cached, as all chunks have the same few."""
    return np.array([read_flag(text) for text in spellings], dtype=np.float64)


def _unseen(codes: np.ndarray, levels: list[str], column: Column) -> Cells:
    if column.levels is None:
        return Cells()
    strange = [i for i, level in enumerate(levels) if level not in column.levels]
    if not strange:
        return Cells()
    return Cells.where(np.isin(codes, strange), lambda row: show(levels[codes[row]]))


def _scan_raw(
    chunk: Chunk, dataset: Dataset, type_of: Callable[[str], pa.DataType], *, for_training: bool
) -> Piece:
    raw = chunk.raw()
    dropped = Cells()
    places = np.arange(len(raw))
    if for_training:
        raw, dropped = drop_targetless(raw.reset_index(drop=True), dataset)
    left_out = np.delete(places, raw.index.to_numpy()) if dropped else places[:0]
    piece = Piece(len(raw), dropped=dropped, left_out=left_out)
    if not piece.n_rows:
        return piece

    frame, piece.facts = type_rows(raw, dataset)
    numbers = {*dataset.of_kind("number"), dataset.target.column}
    flags, categories = set(dataset.of_kind("flag")), set(dataset.of_kind("category"))
    for name in map(str, frame):
        if name in numbers:
            piece.columns[name] = frame[name].to_numpy(dtype=np.float64)
        elif name in flags:
            piece.columns[name] = frame[name].fillna(FLAG_MISSING).to_numpy(dtype=np.int8)
        elif name in categories:
            codes, levels = pd.factorize(frame[name])
            piece.columns[name] = codes.astype(np.int32)
            piece.levels[name] = [str(level) for level in levels]
        else:
            values = pa.array(frame[name], type=type_of(name), from_pandas=True)
            if isinstance(values, pa.ChunkedArray):
                values = values.combine_chunks()
            piece.columns[name] = values
            piece.facts[name].repeated = Cells()
    return piece


def _add_hashes(piece: Piece, dataset: Dataset) -> None:
    target = dataset.target.column
    named = [name for name in dataset.feature_names if name in piece.columns]
    features = set(named)
    known = {name: hash_levels(levels) for name, levels in piece.levels.items()}
    cells = (_hash_cells(piece.columns[name], known.get(name)) for name in named)
    piece.features = join_cells(cells, len(named), piece.n_rows)
    piece.rows = piece.features
    if target in piece.columns:
        piece.rows = combine(piece.features, hash_numbers(piece.columns[target]))
    for name, values in piece.columns.items():
        if name in features or name == target or dataset.columns[name].kind == "leak":
            continue
        hashes = hash_values(values)
        if dataset.columns[name].kind == "id":
            piece.ids[name] = hashes
        elif piece.others is None:
            piece.others = hashes
        else:
            piece.others = combine(piece.others, hashes)


def _hash_cells(values: np.ndarray, known: Hashes | None) -> Hashes:
    """Return the hashes of cells; `known` are those of a category's levels, by code."""
    if known is None and values.dtype == np.int8:
        known = _FLAG_HASHES
    if known is None:
        return hash_numbers(values)
    hashes: Hashes = known[values]
    return hashes
