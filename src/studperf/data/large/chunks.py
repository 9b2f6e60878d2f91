"""A large table, chunk by chunk: a CSV cut at line ends, a Parquet file's batches, or slices of a frame.

A chunk can be had in two ways: with the types that the dataset expects, which is fast and refuses whatever does not fit; or raw, as
`source.read_file` would have read these rows, from which `schema` tells what is wrong.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from studperf.config.dataset import Dataset, Source
from studperf.data.source import (
    GZIP_ERRORS,
    GZIP_MAGIC,
    count_byte,
    end_of_rows,
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
_N_PARSED = (
    1 << 20
)  # text that stays in a core's cache while its columns are parsed one after the other
_N_HEAD_BYTES = 1 << 18
MAX_QUOTED = 256 << 20


class Chunk(Protocol):
    """Some rows that follow one another."""

    def typed(self) -> dict[str, pa.Array]:
        """The rows by column: numbers and the target float64, categories and flags dictionaries of text, others as they were written.

        Raises:
            pyarrow.ArrowInvalid: a cell is not of its column's type.
        """

    def raw(self) -> pd.DataFrame:
        """The rows as they were written."""


class ChunkSource(Protocol):
    """A table to be read chunk by chunk. `md5` is known once all chunks were read; `done` tells how much of it was, from 0 to 1."""

    names: list[str]
    done: float
    md5: str | None

    def head(self) -> pd.DataFrame:
        """The first rows, raw."""

    def type_of(self, name: str) -> pa.DataType:
        """Of a column whose cells are kept as they were written."""

    def __iter__(self) -> Iterator[Chunk]:
        """From the first row on, once."""


@dataclass(frozen=True)
class CsvChunk:
    """Whole lines of a CSV: the first `n_bytes` of `text`, which is not cut, for a cut is a copy."""

    text: bytes
    n_bytes: int
    n_lines_above: int
    source: CsvSource

    def typed(self) -> dict[str, pa.Array]:
        """By Arrow's parser; its numbers are those of pandas to the last bit."""
        if not self.text.isascii():
            self._decode()
        owner = self.source
        table = pyarrow.csv.read_csv(
            pa.BufferReader(pa.py_buffer(self.text).slice(0, self.n_bytes)),
            read_options=pyarrow.csv.ReadOptions(
                column_names=owner.names, block_size=_N_PARSED, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=owner.source.delimiter, newlines_in_values=True
            ),
            convert_options=owner.convert_options,
        )
        return {name: _whole(table.column(name)) for name in table.column_names}

    def raw(self) -> pd.DataFrame:
        """By the parser of small files."""
        header = self.source.header
        text = self._decode()
        if self.n_lines_above == header.count("\n"):
            return parse_csv(header + text, self.source.path, self.source.source, self.source.names)
        # A first row with more cells than the header would be taken for one with row names: a row of empty cells goes before it.
        filler = header + self.source.source.delimiter * (len(self.source.names) - 1) + "x\n"
        shift = self.n_lines_above - filler.count("\n")
        try:
            frame = parse_csv(
                filler + text, self.source.path, self.source.source, self.source.names
            )
        except DataError as error:
            shifted = re.sub(
                r"\b(line|row) (\d+)",
                lambda found: f"{found[1]} {int(found[2]) + shift}",
                str(error),
            )
            raise DataError(shifted) from error
        return frame.iloc[1:].reset_index(drop=True)

    def _decode(self) -> str:
        text = self.text[: self.n_bytes]
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            n_lines = self.n_lines_above + text[: error.start].count(b"\n")
            refuse_encoding(
                self.source.path, self.source.source.encoding, n_lines + 1, text[error.start], error
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
        refuse_foreign(first, path, self.source)
        self.names, n_lines = read_header(first.decode(errors="replace"), path, self.source)
        *header, self._rest = (
            first.split(b"\n", n_lines) if first.count(b"\n") >= n_lines else (first, b"")
        )
        self.header = b"\n".join(header).decode(errors="replace") + "\n"
        self.convert_options = self._conversion(dataset)

    def _conversion(self, dataset: Dataset) -> pyarrow.csv.ConvertOptions:
        texts = pa.dictionary(pa.int32(), pa.string())
        types = {
            name: pa.float64() if name in dataset.of_kind("number") else texts
            for name in dataset.feature_names
        }
        types[dataset.target.column] = pa.float64()
        read = [
            name
            for name in self.names
            if name in types or (name in dataset.columns and dataset.columns[name].kind != "leak")
        ]
        return pyarrow.csv.ConvertOptions(
            column_types={name: types.get(name, pa.string()) for name in read},
            include_columns=read,
            null_values=list(self.source.missing),
            strings_can_be_null=True,
            decimal_point=self.source.decimal,  # a mark between thousands it does not know: such cells are read the slow way
            check_utf8=False,  # done for the whole text, the columns that are not read included
        )

    def type_of(self, name: str) -> pa.DataType:  # noqa: ARG002 - the same for all
        """Text."""
        return pa.string()

    def head(self) -> pd.DataFrame:
        """The first rows that are whole."""
        rows = self._rest[: end_of_rows(self._rest[:_N_HEAD_BYTES]) or end_of_rows(self._rest)]
        return parse_csv(
            self.header + rows.decode(errors="replace"), self.path, self.source, self.names
        )

    def __iter__(self) -> Iterator[CsvChunk]:
        """Cut where a line ends and no quote is open."""
        n_lines = self.header.count("\n")
        rest = self._rest
        self._rest = b""
        while True:
            cut = end_of_rows(rest) if len(rest) >= N_BYTES // 2 else 0
            if cut:
                yield CsvChunk(rest, cut, n_lines, self)
                n_lines += count_byte(rest, b"\n", cut)
                rest = self._keep(rest[cut:])
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

    def _keep(self, rest: bytes) -> bytes:
        """A row that is not whole: of a plain file it is read once more with the next block, for to join the two copies all of it."""
        if self._plain is None:
            return rest
        self._plain.give_back(len(rest))
        return b""

    def _read_text(self) -> Iterator[bytes]:
        """The file's text as UTF-8, without a byte order mark."""
        with self.path.open("rb") as file:
            n_bytes = max(1, self.path.stat().st_size)
            is_gzip = file.read(2) == GZIP_MAGIC
            file.seek(0)
            counted = _Counted(file, self, n_bytes)
            blocks = (
                _unzip(counted, self.path) if is_gzip else iter(lambda: counted.read(N_BYTES), b"")
            )
            if is_utf8(self.source.encoding):
                self._plain = None if is_gzip else counted
                for i, block in enumerate(blocks):
                    yield block.removeprefix(codecs.BOM_UTF8) if not i else block
            else:
                yield from _transcode(blocks, self.path, self.source)

    def note_bytes(self, raw: memoryview, n_bytes: int) -> None:
        """Counts and hashes what was read of the file."""
        self._digest.update(raw)
        self._n_read += len(raw)
        self.done = min(1.0, self._n_read / n_bytes)


class _Counted:
    """A file whose bytes are told to its source as they are read, each once."""

    def __init__(self, file: IO[bytes], owner: CsvSource, n_bytes: int) -> None:
        self.file, self.owner, self.n_bytes = file, owner, n_bytes
        self._n_told = 0  # of the bytes that come next

    def read(self, size: int) -> bytes:
        raw = self.file.read(size)
        self.owner.note_bytes(memoryview(raw)[self._n_told :], self.n_bytes)
        self._n_told = max(0, self._n_told - len(raw))
        return raw

    def give_back(self, n_bytes: int) -> None:
        self.file.seek(-n_bytes, os.SEEK_CUR)
        self._n_told += n_bytes


def _unzip(file: _Counted, path: Path) -> Iterator[bytes]:
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:  # type: ignore[call-overload]  # it only reads
            while block := unzipped.read(N_BYTES):
                yield block
    except GZIP_ERRORS as error:
        refuse_gzip(path, error)


def _transcode(blocks: Iterator[bytes], path: Path, source: Source) -> Iterator[bytes]:
    try:
        decoder = codecs.getincrementaldecoder(source.encoding)()
    except LookupError as error:
        raise unknown_encoding(source) from error
    n_lines = 0
    for block in chain(blocks, [b""]):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = n_lines + block[: error.start].count(b"\n") + 1
            refuse_encoding(path, source.encoding, line, error.object[error.start], error)
        n_lines += text.count("\n")
        if text:
            yield text.encode()


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
