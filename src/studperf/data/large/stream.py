"""A table read in chunks: typed columns that lie on disk when they are many, and their tensors.

Peak memory is that of the tensors, the split's row numbers and a few columns: at no time does a
large table lie in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, cached_property, partial
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from studperf.config.dataset import Dataset, Memory
from studperf.data.encode import NO_CODE, Encoded, Encoder, TrainingRows
from studperf.data.hashes import NOTHING, Hashes, combine, group_rows, have_equals
from studperf.data.large.chunks import ChunkSource
from studperf.data.large.memory import belongs_on_disk, make_array
from studperf.data.large.progress import Tick, say_nothing
from studperf.data.large.scan import CODE_MISSING, FLAG_MISSING, Piece, scan
from studperf.data.large.spool import Spool
from studperf.data.schema import Table, judge_columns
from studperf.data.split import Split, split_groups
from studperf.data.tensors import EncodedTable
from studperf.data.threads import in_order
from studperf.schema.findings import Cells, Facts, Finding, has_error, show
from studperf.schema.judge import Copies, judge_copies, judge_dropped, judge_rows, no_rows
from studperf.scoring.metrics import FloatArray

# Hashes lie beside the columns, under names that no header holds: a CSV with NUL bytes is refused.
_FEATURES, _ROWS, _OTHERS, _ID = "\0features", "\0rows", "\0others", "\0id of "


class StreamedTable:
    """A checked table of typed columns."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.warnings: tuple[Finding, ...] = ()
        self.levels: dict[str, dict[str, int]] = {}
        self.n_rows = 0
        self._left_out: list[np.ndarray] = []
        self._spool: Spool | None = None
        self._plain_split: Future[Split] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return self.n_rows

    def __enter__(self) -> Self:
        """Return the table, which is open already."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the table."""
        self.close()

    def close(self) -> None:
        """Give up the columns."""
        if self._spool is not None:
            self._spool.close()

    @property
    def spool(self) -> Spool:
        """The typed columns."""
        if self._spool is None:
            raise ValueError("a table without rows has no columns to read")
        return self._spool

    @property
    def has_target(self) -> bool:
        """True if the target is there, so that the rows can be scored."""
        return self.dataset.target.column in self.spool.schema.names

    def append(self, piece: Piece, type_of: Callable[[str], pa.DataType]) -> None:
        """Append the next rows."""
        columns: dict[str, Any] = {**piece.columns, _FEATURES: piece.features, _ROWS: piece.rows}
        if piece.others is not None:
            columns[_OTHERS] = piece.others
        columns |= {_ID + name: hashes for name, hashes in piece.ids.items()}
        for name, levels in piece.levels.items():
            known = self.levels.setdefault(name, {})
            # The chunk's codes become places in the table's levels; the last is CODE_MISSING's.
            places = [known.setdefault(level, len(known)) for level in levels]
            places.append(CODE_MISSING)
            columns[name] = np.array(places, dtype=np.int32)[columns[name]]
        if self._spool is None:
            fields = []
            for name, values in columns.items():
                if isinstance(values, np.ndarray):
                    fields.append((name, pa.from_numpy_dtype(values.dtype)))
                else:
                    fields.append((name, type_of(name)))
            self._spool = Spool(pa.schema(fields))
        self._spool.append(columns)
        self.n_rows += piece.n_rows

    def leave_out(self, places: np.ndarray) -> None:
        """Note rows of the file that the table does not hold, by their places in the file."""
        self._left_out.append(places)

    @cached_property
    def _n_kept_above(self) -> np.ndarray:
        """Number of kept rows above each row left out, (n,), ascending."""
        places = np.concatenate([np.zeros(0, np.int64), *self._left_out])
        return places - np.arange(len(places))

    def places(self, index: np.ndarray) -> np.ndarray:
        """Return the places (n,) of these rows in the file, from 0."""
        n_left_out_above = np.searchsorted(self._n_kept_above, index, side="right")
        return index + n_left_out_above

    @cached_property
    def repeated(self) -> frozenset[str]:
        """Columns of hashes, of rows or ids, in which a hash occurs more than once."""
        names = [name for name in self.spool.schema.names if name == _ROWS or name.startswith(_ID)]
        # Each column is sorted, in a thread of its own.
        found = in_order(lambda name: have_equals(self.known_hashes(name), may_sort=True), names)
        return frozenset(name for name, is_found in zip(names, found, strict=True) if is_found)

    def known_hashes(self, name: str) -> Hashes:
        """Return one column of hashes (N,); missing cells get hashes that all differ."""
        hashes: Hashes = self.spool.column(name)
        if name != _ROWS:
            absent = np.flatnonzero(hashes == NOTHING)
            if len(absent):
                hashes[absent] = absent
        return hashes

    def draw_ahead(self) -> None:
        """Begin to split the table in a thread, as if no rows were equal.

        Splitting takes as long as the search for equal rows, and both can go on side by side.
        """
        pool = ThreadPoolExecutor(1)
        self._plain_split = pool.submit(self._split_plainly)
        pool.shutdown(wait=False)

    def _split_plainly(self) -> Split:
        return split_groups(np.arange(self.n_rows), self.dataset.split)

    def split(self) -> Split:
        """Split the table into parts, as `split_table` splits one.

        Raises:
            DataError: a part would have fewer rows than can be scored.
        """
        if _ROWS not in self.repeated:
            if self._plain_split is not None:
                return self._plain_split.result()
            return self._split_plainly()
        hashes: Hashes = self.spool.column(_ROWS)
        if _OTHERS in self.spool.schema.names:
            hashes = combine(hashes, self.spool.column(_OTHERS))
        groups = group_rows(hashes) if have_equals(hashes) else np.arange(len(hashes))
        return split_groups(groups, self.dataset.split)

    def rows(self, index: np.ndarray, columns: Iterable[str] | None = None) -> Table:
        """Return typed rows, in this order, with the index of a small table's.

        Args:
            index: (n,) rows of this table.
            columns: those that are read, beside the target; all by default.
        """
        target = self.dataset.target.column
        wanted = {*(columns if columns is not None else self.dataset.columns), target}
        stored = wanted.intersection(self.spool.schema.names)
        names = [name for name in (*self.dataset.columns, target) if name in stored]
        taken = self.spool.rows(names, index)
        frame = pd.DataFrame({name: self._typed(name, taken.column(name)) for name in names})
        frame.index = pd.Index(self.places(index))
        return Table(frame, self.dataset, self.warnings)

    def blocks(self) -> Iterator[Table]:
        """Yield the whole table, block after block."""
        for start, stop in zip(self.spool.starts, self.spool.starts[1:], strict=False):
            yield self.rows(np.arange(start, stop))

    def _typed(self, name: str, values: pa.ChunkedArray) -> pd.Series:
        if name in self.levels:
            places = values.to_numpy()
            codes = pa.array(places, mask=places == CODE_MISSING)
            levels = pa.array(self.levels[name], pa.string())
            values = pa.DictionaryArray.from_arrays(codes, levels).dictionary_decode()
        elif name in self.flags:
            return pd.Series(_as_floats(values.to_numpy()))
        return pd.Series(values.to_pandas())

    @cached_property
    def flags(self) -> frozenset[str]:
        """Names of the flags; a dataset looks through all columns whenever it is asked."""
        return frozenset(self.dataset.of_kind("flag"))

    def column(self, name: str) -> FloatArray:
        """Return one number, or the target, as (N,) float64; NaN where there is none."""
        return self.spool.column(name)

    def hashes(self, index: np.ndarray) -> Hashes:
        """Return the hashes (n,) of the features of these rows."""
        return np.asarray(self.spool.column(_FEATURES)[index], dtype=np.uint64)

    def training(self, rows: np.ndarray) -> TrainingRows:
        """Return these rows, in this order, for an encoder to learn from."""
        return _TrainingRows(self, rows)

    def encode(
        self, encoder: Encoder, parts: Mapping[str, np.ndarray], memory: Memory
    ) -> EncodedTable:
        """Return all rows as tensors, in the table's order, and the rows of each part.

        Args:
            encoder: encodes the columns.
            parts: name -> rows of each part.
            memory: where the tensors are to lie.

        Raises:
            DataError: a part has a level that no training row has, or the disk is too full.
        """
        self._refuse_untaught(encoder, parts)
        n_numbers, n_codes = len(encoder.number_names), len(encoder.features.cardinalities)
        code_bytes = np.dtype(encoder.code_type).itemsize
        row_bytes = 4 * n_numbers + code_bytes * n_codes + 4
        on_disk = belongs_on_disk(self.n_rows * row_bytes, memory)
        x_num = make_array((self.n_rows, n_numbers), np.float32, on_disk=on_disk)
        x_cat = make_array((self.n_rows, n_codes), encoder.code_type, on_disk=on_disk)
        target = make_array((self.n_rows,), np.float32, on_disk=on_disk)

        places = self._codes_of_places(encoder)
        names = [code.name for code in (*encoder.numbers, *encoder.flags, *encoder.categories)]
        if self.has_target:
            names.append(self.dataset.target.column)

        def write(placed: tuple[int, pa.RecordBatch]) -> None:
            start, block = placed
            rows = slice(start, start + block.num_rows)
            columns = {name: block.column(name).to_numpy() for name in names}
            numbers = {code.name: columns[code.name] for code in encoder.numbers}
            flags = {code.name: _as_floats(columns[code.name]) for code in encoder.flags}
            codes = {name: place[columns[name]] for name, place in places.items()}
            missing = {name: columns[name] == CODE_MISSING for name in places}
            encoder.write({**numbers, **flags}, codes, missing, Encoded(x_num[rows], x_cat[rows]))
            target[rows] = columns.get(self.dataset.target.column, 0)

        numbered = zip(self.spool.starts, self.spool.blocks(names), strict=False)
        for _ in in_order(write, numbered):
            pass  # the work writes; its results are nothing

        rows = {}
        for name, index in parts.items():
            rows[name] = torch.from_numpy(np.ascontiguousarray(index, dtype=np.int64))
        return EncodedTable(
            torch.from_numpy(x_num),
            torch.from_numpy(x_cat),
            torch.from_numpy(target),
            rows,
            on_disk=on_disk,
        )

    def _codes_of_places(self, encoder: Encoder) -> dict[str, np.ndarray]:
        """Return by category the encoder's code for each place in this table's levels."""
        return {
            code.name: code.codes_of(self.levels.get(code.name, ())) for code in encoder.categories
        }

    def _refuse_untaught(self, encoder: Encoder, parts: Mapping[str, np.ndarray]) -> None:
        """Refuse levels without a code that any row of a part has.

        Raises:
            DataError: names the column and its levels.
        """
        codes = self._codes_of_places(encoder)
        for code in encoder.categories:
            strange = np.flatnonzero(codes[code.name][:-1] == NO_CODE)
            if not len(strange):
                continue
            levels = list(self.levels[code.name])
            column = self.spool.column(code.name)
            for index in parts.values():
                found = np.intersect1d(column[index], strange)
                if len(found):
                    code.refuse_untaught({levels[place] for place in found})


class _TrainingRows:
    """Rows of a streamed table, a column of which is read at a time."""

    def __init__(self, table: StreamedTable, rows: np.ndarray) -> None:
        self.dataset = table.dataset
        self._table = table
        self._rows = rows

    def numbers(self, name: str) -> np.ndarray:
        """Return one number or flag as (n,) float64, NaN where there is none."""
        values = self._table.spool.column(name, self._rows)
        return _as_floats(values) if name in self._table.flags else values

    def counts(self, name: str) -> dict[str, int]:
        """Return how many rows have each level of a category."""
        levels = self._table.levels.get(name, {})
        places = self._table.spool.column(name, self._rows)
        # Missing cells, of place -1, are counted first and left aside.
        counts = np.bincount(places + 1, minlength=len(levels) + 1)[1:].tolist()
        return {level: n for level, n in zip(levels, counts, strict=True) if n}


def stream_table(
    source: ChunkSource, dataset: Dataset, *, for_training: bool = True, tick: Tick = say_nothing
) -> tuple[StreamedTable, list[Finding]]:
    """Return a table read chunk by chunk, and all findings.

    Raises:
        DataError: the rows can't be told apart.
    """
    table = StreamedTable(dataset)
    total = _Total()
    findings = judge_columns(source.names, cache(source.head), dataset, for_training=for_training)
    try:
        work = partial(scan, dataset=dataset, type_of=source.type_of, for_training=for_training)
        for piece in in_order(work, source):
            n_above = table.n_rows + total.dropped.n
            if piece.n_rows:
                total.append(piece, n_above)
                table.append(piece, source.type_of)
            table.leave_out(piece.left_out + n_above)
            total.dropped += piece.dropped
            tick(table.n_rows, source.done)
        findings += judge_dropped(total.dropped, dataset)
        if not table.n_rows:
            return table, [*findings, no_rows()]
        table.spool.seal()
        pa.default_memory_pool().release_unused()  # it keeps 100 MB of what chunks took
        if for_training:
            table.draw_ahead()
        findings += _judge(table, total, for_training=for_training)
        if for_training and not has_error(findings) and _ROWS in table.repeated:
            findings += judge_copies(_find_copies(table), dataset)
    except BaseException:
        table.close()
        raise
    table.warnings = tuple(finding for finding in findings if finding.level == "warning")
    return table, findings


class _Total:
    """Facts of all chunks so far."""

    def __init__(self) -> None:
        self.facts: dict[str, Facts] = {}
        self.dropped = Cells()

    def append(self, piece: Piece, n_above: int) -> None:
        for name, facts in piece.facts.items():
            self.facts.setdefault(name, Facts()).append(facts, n_above)


def _judge(table: StreamedTable, total: _Total, *, for_training: bool) -> list[Finding]:
    dataset = table.dataset
    for name, facts in total.facts.items():
        facts.n_levels = len(table.levels.get(name, ()))
        if _ID + name in table.repeated:
            facts.repeated = _repeated(table, name)
    return list(judge_rows(total.facts, dataset, for_training=for_training))


def _find_copies(table: StreamedTable) -> Copies:
    """Return the rows that equal one above them, known by their hashes."""
    hashes: Hashes = table.spool.column(_ROWS)
    in_used = pd.Series(hashes).duplicated().to_numpy()
    if _OTHERS not in table.spool.schema.names:
        return Copies(_cells_at(table, in_used))
    whole = combine(hashes, table.spool.column(_OTHERS))
    in_all = pd.Series(whole).duplicated().to_numpy()
    return Copies(_cells_at(table, in_all), _cells_at(table, in_used & ~in_all))


def _cells_at(table: StreamedTable, mask: np.ndarray) -> Cells:
    """Return the cells of a mask, each row known by its place in the file."""
    kept = np.flatnonzero(mask)
    first = tuple(table.places(kept[:3]).tolist())
    return Cells(len(kept), first)


def _repeated(table: StreamedTable, name: str) -> Cells:
    """Return the cells of ids that occur more than once: found by their hashes, then compared."""
    hashes = table.known_hashes(_ID + name)
    index = np.flatnonzero(pd.Series(hashes).duplicated(keep=False))
    values = table.spool.rows([name], index).column(0).to_pandas()
    equal = (values.duplicated(keep=False) & values.notna()).to_numpy()
    seen = index[equal]
    first = tuple(table.places(seen[:3]).tolist())
    shown = tuple(show(value) for value in values[equal].iloc[:3])
    return Cells(len(seen), first, shown)


def _as_floats(flags: np.ndarray) -> FloatArray:
    return np.where(flags == FLAG_MISSING, np.nan, flags)
