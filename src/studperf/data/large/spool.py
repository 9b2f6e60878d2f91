"""Typed columns from which single columns and rows come back: in memory while they are few.

More of them lie in a temporary file. It has no name (or is deleted by the system when it is
closed), so that nothing is left behind, however the process ends.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from studperf.errors import DataError

HELD_BYTES = 32 << 20
"""Columns of more than this go to disk: what lies in memory adds to the tensors of the same rows."""
# The open files of this process by number; Windows has no such folder.
_OPEN_FILES = Path("/dev/fd")


def scratch_dir() -> Path:
    """Return the folder for large temporary files.

    It is $TMPDIR if that is set, else /var/tmp, which lies on a disk where /tmp may lie in memory,
    else the system's own choice.
    """
    if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK):  # noqa: S108 - its files have no name
        return Path("/var/tmp")  # noqa: S108 - as above
    return Path(tempfile.gettempdir())


def open_scratch() -> IO[bytes]:
    """Open a temporary file without a name, to write and to read."""
    return tempfile.TemporaryFile(dir=scratch_dir(), prefix="studperf-")


def no_space(error: OSError, what: str) -> DataError:
    """Return the error for a temporary file that can't be written."""
    why = error.strerror or str(error).splitlines()[0]
    return DataError(
        f"{scratch_dir()}: can't hold {what}: {why}. "
        "Name a folder on a disk with more room: TMPDIR=FOLDER"
    )


@contextmanager
def _needs_space(what: str) -> Iterator[None]:
    """Raise a `DataError` where the disk can't hold something."""
    try:
        yield
    except OSError as error:
        raise no_space(error, what) from error


class _File:
    """Record batches in a temporary file."""

    def __init__(self, schema: pa.Schema) -> None:
        with _needs_space("the typed columns"):
            self._file = open_scratch()
            self._writer = ipc.new_file(pa.PythonFile(self._file, mode="w"), schema)
        # Python's file has one place at which it is read; opened by its number, each thread has its
        # own. Where it can't be, threads read by turns.
        by_number = _OPEN_FILES / str(self._file.fileno())
        self._path: Path | None = None
        self._turns: threading.Lock | nullcontext[None] = threading.Lock()
        if by_number.exists():
            self._path = by_number
            self._turns = nullcontext()

    def write(self, batch: pa.RecordBatch) -> None:
        with _needs_space("the typed columns"):
            self._writer.write_batch(batch)

    def seal(self) -> None:
        with _needs_space("the typed columns"):
            self._writer.close()
            self._file.flush()

    def read(self, fields: list[int]) -> Iterator[pa.RecordBatch]:
        options = ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        if self._path is not None:
            file = pa.OSFile(str(self._path))
        else:
            file = pa.PythonFile(self._file, mode="r")
        with self._turns:
            reader = ipc.open_file(file, options=options)
        for i in range(reader.num_record_batches):
            with self._turns:
                block = reader.get_batch(i)
            yield block

    def close(self) -> None:
        self._file.close()


class Spool:
    """Record batches of one schema, written once and read column by column or row by row."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.starts = [0]
        self._held: list[pa.RecordBatch] = []
        self._n_held_bytes = 0
        self._file: _File | None = None

    def append(self, columns: dict[str, np.ndarray | pa.Array]) -> None:
        """Write the next rows.

        Raises:
            DataError: the disk is full.
        """
        arrays = [pa.array(columns[field.name], type=field.type) for field in self.schema]
        batch = pa.record_batch(arrays, schema=self.schema)
        self._held.append(batch)
        self._n_held_bytes += batch.nbytes
        if self._file is not None or self._n_held_bytes > HELD_BYTES:
            self._write_held()
        self.starts.append(self.starts[-1] + batch.num_rows)

    def _write_held(self) -> None:
        if self._file is None:
            self._file = _File(self.schema)
        for batch in self._held:
            self._file.write(batch)
        self._held = []
        self._n_held_bytes = 0

    def seal(self) -> None:
        """End the writing."""
        if self._file is not None:
            self._file.seal()

    @property
    def n_rows(self) -> int:
        """Number of rows written."""
        return self.starts[-1]

    def blocks(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield these columns, block after block; the others are not read.

        Threads may read at the same time.
        """
        fields = sorted(self.schema.get_field_index(name) for name in names)
        if self._file is not None:
            yield from self._file.read(fields)
        for batch in self._held:
            yield batch.select(fields)

    def column(self, name: str, index: np.ndarray | None = None) -> np.ndarray:
        """Return one column (N,), which must have no missing cells.

        Args:
            name: of the column.
            index: numbers of the rows that are wanted, in this order; all of them by default.
                Ascending ones take the memory of the result alone.
        """
        if index is not None and len(index) and (np.diff(index) < 0).any():
            return np.asarray(self.column(name)[index])
        n_rows = self.n_rows if index is None else len(index)
        dtype = self.schema.field(name).type.to_pandas_dtype()
        values = np.empty(n_rows, dtype=dtype)
        n_done = 0
        for start, block in zip(self.starts, self.blocks([name]), strict=False):
            new = block.column(0).to_numpy()
            stop = start + len(new)
            if index is None:
                values[start:stop] = new
                continue
            n_below = int(np.searchsorted(index, stop))
            wanted = index[n_done:n_below] - start
            # Half of the time that a mask takes.
            new.take(wanted, out=values[n_done:n_below], mode="clip")
            n_done = n_below
        return values

    def rows(self, names: Sequence[str], index: np.ndarray) -> pa.Table:
        """Return these columns of these rows, in this order."""
        order = np.argsort(index, kind="stable")
        ordered = index[order]
        taken = []
        for start, block in zip(self.starts, self.blocks(names), strict=False):
            first, last = np.searchsorted(ordered, [start, start + block.num_rows])
            if last > first:
                taken.append(block.take(pa.array(ordered[first:last] - start)))

        back = np.empty(len(index), dtype=np.int64)
        back[order] = np.arange(len(index))
        schema = pa.schema([field for field in self.schema if field.name in names])
        found = pa.Table.from_batches(taken, schema=schema).combine_chunks()
        return found.take(pa.array(back))

    def close(self) -> None:
        """Give disk and memory back."""
        if self._file is not None:
            self._file.close()
        self._held = []
