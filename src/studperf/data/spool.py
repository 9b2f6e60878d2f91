"""Typed columns in an unnamed temporary file, from which single columns and rows come back.

The file has no name (or is deleted by the system when it is closed), so that nothing is left behind, however the process ends.
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

_OPEN_FILES = Path("/dev/fd")  # of this process, by number; Windows has no such folder


def scratch_dir() -> Path:
    """$TMPDIR if it is set, else /var/tmp, which lies on a disk where /tmp may lie in memory, else the system's own choice."""
    if "TMPDIR" not in os.environ and os.access("/var/tmp", os.W_OK):  # noqa: S108 - the files made in it have no name
        return Path("/var/tmp")  # noqa: S108
    return Path(tempfile.gettempdir())


def open_scratch() -> IO[bytes]:
    """A temporary file without a name, to write and to read."""
    return tempfile.TemporaryFile(dir=scratch_dir(), prefix="studperf-")


def no_space(error: OSError, what: str) -> DataError:
    """What is said when a temporary file can't be written."""
    why = error.strerror or str(error).splitlines()[0]
    return DataError(
        f"{scratch_dir()}: can't hold {what}: {why}. Name a folder on a disk with more room: TMPDIR=FOLDER"
    )


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise no_space(error, what) from error


class Spool:
    """Record batches of one schema, written once and read column by column or row by row."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.starts = [0]
        with _told("the typed columns"):
            self._file = open_scratch()
            self._writer = ipc.new_file(pa.PythonFile(self._file, mode="w"), schema)
        by_number = _OPEN_FILES / str(self._file.fileno())
        self._path = by_number if by_number.exists() else None
        # Python's file has one place at which it is read; opened by its number, each thread has its own.
        self._turns = nullcontext() if self._path is not None else threading.Lock()

    def append(self, columns: dict[str, np.ndarray | pa.Array]) -> None:
        """Writes the next rows.

        Raises:
            DataError: the disk is full.
        """
        arrays = [pa.array(columns[field.name], type=field.type) for field in self.schema]
        batch = pa.record_batch(arrays, schema=self.schema)
        with _told("the typed columns"):
            self._writer.write_batch(batch)
        self.starts.append(self.starts[-1] + batch.num_rows)

    def seal(self) -> None:
        """Ends the writing."""
        with _told("the typed columns"):
            self._writer.close()
            self._file.flush()

    @property
    def n_rows(self) -> int:
        """Rows written."""
        return self.starts[-1]

    def blocks(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """These columns, block after block; the others are not read. Threads may read at the same time."""
        fields = sorted(self.schema.get_field_index(name) for name in names)
        options = ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        file = (
            pa.OSFile(str(self._path))
            if self._path is not None
            else pa.PythonFile(self._file, mode="r")
        )
        with self._turns:
            reader = ipc.open_file(file, options=options)
        for i in range(reader.num_record_batches):
            with self._turns:
                block = reader.get_batch(i)
            yield block

    def column(self, name: str, index: np.ndarray | None = None) -> np.ndarray:
        """(N,) one column without missing cells; of some rows if they are given by their numbers, which must ascend."""
        n_rows = self.n_rows if index is None else len(index)
        values, n_done = np.empty(n_rows, dtype=self.schema.field(name).type.to_pandas_dtype()), 0
        for start, block in zip(self.starts, self.blocks([name]), strict=False):
            new = block.column(0).to_numpy()
            n_below = (
                start + len(new) if index is None else int(np.searchsorted(index, start + len(new)))
            )
            if index is None:
                values[n_done:n_below] = new
            else:  # half of the time that a mask takes
                new.take(index[n_done:n_below] - start, out=values[n_done:n_below], mode="clip")
            n_done = n_below
        return values

    def rows(self, names: Sequence[str], index: np.ndarray) -> pa.Table:
        """These columns of these rows, in this order."""
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
        return pa.Table.from_batches(taken, schema=schema).combine_chunks().take(pa.array(back))

    def close(self) -> None:
        """Gives the disk back."""
        self._file.close()
