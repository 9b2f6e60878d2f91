"""Parquet files as tables of one plain value a cell; lists, structs and bytes are read as text."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_DAMAGED = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, RecursionError)
"""Errors that pandas raises over damaged notes of its own in a file."""


def read_parquet(path: Path, n_rows: int | None = None) -> tuple[pd.DataFrame, bool]:
    """Return the file's table with its types, and whether that is all of it.

    An index that pandas had written is left out.

    Args:
        path: of the file.
        n_rows: about so many rows are read, from the first on; all of them by default.

    Raises:
        OSError: the file is cut off or damaged.
        ValueError: it is no Parquet file.
    """
    # Opened as a file: by its name pyarrow would look for `key=value` folders in it.
    with pq.ParquetFile(path) as file:
        n_all = file.metadata.num_rows
        if n_rows is None or n_all <= n_rows:
            return to_frame(to_single_values(file.read())), True
        first = next(file.iter_batches(n_rows))
        table = pa.Table.from_batches([first]).replace_schema_metadata(file.schema_arrow.metadata)
        return to_frame(to_single_values(table)), False


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return a frame whose columns' names are text, typed by pandas' notes if they are whole."""
    index = index_columns(table.schema)
    names = [name for name in table.schema.names if name not in index]
    plain = table.replace_schema_metadata(None)
    try:
        frame: pd.DataFrame = table.to_pandas().reset_index(drop=True)
        is_whole = frame.shape[1] == len(names)
    except _DAMAGED:
        is_whole = False
    if not is_whole:
        # Of a name that comes twice, `select` would take none.
        places = [i for i, name in enumerate(plain.schema.names) if name in names]
        frame = plain.select(places).to_pandas()
    frame.columns = pd.Index(names)
    return frame


def index_columns(schema: pa.Schema) -> list[str]:
    """Return the columns that hold an index of pandas; none if its notes are damaged."""
    try:
        index = (schema.pandas_metadata or {}).get("index_columns", [])
    except _DAMAGED:
        return []
    if not isinstance(index, list):
        return []
    found = [name for name in index if isinstance(name, str) and name in schema.names]
    # Notes that call every column an index would leave no table.
    return found if len(found) < len(schema.names) else []


def to_single_values(table: pa.Table) -> pa.Table:
    """Return the table with one plain value a cell, as `single_type` says."""
    for place, field in enumerate(table.schema):
        wanted = single_type(field.type)
        if wanted != field.type:
            column = _convert(table.column(place), wanted)
            # A field's own notes may name a type that the column no longer has.
            table = table.set_column(place, pa.field(field.name, wanted), column)
    return table


def single_type(kind: pa.DataType) -> pa.DataType:
    """Return the type as which a column is read.

    Numbers, texts, booleans and dates stay; decimals become float64; lists, structs, maps and bytes
    become text.
    """
    if pa.types.is_dictionary(kind):
        value = single_type(kind.value_type)
        return kind if value == kind.value_type else value
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        return pa.float64()
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_null(kind):
        return pa.float64()
    is_kept = (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date(kind)
        or pa.types.is_duration(kind)
    )
    return kind if is_kept else pa.string()


def _convert(values: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if wanted != pa.string():
        return values.cast(wanted, safe=False)
    chunks = [
        pa.array([None if cell is None else str(cell) for cell in chunk.to_pylist()], wanted)
        for chunk in values.chunks
    ]
    return pa.chunked_array(chunks, type=wanted)
