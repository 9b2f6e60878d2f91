"""A dataset's rows, checked and split: a small table lies in memory, a large one is read in chunks.

Everything that trains or judges takes its rows from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from studperf.config.dataset import Dataset
from studperf.config.run import Encode
from studperf.data.encode import Encoder
from studperf.data.guard.leaks import Leak, guard
from studperf.data.hashes import Hashes, hash_features
from studperf.data.large.arrow import open_frame, open_parquet
from studperf.data.large.chunks import ChunkSource, CsvSource
from studperf.data.large.progress import reading
from studperf.data.large.stream import StreamedTable, stream_table
from studperf.data.schema import Table, inspect_table, raise_faults
from studperf.data.simulate import simulate
from studperf.data.source import (
    Provenance,
    find_source,
    is_gzip,
    read_source,
    readable,
    trace,
    unpacked_size,
)
from studperf.data.split import Split, split_rows, split_table
from studperf.data.tensors import EncodedTable, encode_parts
from studperf.schema.files import PARQUET_ENDINGS
from studperf.schema.findings import Finding
from studperf.scoring.metrics import FloatArray

# Above these sizes a table is streamed. At this size pandas takes 3 s of CPU and 600 MB, reading in
# chunks 0.5 s and 300 MB.
LARGE_CSV_BYTES = 32 << 20
LARGE_GZIP_BYTES = LARGE_CSV_BYTES // 6
LARGE_N_ROWS = 250_000
N_SAMPLED = 100_000
"""Training rows that the leak tests and the baselines see of a streamed table."""
_SEED = 20_001


class Rows(Protocol):
    """Checked rows and their split."""

    dataset: Dataset
    origin: Provenance
    findings: list[Finding]

    def __len__(self) -> int:
        """Number of rows."""

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Warnings about the rows, for the run's record."""

    @property
    def n_sampled(self) -> int | None:
        """Number of training rows in `sample`; None if it holds them all."""

    @property
    def split(self) -> Split:
        """Row numbers of each part."""

    @property
    def sample(self) -> np.ndarray:
        """Row numbers of the training rows that leak tests and baselines see."""

    def table(self, index: np.ndarray, columns: Iterable[str] | None = None) -> Table:
        """Return typed rows, in this order; with a choice of columns, those and the target."""

    def target(self, index: np.ndarray) -> FloatArray:
        """Return the target (n,) of these rows, in its own unit."""

    def numbers(self, index: np.ndarray) -> np.ndarray:
        """Return the numbers (n,) of these rows in the file, from 1 below its header.

        Rows that were left out of the table count too.
        """

    def hashes(self, index: np.ndarray) -> Hashes:
        """Return the hashes (n,) of the features of these rows."""

    def fit(self, encode: Encode) -> Encoder:
        """Return the encoder that the training rows teach."""

    def encode(self, encoder: Encoder) -> EncodedTable:
        """Return the encoded rows of all parts."""


class SmallRows:
    """Rows of a table that lies in memory."""

    n_sampled = None

    def __init__(self, table: Table, origin: Provenance, findings: list[Finding]) -> None:
        self.dataset, self.origin, self.findings = table.dataset, origin, findings
        self._table = table

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._table)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Warnings about the rows, for the run's record."""
        return self._table.warnings

    @cached_property
    def split(self) -> Split:
        """Row numbers of each part."""
        return split_table(self._table)

    @property
    def sample(self) -> np.ndarray:
        """Row numbers of all training rows."""
        return self.split.train

    @cached_property
    def parts(self) -> dict[str, Table]:
        """The table of each part, by the part's name."""
        return split_rows(self._table, self.split)

    def table(self, index: np.ndarray, columns: Iterable[str] | None = None) -> Table:  # noqa: ARG002 - all are there
        """Return typed rows, in this order."""
        return self._table.rows(index)

    def target(self, index: np.ndarray) -> FloatArray:
        """Return the target (n,) of these rows, in its own unit."""
        return np.asarray(self._table.target[index])

    def numbers(self, index: np.ndarray) -> np.ndarray:
        """Return the numbers (n,) of these rows in the file, from 1."""
        return np.asarray(self._table.frame.index[index]) + 1

    def hashes(self, index: np.ndarray) -> Hashes:
        """Return the hashes (n,) of the features of these rows."""
        return hash_features(self._table.rows(index))

    def fit(self, encode: Encode) -> Encoder:
        """Return the encoder that the training rows teach."""
        return Encoder.fit(self.parts["train"], encode)

    def encode(self, encoder: Encoder) -> EncodedTable:
        """Return the encoded rows, part after part."""
        return encode_parts(self.parts, encoder)


class LargeRows:
    """Rows of a table that was read in chunks and lies on disk."""

    def __init__(self, table: StreamedTable, origin: Provenance, findings: list[Finding]) -> None:
        self.dataset, self.origin, self.findings = table.dataset, origin, findings
        self._table = table

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._table)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Warnings about the rows, for the run's record."""
        if self.n_sampled is None:
            return self._table.warnings
        seen = f"{self.n_sampled:,} of {len(self.split.train):,} training rows"
        what = f"leak tests and baselines saw {seen}"
        return (*self._table.warnings, Finding("warning", "table", what))

    @property
    def n_sampled(self) -> int | None:
        """Number of training rows in `sample`; None if it holds them all."""
        return N_SAMPLED if len(self.split.train) > N_SAMPLED else None

    @cached_property
    def split(self) -> Split:
        """Row numbers of each part."""
        return self._table.split()

    @cached_property
    def sample(self) -> np.ndarray:
        """Row numbers of training rows, drawn once by a seed of their own."""
        train = self.split.train
        if self.n_sampled is None:
            return train
        rng = np.random.default_rng(_SEED)
        return train[rng.choice(len(train), self.n_sampled, replace=False)]

    def table(self, index: np.ndarray, columns: Iterable[str] | None = None) -> Table:
        """Return typed rows, in this order; with a choice of columns, those and the target.

        Columns of kind leak are not kept.
        """
        return self._table.rows(index, columns)

    def target(self, index: np.ndarray) -> FloatArray:
        """Return the target (n,) of these rows, in its own unit."""
        return np.asarray(self._table.column(self.dataset.target.column)[index])

    def numbers(self, index: np.ndarray) -> np.ndarray:
        """Return the numbers (n,) of these rows in the file, from 1."""
        return self._table.places(index) + 1

    def hashes(self, index: np.ndarray) -> Hashes:
        """Return the hashes (n,) of the features of these rows."""
        return self._table.hashes(index)

    def fit(self, encode: Encode) -> Encoder:
        """Return the encoder that the training rows teach."""
        return self._table.fit(self.split.train, encode)

    def encode(self, encoder: Encoder) -> EncodedTable:
        """Return all rows encoded, in the file's order."""
        return self._table.encode(encoder, {**vars(self.split), "sample": self.sample})


@contextmanager
def open_rows(dataset: Dataset, console: Console | None = None) -> Iterator[Rows]:
    """Open the dataset's rows as they are; their `findings` list what is wrong with them.

    Args:
        dataset: names the file.
        console: shows a progress bar for a large file, and where the table comes from.

    Raises:
        DataError: the file can't be read, or is not the version that `data.dvc` names.
    """
    if not is_streamed(dataset):
        raw, origin = read_source(dataset)
        _show(origin, console)
        table, findings = inspect_table(raw, dataset)
        yield SmallRows(table, origin, findings)
        return
    streamed, origin, findings = stream_source(dataset, console)
    with streamed:
        _show(origin, console)
        yield LargeRows(streamed, origin, findings)


def is_streamed(dataset: Dataset) -> bool:
    """Return True if the table is too large to be read at once, or is asked to lie on disk.

    Raises:
        DataError: there is no file, and the dataset does not allow to simulate.
    """
    path = find_source(dataset)
    return dataset.memory == "disk" or (path is not None and is_large(path))


def stream_source(
    dataset: Dataset, console: Console | None = None, *, for_training: bool = True
) -> tuple[StreamedTable, Provenance, list[Finding]]:
    """Return the dataset's table, read in chunks, with its origin and all findings.

    Raises:
        DataError: the file can't be read, or is not the version that `data.dvc` names.
    """
    path = find_source(dataset)
    with reading(console) as tick, readable(path) if path else nullcontext():
        source = open_source(path, dataset)
        table, findings = stream_table(source, dataset, for_training=for_training, tick=tick)
    if path is None:
        origin = Provenance(dataset.name, None, None, is_simulated=True, is_tracked=False)
        return table, origin, findings
    try:
        return table, trace(path, str(source.md5), dataset), findings
    except BaseException:
        table.close()
        raise


def _show(origin: Provenance, console: Console | None) -> None:
    if console is not None:
        console.print(origin.line, soft_wrap=True)


def guard_sample(rows: Rows) -> tuple[Leak, ...]:
    """Refuse features that give the target away, and return the leaks that are allowed.

    Raises:
        LeakError: names each such feature with the evidence.
    """
    return guard(rows.table(rows.sample))


@contextmanager
def open_good_rows(dataset: Dataset, console: Console | None = None) -> Iterator[Rows]:
    """Open the dataset's rows, and raise if any of them is at fault.

    Raises:
        DataError: lists every fault.
    """
    with open_rows(dataset, console) as rows:
        raise_faults(rows.findings, dataset)
        yield rows


def is_large(path: Path) -> bool:
    """Return True if a file is so large that it is streamed.

    A file that can't be read is not: reading it whole gives the better error message.
    """
    if not path.is_file():
        return False
    try:
        if path.suffix in PARQUET_ENDINGS:
            with pq.ParquetFile(path) as file:
                return int(file.metadata.num_rows) > LARGE_N_ROWS
        if path.stat().st_size > LARGE_CSV_BYTES or unpacked_size(path) > LARGE_CSV_BYTES:
            return True
        return is_gzip(path) and path.stat().st_size > LARGE_GZIP_BYTES
    except (OSError, pa.ArrowException):
        return False


def open_source(path: Path | None, dataset: Dataset) -> ChunkSource:
    """Return the source of a file's chunks, or of simulated rows without a file."""
    if path is None:
        return open_frame(simulate(dataset), dataset)
    if path.suffix in PARQUET_ENDINGS:
        return open_parquet(path, dataset)
    return CsvSource(path, dataset)
