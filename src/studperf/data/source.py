"""The source of a table: a CSV or Parquet file whose md5 is known, or the simulator."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa

from studperf.config.dataset import Dataset, Source
from studperf.config.files import check_file
from studperf.config.paths import find_file
from studperf.data.dvc.tracked import as_written, md5_of, read_tracked
from studperf.data.large.parquet import read_parquet
from studperf.errors import DataError, first_line, listing, one_line
from studperf.schema.files import (
    DELIMITERS,
    GZIP_MAGIC,
    PARQUET_ENDINGS,
    PARQUET_MAGIC,
    ZIP_MAGIC,
)
from studperf.schema.findings import show

# Bytes at a file's beginning that are searched for NULs, which no text holds.
_N_SEARCHED = 1 << 20
_N_FAULTS = 10
_GZIP_FRAME = 18  # bytes of a gzip file that holds nothing
LARGEST_UNPACKED = 1 << 30
"""Bytes that a gzip file read at once may hold.

Larger ones are read in chunks, unless they are packed a thousandfold.
"""
LONGEST_NAME = 200
_N_SHOWN = 60
"""Characters of a column's name; YAML reads a key of at most 1,024 on one line."""
GZIP_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class Provenance:
    """A table's origin, for the record."""

    name: str
    path: str | None
    md5: str | None
    is_simulated: bool
    is_tracked: bool
    """A `.dvc` file names this md5."""

    @property
    def line(self) -> str:
        """The line of output that names the origin."""
        if self.is_simulated:
            return f"Data: SIMULATED, drawn from the law of dataset {self.name!r}"
        tracked = ", as data.dvc says" if self.is_tracked else ""
        return f"Data: {self.path} (md5 {self.md5}{tracked})"


def find_source(dataset: Dataset) -> Path | None:
    """Return the dataset's file; None if its rows are to be simulated.

    Raises:
        DataError: there is no file, and the dataset does not allow to simulate.
    """
    source = dataset.source
    try:
        path = find_file(source.path) if source.path is not None else None
        is_there = path is not None and path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no such user; a NUL character
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise DataError(
            f"{source.path}: can't be looked for: {reason}. Set data.source.path=FILE."
        ) from error
    if path is not None and is_there:
        check_file(path)
        return path
    if source.otherwise == "fail" or source.simulate is None:
        raise DataError(
            f"{source.path}: no such file, and data.source.otherwise=fail. "
            "Set data.source.path=FILE."
        )
    return None


def find_origin(dataset: Dataset) -> Provenance:
    """Return the origin of the dataset's table, which is not read for it.

    Raises:
        DataError: the file can't be read, or is not the version that `data.dvc` names.
    """
    path = find_source(dataset)
    if path is None:
        return trace(None, None, dataset)
    with readable(path):
        md5 = md5_of(path)
    return trace(path, md5, dataset)


def trace(path: Path | None, md5: str | None, dataset: Dataset) -> Provenance:
    """Return the origin of a file with this md5, or of simulated rows without a file.

    Raises:
        DataError: it is not the version that `data.dvc` names.
    """
    if path is None or md5 is None:
        return Provenance(dataset.name, None, None, is_simulated=True, is_tracked=False)
    is_tracked = _matches_dvc(path, md5)
    written = str(dataset.source.path)
    return Provenance(dataset.name, written, md5, is_simulated=False, is_tracked=is_tracked)


def read_file(path: Path, source: Source) -> pd.DataFrame:
    """Return the table of a CSV (plain or gzip), every cell as text, or of a Parquet file.

    Raises:
        DataError: names what the file is instead, and the way out.
    """
    with readable(path):
        if path.suffix in PARQUET_ENDINGS:
            return read_head(path, None)[0]
        return _read_csv(_read_text(path, source), path, source)


def read_head(path: Path, n_rows: int | None) -> tuple[pd.DataFrame, bool]:
    """Return the first rows of a Parquet file, or all of them, and whether they are all.

    Raises:
        DataError: it is no Parquet file, or its columns can't be told apart.
    """
    with readable(path):
        frame, is_whole = read_parquet(path, n_rows)
        check_names(list(frame.columns), path)
        return frame, is_whole


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the errors of the work inside into one that explains why the file can't be read.

    Raises:
        DataError: the work inside failed with a fault of the file.
    """
    check_file(path)
    try:
        yield
    except PermissionError as error:
        raise DataError(
            f"{path}: can't be read, permission denied. Give yourself the right: chmod +r {path}"
        ) from error
    except OSError as error:  # pyarrow's errors of a broken file are among these
        raise DataError(f"{path}: can't be read: {first_line(error)}") from error
    except (pa.ArrowException, ValueError) as error:
        if isinstance(error, DataError | UnicodeDecodeError):
            raise
        raise DataError(f"{path}: is not a table that can be read: {first_line(error)}") from error


def read_bytes(path: Path) -> bytes:
    """Return a text file's bytes, unpacked where it is gzip.

    Raises:
        DataError: a gzip file is cut off or damaged, or holds more than can be read at once.
    """
    raw = _unpack(path, LARGEST_UNPACKED)
    if len(raw) > LARGEST_UNPACKED and is_gzip(path):
        raise DataError(
            f"{path}: unpacks to more than {LARGEST_UNPACKED >> 20:,} MiB. "
            "Unpack it to a file, which is read in pieces: gunzip"
        )
    return raw


def read_first_bytes(path: Path, n_bytes: int, n_rows: int) -> tuple[bytes, bool]:
    """Return a text file's first whole lines, about so many, and whether they are all.

    A gzip file is unpacked.

    Raises:
        DataError: the file can't be read, or a gzip file is damaged.
    """
    with readable(path):
        raw = _unpack(path, n_bytes)
    n_lines = count_byte(raw, b"\n", len(raw))
    if len(raw) <= n_bytes and n_lines <= n_rows + 1:
        return raw, True
    if n_lines > n_rows:
        raw = raw[: int(len(raw) * n_rows / n_lines)]
    return raw[: end_of_rows(raw) or len(raw)], False


def end_of_rows(text: bytes) -> int:
    """Return the end of the last line that does not end inside of quotes; 0 if there is none."""
    cut = text.rfind(b"\n") + 1
    if text.find(b'"', 0, cut) < 0:  # five times as fast as counting
        return cut
    n_quotes = count_byte(text, b'"', cut)
    while cut and n_quotes % 2:
        before = text.rfind(b"\n", 0, cut - 1) + 1
        n_quotes -= text.count(b'"', before, cut)
        cut = before
    return cut


def count_byte(text: bytes, byte: bytes, n_bytes: int) -> int:
    """Return how often a byte occurs in the first `n_bytes` of a text."""
    # `bytes.count` takes three times as long where the byte comes often.
    beginning = np.frombuffer(text, np.uint8, n_bytes)
    return int(np.count_nonzero(beginning == ord(byte)))


def unpacked_size(path: Path) -> int:
    """Return how many bytes of text a file holds, unpacked where it is gzip."""
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(GZIP_MAGIC)) != GZIP_MAGIC or n_bytes < _GZIP_FRAME:
            return n_bytes
        # A gzip file ends in its unpacked size, modulo 4 GiB.
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(4), "little")


def is_gzip(path: Path) -> bool:
    """Return whether a file's first bytes are those of gzip."""
    with path.open("rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _unpack(path: Path, n_bytes: int) -> bytes:
    """Return the file's text, of a gzip file at most one byte more than so many."""
    if not is_gzip(path):
        n_most = n_bytes + 1 if n_bytes < LARGEST_UNPACKED else -1
        with path.open("rb") as file:
            return file.read(n_most)
    try:
        with gzip.open(path) as unzipped:
            return unzipped.read(n_bytes + 1)
    except GZIP_ERRORS as error:
        refuse_gzip(path, error)


def _read_text(path: Path, source: Source) -> str:
    return _decode(read_bytes(path), path, source)


def parse_bytes(raw: bytes, path: Path, source: Source) -> pd.DataFrame:
    """Return the table of a CSV's bytes, every cell as text.

    Raises:
        DataError: names what they are instead, and the way out.
    """
    with readable(path):
        return _read_csv(_decode(raw, path, source), path, source)


def _decode(raw: bytes, path: Path, source: Source) -> str:
    refuse_foreign(raw, path, source)
    try:
        return raw.decode("utf-8-sig" if is_utf8(source.encoding) else source.encoding)
    except LookupError as error:
        raise unknown_encoding(source) from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        refuse_encoding(path, source.encoding, line, raw[error.start], error)


def is_utf8(encoding: str) -> bool:
    """Return True if an encoding's name is one of UTF-8's."""
    return encoding.lower() in ("utf-8", "utf8")


def refuse_gzip(path: Path, error: Exception) -> NoReturn:
    """Refuse a gzip file that can't be unpacked.

    Raises:
        DataError: always.
    """
    raise DataError(
        f"{path}: the gzip file is cut off or damaged ({first_line(error)}); fetch it again"
    ) from error


def refuse_foreign(raw: bytes, path: Path, source: Source) -> None:
    """Refuse a file that is no text, by its first bytes.

    Raises:
        DataError: names what the file is.
    """
    if raw.startswith(ZIP_MAGIC):
        raise DataError(f"{path}: is a zip or Excel file; export the sheet as CSV or Parquet")
    if raw.startswith(PARQUET_MAGIC):
        raise DataError(f"{path}: is a Parquet file; give it the ending .parquet")
    if b"\x00" in raw[:_N_SEARCHED] and not source.encoding.lower().startswith("utf-16"):
        raise DataError(
            f"{path}: holds NUL bytes, so it is not text; "
            "give a CSV, or set data.source.encoding=utf-16"
        )


def unknown_encoding(source: Source) -> DataError:
    """Return the error for an encoding that Python does not know."""
    return DataError(f"data.source.encoding: Python knows no encoding {source.encoding!r}")


def refuse_encoding(
    path: Path,
    encoding: str,
    line: int,
    byte: int,
    error: Exception,
) -> NoReturn:
    """Refuse a text with a byte that does not belong to its encoding.

    Raises:
        DataError: always.
    """
    raise DataError(
        f"{path}: is not {encoding} at line {line} (byte 0x{byte:02x}). "
        "Save it as UTF-8, or name its encoding, for example data.source.encoding=latin-1"
    ) from error


def _read_csv(text: str, path: Path, source: Source) -> pd.DataFrame:
    names, _ = read_header(text, path, source)
    return parse_csv(text, path, source, names)


def read_header(
    text: str,
    path: Path,
    source: Source,
) -> tuple[list[str], int]:
    """Return the names in a CSV's header, and the number of lines it takes.

    Raises:
        DataError: there is no header, it names a column twice, or another delimiter parts it.
    """
    if not text.strip():
        raise DataError(f"{path}: is empty; a table has a header, and rows below it")
    if "\r" in text.strip() and "\n" not in text:
        way_out = f"Save it with line feeds: tr '\\r' '\\n' < {path} > NEW.csv"
        raise DataError(
            f"{path}: its lines end in a carriage return alone, as on old Macs. {way_out}"
        )
    if len(source.delimiter) != 1:
        raise DataError(f"data.source.delimiter: must be one character, got {source.delimiter!r}")
    reader = csv.reader(io.StringIO(text), delimiter=source.delimiter)
    try:
        # pandas skips blank lines above the header, too.
        header = next(row for row in reader if len(row) > 1 or "".join(row).strip())
    except csv.Error as error:
        raise DataError(
            f"{path}: its header can't be read: {first_line(error)}. Is it a CSV?"
        ) from error
    if len(header) == 1:
        for word, other in DELIMITERS.items():
            if other in header[0] and other != source.delimiter:
                raise DataError(
                    f"{path}: is parted by {word}s, not by {source.delimiter!r}. "
                    f"Set data.source.delimiter={word}"
                )
    check_names(header, path)
    return header, reader.line_num


def check_names(names: Sequence[str], path: Path) -> None:
    """Check that each column has a name of its own that can be written on one line.

    Raises:
        DataError: lists the names that can't be used, with their places.
    """
    faults = []
    counts = Counter(names)
    repeated = sorted(name for name, n in counts.items() if n > 1 and name)
    if repeated:
        shown = _join_first([show(name) for name in repeated])
        faults.append(f"the header names {shown} more than once; rename one of them")
    if counts[""] > 1:
        nameless = [str(i) for i, name in enumerate(names, start=1) if not name]
        places = _join_first(nameless)
        faults.append(f"columns {places} have no name; give each a name in the header")
    for place, name in enumerate(names, start=1):
        if len(name) > LONGEST_NAME:
            # Without its length: of a large file the first block alone is looked at.
            start = repr(name[:_N_SHOWN])
            what = f"column {place} has a name of more than {LONGEST_NAME} characters, {start}..."
            faults.append(f"{what}. Does the file lack a header, or does a quote never end?")
        elif name != one_line(name):
            what = "a line end or another control character in its name"
            faults.append(f"column {place} has {what}, {show(name)}; rename it in the file")
    if len(faults) == 1:
        raise DataError(f"{path}: {faults[0]}")
    if faults:
        title = f"{path}: columns can't be told apart by their names"
        raise DataError(listing(title, faults[:_N_FAULTS]))


def _join_first(texts: Sequence[str]) -> str:
    shown = ", ".join(texts[:_N_FAULTS])
    if len(texts) <= _N_FAULTS:
        return shown
    return f"{shown} and {len(texts) - _N_FAULTS} more"


def parse_csv(
    text: str,
    path: Path,
    source: Source,
    names: Sequence[str],
) -> pd.DataFrame:
    """Return the table of a header and rows, every cell as text.

    Raises:
        DataError: a row has more or fewer cells than the header has names, or a quote never ends.
    """
    try:
        # Literal "None" and "NA" are levels of students' answers; only what the dataset says is
        # missing is missing.
        frame = pd.read_csv(
            io.StringIO(text), sep=source.delimiter, dtype=str, keep_default_na=False, na_values=[]
        )
    except (pd.errors.ParserError, OverflowError, RecursionError) as error:
        raise not_regular(path, first_line(error), len(names)) from error
    # Of rows with a cell more than the header, pandas takes the first cells for an index.
    if not isinstance(frame.index, pd.RangeIndex):
        raise DataError(f"{path}: rows have more cells than the header has names ({len(names)})")
    if frame.shape[1] == len(names):
        frame.columns = pd.Index(list(names))  # pandas calls one without a name `Unnamed: 0`
    # Pandas fills up a row that ends too early, so that its last cell is empty.
    if (frame.iloc[:, -1] == "").any():
        short = _find_short_row(text, source, len(names))
        if short is not None:
            row, n_cells = short
            noun = "cells" if n_cells > 1 else "cell"
            raise not_regular(path, f"row {row} has {n_cells} {noun}", len(names))
    return frame


def _find_short_row(text: str, source: Source, n_columns: int) -> tuple[int, int] | None:
    """Return the first row with fewer cells than columns, counted from 1, and its cells' number."""
    reader = csv.reader(io.StringIO(text), delimiter=source.delimiter)
    rows = (cells for cells in reader if cells)  # a blank line is no row
    try:
        next(rows)
        for row, cells in enumerate(rows, start=1):
            if len(cells) < n_columns:
                return row, len(cells)
    except csv.Error:  # a cell beyond what the module reads
        pass
    return None


def not_regular(path: Path, what: str, n_columns: int) -> DataError:
    """Return the error for a CSV whose rows differ in their number of cells."""
    return DataError(f"{path}: is not a regular table: {what}. Every row needs {n_columns} cells.")


def _matches_dvc(path: Path, md5: str) -> bool:
    """Return True if a `.dvc` file tracks this version of the file.

    Raises:
        DataError: a `.dvc` file tracks another version of it.
    """
    path = as_written(path)
    for folder in path.parents:
        for dvc_file in (path.with_name(path.name + ".dvc"), folder / "data.dvc"):
            if not dvc_file.is_file():
                continue
            for tracked in read_tracked(dvc_file):
                if tracked.path != path:
                    continue
                if tracked.md5 != md5:
                    raise DataError(
                        f"{path}: has md5 {md5}, but {dvc_file.name} expects {tracked.md5}. "
                        "Bring the tracked version back with "
                        "'python -m studperf.data fetch force=true', "
                        f"or accept the change with 'dvc commit {dvc_file.name}'."
                    )
                return True
    return False
