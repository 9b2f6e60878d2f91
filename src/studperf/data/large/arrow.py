"""Parquet files and frames, read chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from studperf.config.dataset import Dataset
from studperf.data.dvc.tracked import md5_of
from studperf.data.large.parquet import index_columns, single_type, to_single_values
from studperf.data.source import check_names
from studperf.schema.numbers import LARGEST_WHOLE

N_ROWS = 1 << 16
_N_HEAD_ROWS = 1000


@dataclass(frozen=True)
class ArrowChunk:
    """Rows that have types already."""

    table: pa.Table
    dataset: Dataset

    def typed(self) -> dict[str, pa.Array]:
        """Return typed columns; a cast that could change a cell's meaning raises instead."""
        dataset = self.dataset
        columns = {}
        numbers = {*dataset.of_kind("number"), dataset.target.column}
        features = set(dataset.feature_names)
        for name in self.table.column_names:
            values = self.table.column(name).combine_chunks()
            if name in numbers:
                columns[name] = _as_number(values)
            elif name in features:
                columns[name] = _as_text_codes(values, dataset)
            elif name in dataset.columns:
                columns[name] = _without_missing(values, dataset)
        return columns

    def raw(self) -> pd.DataFrame:
        """Return the rows with pandas' types."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame


class ArrowSource:
    """Batches of a Parquet file, or of a frame that lies in memory.

    Args:
        names: of all columns.
        types: of the columns, by name.
        batches: of all rows, from the first on.
        n_rows: of all batches.
        path: of the file, for its md5.
        whole: float columns read as levels -> True if all their values are whole numbers, as
            `schema.as_levels` asks.
    """

    def __init__(
        self,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        dataset: Dataset,
        *,
        n_rows: int,
        path: Path | None,
        whole: dict[str, bool],
    ) -> None:
        self.names = list(schema.names)
        self.done = 0.0
        self.md5: str | None = None
        self._types = {field.name: field.type for field in schema}
        self._n_rows = n_rows
        self._path = path
        self._whole = whole
        self._dataset = dataset
        self._batches = iter(batches)
        self._first = next(self._batches, None)

    def type_of(self, name: str) -> pa.DataType:
        """Return the type that the file gives a column, of a dictionary that of its values."""
        kind = self._types[name]
        if pa.types.is_dictionary(kind):
            return kind.value_type
        return kind

    def head(self) -> pd.DataFrame:
        """Return the first rows, raw."""
        if self._first is None:
            return pd.DataFrame(columns=self.names)
        frame: pd.DataFrame = self._first.slice(0, _N_HEAD_ROWS).to_pandas()
        return frame

    def __iter__(self) -> Iterator[ArrowChunk]:
        """Yield batch by batch, while another thread hashes the file."""
        n_read = 0
        first, self._first = self._first, None
        with ThreadPoolExecutor(1) as pool:
            md5 = pool.submit(md5_of, self._path) if self._path is not None else None
            if first is not None:
                n_read += first.num_rows
                yield self._chunk(first)
            del first  # no batch stays in memory longer than its turn
            for batch in self._batches:
                n_read += batch.num_rows
                self.done = n_read / max(1, self._n_rows)
                yield self._chunk(batch)
            if md5 is not None:
                self.md5 = md5.result()
        self.done = 1.0

    def _chunk(self, batch: pa.RecordBatch) -> ArrowChunk:
        table = pa.Table.from_batches([batch])
        for name, is_whole in self._whole.items():
            values = table.column(name).combine_chunks()
            place = table.column_names.index(name)
            text = _whole_text(values) if is_whole else _broken_text(values)
            table = table.set_column(place, name, text)
        return ArrowChunk(table, self._dataset)


def open_parquet(path: Path, dataset: Dataset) -> ArrowSource:
    """Return the chunks of a Parquet file."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
    check_names(schema.names, path)
    levels = [name for name in dataset.of_kind("category", "flag") if name in schema.names]
    texts = [name for name in levels if _is_text(schema.field(name).type)]
    file = pq.ParquetFile(path, pre_buffer=False, read_dictionary=texts)

    index = index_columns(schema)
    fields = [field for field in schema if field.name not in index]
    schema = pa.schema([pa.field(field.name, single_type(field.type)) for field in fields])
    batches = map(_to_single_values, file.iter_batches(N_ROWS, columns=schema.names))

    whole = {}
    for name in _float_categories(schema, dataset):
        values = (batch.column(0) for batch in file.iter_batches(N_ROWS, columns=[name]))
        whole[name] = all(_is_whole(chunk) for chunk in values)
    return ArrowSource(
        schema, batches, dataset, n_rows=file.metadata.num_rows, path=path, whole=whole
    )


def _float_categories(schema: pa.Schema, dataset: Dataset) -> list[str]:
    """Return the categories whose levels the table holds as floats."""
    names = [name for name in dataset.of_kind("category") if name in schema.names]
    return [name for name in names if pa.types.is_floating(schema.field(name).type)]


def _to_single_values(batch: pa.RecordBatch) -> pa.RecordBatch:
    if not batch.num_rows:
        return batch
    table = to_single_values(pa.Table.from_batches([batch]))
    return table.combine_chunks().to_batches()[0]


def open_frame(frame: pd.DataFrame, dataset: Dataset) -> ArrowSource:
    """Return the chunks of a frame, for instance a simulated one."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    schema = table.schema.remove_metadata()
    whole = {}
    for name in _float_categories(schema, dataset):
        whole[name] = all(_is_whole(chunk) for chunk in table.column(name).chunks)
    batches = table.replace_schema_metadata().to_batches(N_ROWS)
    return ArrowSource(schema, batches, dataset, n_rows=len(frame), path=None, whole=whole)


def _as_number(values: pa.Array) -> pa.Array:
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise pa.ArrowInvalid(f"not a number: {values.type}")
    return _without_nan(values).cast(pa.float64(), safe=False)


def _as_text_codes(values: pa.Array, dataset: Dataset) -> pa.DictionaryArray:
    if not pa.types.is_dictionary(values.type):
        kind = values.type
        is_simple = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not (is_simple or _is_text(kind) or pa.types.is_boolean(kind)):
            raise pa.ArrowInvalid(f"not a level: {kind}")
        values = _without_nan(values).dictionary_encode()
    indices = values.indices
    levels = values.dictionary.to_pylist()
    if _is_text(values.dictionary.type):
        is_missing = np.array([level in dataset.source.missing for level in levels], dtype=bool)
        if is_missing.any():
            mask = pa.array(is_missing).take(indices)
            indices = pc.if_else(mask, pa.scalar(None, indices.type), indices)
    return pa.DictionaryArray.from_arrays(indices, pa.array(map(str, levels), pa.string()))


def _without_missing(values: pa.Array, dataset: Dataset) -> pa.Array:
    """Return the values with null for texts that mean missing in the dataset."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not _is_text(values.type):
        return _without_nan(values)
    is_missing = pc.is_in(values, value_set=pa.array(dataset.source.missing, values.type))
    return pc.if_else(is_missing, pa.scalar(None, values.type), values)


def _without_nan(values: pa.Array) -> pa.Array:
    """Return the values with null for NaN, which is how pandas writes a missing number."""
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_whole(values: pa.Array) -> bool:
    known = values.drop_null().to_numpy(zero_copy_only=False)
    known = known[known == known]  # noqa: PLR0124 - not NaN
    is_whole = (known == known.round()).all()
    return bool(is_whole and (np.abs(known) < LARGEST_WHOLE).all())


def _whole_text(values: pa.Array) -> pa.Array:
    return _without_nan(values).cast(pa.int64()).cast(pa.string())


def _broken_text(values: pa.Array) -> pa.Array:
    series = values.to_pandas()
    texts = [None if value != value else str(value) for value in series]  # noqa: PLR0124 - NaN
    return pa.array(texts, pa.string())
