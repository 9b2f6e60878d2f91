"""Rows to predict, read from a file: CSV, plain or packed by gzip, or Parquet.

This is done without pandas, as a bundle is served without it.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

from studperf.bundle.rows import Values
from studperf.errors import ConfigError, DataError, first_line
from studperf.schema.files import (
    DELIMITERS,
    GZIP_MAGIC,
    PARQUET_ENDINGS,
    PARQUET_MAGIC,
    ZIP_MAGIC,
)

_HEADER_BYTES = 1 << 20


# Excel writes this mark before a CSV in UTF-8; the first column's name would begin with it.
_BYTE_ORDER_MARK = "\ufeff"


def read_table(
    path: Path,
    names: Collection[str],
    *,
    encoding: str = "utf-8",
    delimiter: str | None = None,
) -> dict[str, Values]:
    """Return a file's columns: text of a CSV, typed values of a Parquet file.

    Args:
        path: of the file.
        names: that the header should hold; by them a CSV's delimiter is found where none is given.
        encoding: of a CSV.
        delimiter: of a CSV: a character, or its name.

    Raises:
        DataError: the file can't be read, or is no table.
        ConfigError: there is no such encoding or delimiter.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from error
    if raw.startswith(PARQUET_MAGIC) or path.suffix in PARQUET_ENDINGS:
        return _read_parquet(path)
    if raw.startswith(ZIP_MAGIC):
        raise DataError(f"{path}: is a zip or Excel file; export the sheet as CSV or Parquet")
    return _read_csv(path, _unpack(path, raw), names, encoding, delimiter)


def find_delimiter(header: str, names: Collection[str], *, first: str = ",") -> str:
    """Return the delimiter by which a CSV's first line holds the most of these names.

    Where several do, it is `first`.
    """
    wanted = set(names)
    marks = dict.fromkeys([first, *DELIMITERS.values()])

    def n_found(mark: str) -> int:
        rows = csv.reader(io.StringIO(header, newline=""), delimiter=mark)
        try:
            row: list[str] = next(rows, [])
        except csv.Error:
            return 0
        return len(wanted & set(row))

    # Of equals `max` takes the first.
    return max(marks, key=n_found)


def read_header(path: Path, encoding: str) -> str:
    """Return the beginning of a CSV, plain or packed, for `find_delimiter`.

    It is empty where the file can't be read; that is reported when its rows are.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(_HEADER_BYTES)
        if beginning.startswith(GZIP_MAGIC):
            with gzip.open(path) as unpacked:
                beginning = unpacked.read(_HEADER_BYTES)
        return beginning.decode(encoding, errors="replace").removeprefix(_BYTE_ORDER_MARK)
    except (OSError, EOFError, zlib.error, LookupError):
        return ""


def as_delimiter(given: str) -> str:
    """Return the character that a delimiter's name, or the character itself, stands for.

    Raises:
        ConfigError: it is neither.
    """
    mark = DELIMITERS.get(given, given)
    if len(mark) != 1 or mark in '\r\n"':
        known = ", ".join(DELIMITERS)
        raise ConfigError(f"delimiter={given}: must be one character, or one of {known}")
    return mark


def _read_parquet(path: Path) -> dict[str, Values]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(
            f"{path}: is a Parquet file, and pyarrow, which reads them, is not installed here; "
            "install it (pip install pyarrow), or give the rows as CSV"
        ) from error
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
        raise DataError(f"{path}: can't be read as Parquet: {first_line(error)}") from error
    columns: dict[str, Values] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        is_float = pa.types.is_floating(column.type)
        # Integers with a gap would become floats, which keep 16 of their digits.
        is_full = pa.types.is_integer(column.type) and not column.null_count
        if is_float or is_full:
            columns[name] = column.to_numpy()
        else:
            columns[name] = column.to_pylist()
    return columns


def _read_csv(
    path: Path, raw: bytes, names: Collection[str], encoding: str, delimiter: str | None
) -> dict[str, Values]:
    """Return the columns of a CSV as text."""
    try:
        # pandas skips blank lines above the header, too.
        text = raw.decode(encoding).removeprefix(_BYTE_ORDER_MARK).lstrip("\r\n")
        if delimiter is None:
            mark = find_delimiter(text[:_HEADER_BYTES], names)
        else:
            mark = as_delimiter(delimiter)
        # With its line ends as they are: the csv module must see those inside of quotes.
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark))
    except LookupError as error:
        raise ConfigError(f"encoding={encoding}: Python knows no such encoding") from error
    except UnicodeDecodeError as error:
        if b"\0" in raw:
            raise DataError(
                f"{path}: holds NUL bytes, so it is no text; "
                "give a CSV, packed by gzip or not, or a Parquet file"
            ) from error
        raise DataError(
            f"{path}: is no text in {encoding}: {error}. "
            "Name its encoding, for example encoding=latin-1"
        ) from error
    except UnicodeError as error:  # of Python's codec `undefined`, and others that are not for text
        raise ConfigError(f"encoding={encoding}: reads no text: {error}") from error
    except csv.Error as error:
        raise DataError(f"{path}: is no CSV: {error}") from error
    header = rows[0] if rows else []
    if not header:
        raise DataError(f"{path}: is empty; its first line must name the columns")
    # The csv module reads an empty line as a row without cells.
    cells = [row for row in rows[1:] if row]
    _refuse_irregular(path, header, cells)
    return {name: [row[i] for row in cells] for i, name in enumerate(header)}


def _refuse_irregular(
    path: Path,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> None:
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise DataError(
                f"{path}: row {number} has {len(row)} cells, the header names {len(header)}"
            )


def _unpack(path: Path, raw: bytes) -> bytes:
    if not raw.startswith(GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: is a damaged gzip file: {error}") from error
