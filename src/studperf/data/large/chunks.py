"""Chunks of a large table: a CSV cut at line ends, a Parquet file's batches, or slices of a frame.

A chunk can be read in two ways: with the types that the dataset expects, which is fast and refuses
whatever does not fit; or raw, as `source.read_file` would have read these rows, from which `schema`
finds what is wrong.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from studperf.config.dataset import Dataset, Source
from studperf.data.source import (
    GZIP_ERRORS,
    count_byte,
    end_of_rows,
    is_gzip,
    is_utf8,
    not_regular,
    parse_csv,
    read_header,
    refuse_encoding,
    refuse_foreign,
    refuse_gzip,
    unknown_encoding,
)
from studperf.errors import DataError

N_BYTES = 8 << 20
# Text that stays in a core's cache while its columns are parsed one after the other.
_N_PARSED = 1 << 20
_N_HEAD_BYTES = 1 << 18
MAX_QUOTED = 256 << 20


class Chunk(Protocol):
    """Some rows that follow one another."""

    def typed(self) -> dict[str, pa.Array]:
        """Return the rows by column, with the types that the dataset expects.

        Numbers and the target are float64, categories and flags dictionaries of text, other columns
        as they were written.

        Raises:
            pyarrow.ArrowInvalid: a cell is not of its column's type.
        """

    def raw(self) -> pd.DataFrame:
        """Return the rows as they were written."""


class ChunkSource(Protocol):
    """A table that is read chunk by chunk.

    `md5` is known once all chunks were read; `done` is the share that was read, from 0 to 1.
    """

    names: list[str]
    done: float
    md5: str | None

    def head(self) -> pd.DataFrame:
        """Return the first rows, raw."""

    def type_of(self, name: str) -> pa.DataType:
        """Return the type of a column whose cells are kept as they were written."""

    def __iter__(self) -> Iterator[Chunk]:
        """Yield all chunks from the first row on; this works once."""


@dataclass(frozen=True)
class CsvChunk:
    """Whole lines of a CSV: the first `n_bytes` of `text`, which is not cut, as a cut is a copy."""

    text: bytes
    n_bytes: int
    n_lines_above: int
    source: CsvSource

    def typed(self) -> dict[str, pa.Array]:
        """Return the columns by Arrow's parser; its numbers are those of pandas to the last bit."""
        if not self.text.isascii():
            self._decode()
        owner = self.source
        text = pa.BufferReader(pa.py_buffer(self.text).slice(0, self.n_bytes))
        table = pyarrow.csv.read_csv(
            text,
            read_options=pyarrow.csv.ReadOptions(
                column_names=owner.names, block_size=_N_PARSED, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=owner.source.delimiter, newlines_in_values=True
            ),
            convert_options=owner.convert_options,
        )
        return {name: _as_one_array(table.column(name)) for name in table.column_names}

    def raw(self) -> pd.DataFrame:
        """Return the rows by the parser of small files."""
        owner = self.source
        text = self._decode()
        if self.n_lines_above == owner.header.count("\n"):
            return parse_csv(owner.header + text, owner.path, owner.source, owner.names)
        # A first row with more cells than the header would be taken for one with row names: a row
        # of empty cells goes before it.
        filler = owner.header + owner.source.delimiter * (len(owner.names) - 1) + "x\n"
        try:
            frame = parse_csv(filler + text, owner.path, owner.source, owner.names)
        except DataError as error:
            shift = self.n_lines_above - filler.count("\n")
            raise DataError(_shift_rows(str(error), shift)) from error
        return frame.iloc[1:].reset_index(drop=True)

    def _decode(self) -> str:
        text = self.text[: self.n_bytes]
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            line = self.n_lines_above + text[: error.start].count(b"\n") + 1
            encoding = self.source.source.encoding
            refuse_encoding(self.source.path, encoding, line, text[error.start], error)


def _shift_rows(message: str, shift: int) -> str:
    """Return a message with its line and row numbers counted from the file's beginning."""
    return re.sub(
        r"\b(line|row) (\d+)",
        lambda found: f"{found[1]} {int(found[2]) + shift}",
        message,
    )


class CsvSource:
    """A CSV, plain or gzip, in any encoding.

    Raises:
        DataError: the file is no CSV, or its header is at fault.
    """

    def __init__(self, path: Path, dataset: Dataset) -> None:
        self.path = path
        self.source = dataset.source
        self.done = 0.0
        self.md5: str | None = None
        self._n_read = 0
        self._plain: _Counted | None = None
        self._digest = hashlib.md5(usedforsecurity=False)
        self._blocks = self._read_text()
        first = next(self._blocks, b"")
        self._check_encoding(first)
        self.names, n_lines = read_header(first.decode(errors="replace"), path, self.source)
        if first.count(b"\n") >= n_lines:
            *header, self._rest = first.split(b"\n", n_lines)
        else:  # a header without rows, and without a line end
            header, self._rest = [first], b""
        self.header = b"\n".join(header).decode(errors="replace") + "\n"
        self.convert_options = self._conversion(dataset)

    def _check_encoding(self, first: bytes) -> None:
        """Refuse a first block that is not UTF-8, which its header would be read from.

        It may end within a character.
        """
        try:
            codecs.getincrementaldecoder("utf-8")().decode(first)
        except UnicodeDecodeError as error:
            line = first[: error.start].count(b"\n") + 1
            refuse_encoding(self.path, self.source.encoding, line, first[error.start], error)

    def _conversion(self, dataset: Dataset) -> pyarrow.csv.ConvertOptions:
        texts = pa.dictionary(pa.int32(), pa.string())
        types = dict.fromkeys(dataset.feature_names, texts)
        types |= dict.fromkeys((*dataset.of_kind("number"), dataset.target.column), pa.float64())
        read = [name for name in self.names if name in types or name in dataset.columns]
        return pyarrow.csv.ConvertOptions(
            column_types={name: types.get(name, pa.string()) for name in read},
            include_columns=read,
            null_values=list(self.source.missing),
            strings_can_be_null=True,
            # A mark between thousands it does not know: such cells are read the slow way.
            decimal_point=self.source.decimal,
            # Done for the whole text, the columns that are not read included.
            check_utf8=False,
        )

    def type_of(self, name: str) -> pa.DataType:  # noqa: ARG002 - the same for all
        """Return the type of text, as every cell of a CSV is kept."""
        return pa.string()

    def head(self) -> pd.DataFrame:
        """Return the first rows that are whole."""
        end = end_of_rows(self._rest[:_N_HEAD_BYTES]) or end_of_rows(self._rest)
        rows = self._rest[:end].decode(errors="replace")
        return parse_csv(self.header + rows, self.path, self.source, self.names)

    def __iter__(self) -> Iterator[CsvChunk]:
        """Yield chunks, each cut where a line ends and no quote is open."""
        n_lines = self.header.count("\n")
        rest = self._rest
        self._rest = b""
        while True:
            cut = end_of_rows(rest) if len(rest) >= N_BYTES // 2 else 0
            if cut:
                yield CsvChunk(rest, cut, n_lines, self)
                n_lines += count_byte(rest, b"\n", cut)
                rest = self._keep_rest(rest[cut:])
            block = next(self._blocks, b"")
            if not block:
                break
            rest += block
            if len(rest) > MAX_QUOTED:
                what = f"a quote below line {n_lines} is not closed within {MAX_QUOTED >> 20} MiB"
                raise not_regular(self.path, what, len(self.names))
        if rest.strip():
            rest = rest if rest.endswith(b"\n") else rest + b"\n"
            yield CsvChunk(rest, len(rest), n_lines, self)
        self.md5 = self._digest.hexdigest()
        self.done = 1.0

    def _keep_rest(self, rest: bytes) -> bytes:
        """Return the incomplete last row, or seek back so that the next block starts with it.

        Joining it to the next block would copy the whole block; only an uncompressed file in UTF-8
        can be read again.
        """
        if self._plain is None:
            return rest
        self._plain.give_back(len(rest))
        return b""

    def _read_text(self) -> Iterator[bytes]:
        """Yield the file's text as UTF-8, without a byte order mark."""
        is_packed = is_gzip(self.path)
        with self.path.open("rb") as file:
            n_bytes = max(1, self.path.stat().st_size)
            counted = _Counted(file, self, n_bytes)
            blocks: Iterator[bytes]
            if is_packed:
                blocks = _unzip(counted, self.path)
            else:
                blocks = iter(lambda: counted.read(N_BYTES), b"")
            first = next(blocks, b"")
            refuse_foreign(first, self.path, self.source)
            blocks = chain([first], blocks)
            if is_utf8(self.source.encoding):
                self._plain = None if is_packed else counted
                for i, block in enumerate(blocks):
                    yield block.removeprefix(codecs.BOM_UTF8) if not i else block
            else:
                yield from _transcode(blocks, self.path, self.source)

    def note_bytes(self, raw: memoryview, n_bytes: int) -> None:
        """Count and hash bytes that were read from the file."""
        self._digest.update(raw)
        self._n_read += len(raw)
        self.done = min(1.0, self._n_read / n_bytes)


class _Counted:
    """A file that passes its bytes to its source as they are read, each byte once."""

    def __init__(self, file: IO[bytes], owner: CsvSource, n_bytes: int) -> None:
        self.file = file
        self.owner = owner
        self.n_bytes = n_bytes
        self._n_noted = 0  # of the bytes that come next, those that were given back

    def read(self, size: int) -> bytes:
        raw = self.file.read(size)
        self.owner.note_bytes(memoryview(raw)[self._n_noted :], self.n_bytes)
        self._n_noted = max(0, self._n_noted - len(raw))
        return raw

    def give_back(self, n_bytes: int) -> None:
        self.file.seek(-n_bytes, os.SEEK_CUR)
        self._n_noted += n_bytes


def _unzip(file: _Counted, path: Path) -> Iterator[bytes]:
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:  # type: ignore[call-overload] # it only reads
            while block := unzipped.read(N_BYTES):
                yield block
    except GZIP_ERRORS as error:
        refuse_gzip(path, error)


def _transcode(blocks: Iterator[bytes], path: Path, source: Source) -> Iterator[bytes]:
    first = next(blocks, b"")
    try:
        decoder = codecs.getincrementaldecoder(_with_byte_order(source.encoding, first))()
    except LookupError as error:
        raise unknown_encoding(source) from error
    n_lines = 0
    for block, following in pairwise(chain([first], blocks, [b""])):
        try:
            text = decoder.decode(block, final=not following)
        except UnicodeDecodeError as error:
            line = n_lines + block[: error.start].count(b"\n") + 1
            refuse_encoding(path, source.encoding, line, error.object[error.start], error)
        n_lines += text.count("\n")
        if text:
            yield text.encode()


def _with_byte_order(encoding: str, first: bytes) -> str:
    """Return an encoding with its byte order, where a text does not begin by telling it.

    Python decodes a whole text in the machine's own order then, but no text that comes in blocks.
    """
    name = codecs.lookup(encoding).name
    marks = {
        "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
        "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    }
    if name not in marks or first.startswith(marks[name]):
        return encoding
    return f"{name}-le" if sys.byteorder == "little" else f"{name}-be"


def _as_one_array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks()
