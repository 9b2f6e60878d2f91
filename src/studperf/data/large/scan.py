"""Types and checks one chunk of a large table, the fast way where nothing is off, by `schema` where something is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa

from studperf.config.dataset import Column, Dataset
from studperf.data.findings import Cells, Facts, show
from studperf.data.hashes import Hashes, combine, hash_levels, hash_numbers, hash_values, join_cells
from studperf.data.large.chunks import Chunk
from studperf.data.numbers import LARGEST
from studperf.data.schema import as_flags, drop_targetless, type_rows

FLAG_MISSING = -1
CODE_MISSING = -1
_FLAG_HASHES = hash_numbers(
    np.array([0.0, 1.0, np.nan])
)  # FLAG_MISSING is the last one's place too


@dataclass
class Piece:
    """A chunk's rows, typed, and what was seen in them.

    Args:
        columns: numbers and target float64 with NaN where there is none; flags int8 and categories int32, -1 where there is none, a
            category's codes being places in `levels`; other columns as they were written.
        facts: of each column; ids are not compared here.
        features: hashes of the features, those by which a run knows rows that it has seen.
        rows: hashes of features and target.
        others: hashes of the columns that are neither feature, target, id nor leak; None where there are none.
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


class _Odd(Exception):  # noqa: N818 - no error: a chunk that is to be looked at in detail
    """The fast way does not tell what to say of this chunk."""


def scan(
    chunk: Chunk, dataset: Dataset, type_of: Callable[[str], pa.DataType], *, for_training: bool
) -> Piece:
    """Types and checks a chunk.

    Args:
        chunk: rows.
        dataset: what they should be.
        type_of: of the columns that are kept as they were written.
        for_training: rows without a target are left out where the dataset asks for it.

    Raises:
        DataError: the rows can't be told apart.
    """
    try:
        piece = _scan_typed(chunk, dataset, for_training=for_training)
    except (pa.ArrowInvalid, _Odd):
        piece = _scan_raw(chunk, dataset, type_of, for_training=for_training)
    if piece.n_rows:
        _hash(piece, dataset)
    if len(piece.left_out):
        kept = np.delete(np.arange(piece.n_rows + len(piece.left_out)), piece.left_out)
        for facts in piece.facts.values():
            facts.renumber(kept)
    return piece


def _scan_typed(chunk: Chunk, dataset: Dataset, *, for_training: bool) -> Piece:
    columns, target, features = chunk.typed(), dataset.target.column, set(dataset.feature_names)
    dropped, left_out = Cells(), np.zeros(0, np.int64)
    if (
        for_training
        and dataset.drop_missing_target
        and target in columns
        and (absent := _is_null(columns[target])).any()
    ):
        dropped, left_out = Cells.where(absent), np.flatnonzero(absent)
        keep = pa.array(~absent)
        columns = {name: values.filter(keep) for name, values in columns.items()}
    n_rows = len(next(iter(columns.values()))) if columns else 0
    piece = Piece(n_rows, dropped=dropped, left_out=left_out)
    if not piece.n_rows:
        return piece
    for name, values in columns.items():
        column = dataset.columns.get(name)
        if name == target:
            _add_numbers(piece, name, values, dataset.target.range)
        elif name not in features or column is None:
            piece.columns[name], piece.facts[name] = (
                values,
                Facts(len(values), Cells.where(_is_null(values))),
            )
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
    missing = np.isnan(numbers) if values.null_count else np.zeros(len(numbers), dtype=bool)
    if (n_missing := int(np.count_nonzero(missing))) > values.null_count:
        raise _Odd  # the text `nan`, which is missing only where the dataset says so
    known = numbers[~missing] if n_missing else numbers
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    # One NaN is the least and the largest of all.
    if not (low >= -LARGEST and high <= LARGEST) or (
        ends is not None and len(known) and not (ends[0] <= low and high <= ends[1])
    ):
        raise _Odd
    some = () if not len(known) else (low,) if low == high else (low, high)
    piece.columns[name] = numbers
    facts = Facts(len(numbers), Cells.where(missing), some=some, first=show(float(numbers[0])))
    if len(known):
        facts.low, facts.high = low, high
    piece.facts[name] = facts


def _add_codes(piece: Piece, name: str, values: pa.DictionaryArray, column: Column) -> None:
    codes = values.indices.fill_null(CODE_MISSING).to_numpy().astype(np.int32)
    missing = codes == CODE_MISSING
    used = np.flatnonzero(np.bincount(codes + 1, minlength=len(values.dictionary) + 1)[1:])
    levels = values.dictionary.take(pa.array(used)).to_pylist()
    place = np.full(len(values.dictionary) + 1, CODE_MISSING, dtype=np.int32)
    place[used] = np.arange(len(used))
    codes = place[codes]
    facts = Facts(len(codes), Cells.where(missing))
    if column.kind == "flag":
        flags = _flags_of(tuple(levels))
        if np.isnan(flags).any():
            raise _Odd
        known = np.array([*flags, FLAG_MISSING], dtype=np.int8)[codes]
        piece.columns[name] = known
        facts.some = tuple(float(value) for value in dict.fromkeys(flags.tolist()))
        facts.first = show(float("nan") if missing[0] else float(known[0]))
    else:
        piece.columns[name], piece.levels[name] = codes, levels
        facts.some, facts.first = (
            tuple(levels[:2]),
            show(float("nan") if missing[0] else levels[codes[0]]),
        )
        facts.unseen = _unseen(codes, levels, column)
    piece.facts[name] = facts


@lru_cache(maxsize=16)
def _flags_of(spellings: tuple[str, ...]) -> np.ndarray:
    """The same few in all chunks."""
    return as_flags(pd.Series(spellings, dtype=str)).to_numpy()


def _unseen(codes: np.ndarray, levels: list[str], column: Column) -> Cells:
    if column.levels is None or not (
        strange := [i for i, level in enumerate(levels) if level not in column.levels]
    ):
        return Cells()
    cells = Cells.where(np.isin(codes, strange))
    return Cells(cells.n, cells.rows, tuple(show(levels[codes[row]]) for row in cells.rows))


def _scan_raw(
    chunk: Chunk, dataset: Dataset, type_of: Callable[[str], pa.DataType], *, for_training: bool
) -> Piece:
    raw, dropped = chunk.raw(), Cells()
    places = np.arange(len(raw))
    if for_training:
        raw, dropped = drop_targetless(raw.reset_index(drop=True), dataset)
    left_out = np.delete(places, raw.index.to_numpy()) if dropped else places[:0]
    piece = Piece(len(raw), dropped=dropped, left_out=left_out)
    if not piece.n_rows:
        return piece
    frame, piece.facts = type_rows(raw, dataset)
    for name in map(str, frame):
        column = dataset.columns.get(name)
        if name == dataset.target.column or name in dataset.of_kind("number"):
            piece.columns[name] = frame[name].to_numpy(dtype=np.float64)
        elif name in dataset.of_kind("flag"):
            piece.columns[name] = frame[name].fillna(FLAG_MISSING).to_numpy(dtype=np.int8)
        elif name in dataset.of_kind("category"):
            codes, levels = pd.factorize(frame[name])
            piece.columns[name], piece.levels[name] = (
                codes.astype(np.int32),
                [str(level) for level in levels],
            )
        elif column is not None and column.kind != "leak":
            values = pa.array(frame[name], type=type_of(name), from_pandas=True)
            piece.columns[name] = (
                values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
            )
            piece.facts[name].repeated = Cells()
    return piece


def _hash(piece: Piece, dataset: Dataset) -> None:
    named = [name for name in dataset.feature_names if name in piece.columns]
    known = {name: hash_levels(levels) for name, levels in piece.levels.items()}
    cells = (_hash_cells(piece.columns[name], known.get(name)) for name in named)
    piece.features = join_cells(cells, len(named), piece.n_rows)
    piece.rows = piece.features
    if dataset.target.column in piece.columns:
        piece.rows = combine(piece.features, hash_numbers(piece.columns[dataset.target.column]))
    for name, values in piece.columns.items():
        if name in named or name == dataset.target.column:
            continue
        hashes = hash_values(values)
        if dataset.columns[name].kind == "id":
            piece.ids[name] = hashes
        else:
            piece.others = hashes if piece.others is None else combine(piece.others, hashes)


def _hash_cells(values: np.ndarray, known: Hashes | None) -> Hashes:
    if known is None:
        known = _FLAG_HASHES if values.dtype == np.int8 else None
    hashes: Hashes = hash_numbers(values) if known is None else known[values]
    return hashes
