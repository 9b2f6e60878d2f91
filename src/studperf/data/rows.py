"""A dataset's rows, checked and split: a small table in memory, a large one in chunks. What trains and judges asks here, and only here."""

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
from studperf.data.findings import Finding
from studperf.data.guard.leaks import Leak, guard
from studperf.data.hashes import Hashes, hash_features
from studperf.data.large.arrow import open_frame, open_parquet
from studperf.data.large.chunks import ChunkSource, CsvSource
from studperf.data.large.progress import reading
from studperf.data.large.stream import StreamedTable, stream_table
from studperf.data.schema import Table, inspect_table, raise_faults
from studperf.data.simulate import simulate
from studperf.data.source import (
    PARQUET,
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
from studperf.scoring.metrics import FloatArray

# Above these a table is streamed: there the way through pandas takes 3 s of CPU and 600 MB, the other 0.5 s and 300 MB.
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
        """What a record should say of the rows."""

    @property
    def n_sampled(self) -> int | None:
        """Training rows in `sample`; None if it holds them all."""

    @property
    def split(self) -> Split:
        """Row numbers of each part."""

    @property
    def sample(self) -> np.ndarray:
        """Row numbers of the training rows by which leaks are looked for and baselines are fitted."""

    def table(self, index: np.ndarray, columns: Iterable[str] | None = None) -> Table:
        """Typed rows, in this order; with a choice of columns those and the target."""

    def target(self, index: np.ndarray) -> FloatArray:
        """(n,) of these rows, in its own unit."""

    def numbers(self, index: np.ndarray) -> np.ndarray:
        """(n,) numbers of these rows in the file, from 1 below its header; rows that were left out count too."""

    def hashes(self, index: np.ndarray) -> Hashes:
        """(n,) of the features of these rows."""

    def fit(self, encode: Encode) -> Encoder:
        """What the training rows teach."""

    def encode(self, encoder: Encoder) -> EncodedTable:
        """The parts as tensors."""


class SmallRows:
    """A table that lies in memory."""

    n_sampled = None

    def __init__(self, table: Table, origin: Provenance, findings: list[Finding]) -> None:
        self.dataset, self.origin, self.findings = table.dataset, origin, findings
        self._table = table

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._table)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What a record should say of the rows."""
        return self._table.warnings

    @cached_property
    def split(self) -> Split:
        """Row numbers of each part."""
        return split_table(self._table)

    @property
    def sample(self) -> np.ndarray:
        """All training rows."""
        return self.split.train

    @cached_property
    def parts(self) -> dict[str, Table]:
        """The parts' rows."""
        return split_rows(self._table, self.split)

    def table(self, index: np.ndarray, columns: Iterable[str] | None = None) -> Table:  # noqa: ARG002 - all are there
        """Typed rows, in this order."""
        return self._table.rows(index)

    def target(self, index: np.ndarray) -> FloatArray:
        """(n,) of these rows, in its own unit."""
        return np.asarray(self._table.target[index])

    def numbers(self, index: np.ndarray) -> np.ndarray:
        """(n,) numbers of these rows in the file, from 1."""
        return np.asarray(self._table.frame.index[index]) + 1

    def hashes(self, index: np.ndarray) -> Hashes:
        """(n,) of the features of these rows."""
        return hash_features(self._table.rows(index))

    def fit(self, encode: Encode) -> Encoder:
        """What the training rows teach."""
        return Encoder.fit(self.parts["train"], encode)

    def encode(self, encoder: Encoder) -> EncodedTable:
        """The parts as tensors, one after the other."""
        return encode_parts(self.parts, encoder)


class LargeRows:
    """A table that was streamed."""

    def __init__(self, table: StreamedTable, origin: Provenance, findings: list[Finding]) -> None:
        self.dataset, self.origin, self.findings = table.dataset, origin, findings
        self._table = table

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._table)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What a record should say of the rows."""
        if self.n_sampled is None:
            return self._table.warnings
        what = f"leak tests and baselines saw {self.n_sampled:,} of {len(self.split.train):,} training rows"
        return (*self._table.warnings, Finding("warning", "table", what))

    @property
    def n_sampled(self) -> int | None:
        """Training rows in `sample`; None if it holds them all."""
        return N_SAMPLED if len(self.split.train) > N_SAMPLED else None

    @cached_property
    def split(self) -> Split:
        """Row numbers of each part."""
        return self._table.split()

    @cached_property
    def sample(self) -> np.ndarray:
        """Training rows drawn once, by a seed of their own."""
        train = self.split.train
        if self.n_sampled is None:
            return train
        return train[np.random.default_rng(_SEED).choice(len(train), self.n_sampled, replace=False)]

    def table(self, index: np.ndarray, columns: Iterable[str] | None = None) -> Table:
        """Typed rows, in this order; with a choice of columns those and the target. Columns of kind leak are not kept."""
        return self._table.rows(index, columns)

    def target(self, index: np.ndarray) -> FloatArray:
        """(n,) of these rows, in its own unit."""
        return np.asarray(self._table.column(self.dataset.target.column)[index])

    def numbers(self, index: np.ndarray) -> np.ndarray:
        """(n,) numbers of these rows in the file, from 1."""
        return self._table.places(index) + 1

    def hashes(self, index: np.ndarray) -> Hashes:
        """(n,) of the features of these rows."""
        return self._table.hashes(index)

    def fit(self, encode: Encode) -> Encoder:
        """What the training rows teach."""
        return self._table.fit(self.split.train, encode)

    def encode(self, encoder: Encoder) -> EncodedTable:
        """All rows as tensors, in the file's order."""
        return self._table.encode(encoder, {**vars(self.split), "sample": self.sample})


@contextmanager
def open_rows(dataset: Dataset, console: Console | None = None) -> Iterator[Rows]:
    """The dataset's rows, as they are: `findings` tells what is wrong with them.

    Args:
        dataset: names the file.
        console: shows a bar while a large file is read, and the first line of output.

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
    """Whether the dataset's table is too large to be read at once, or is asked to lie on disk.

    Raises:
        DataError: there is no file, and the dataset does not allow to simulate.
    """
    path = find_source(dataset)
    return dataset.memory == "disk" or (path is not None and is_large(path))


def stream_source(
    dataset: Dataset, console: Console | None = None, *, for_training: bool = True
) -> tuple[StreamedTable, Provenance, list[Finding]]:
    """The dataset's table, read in chunks, and all findings.

    Raises:
        DataError: the file can't be read, or is not the version that `data.dvc` names.
    """
    path = find_source(dataset)
    with reading(console) as tick, readable(path) if path else nullcontext():
        source = open_source(path, dataset)
        table, findings = stream_table(source, dataset, for_training=for_training, tick=tick)
    if path is None:
        return (
            table,
            Provenance(dataset.name, None, None, is_simulated=True, is_tracked=False),
            findings,
        )
    try:
        return table, trace(path, str(source.md5), dataset), findings
    except BaseException:
        table.close()
        raise


def _show(origin: Provenance, console: Console | None) -> None:
    if console is not None:
        console.print(origin.line, soft_wrap=True)


def guard_sample(rows: Rows) -> tuple[Leak, ...]:
    """Refuses features that give the target away; returns the leaks that are allowed.

    Raises:
        LeakError: names each such feature with the evidence.
    """
    return guard(rows.table(rows.sample))


@contextmanager
def open_good_rows(dataset: Dataset, console: Console | None = None) -> Iterator[Rows]:
    """As `open_rows`, but for rows that are as the dataset describes them.

    Raises:
        DataError: they are not; every fault is listed.
    """
    with open_rows(dataset, console) as rows:
        raise_faults(rows.findings, dataset)
        yield rows


def is_large(path: Path) -> bool:
    """Whether a file is streamed; one that can't be read is not, and is refused in the words for small files."""
    if not path.is_file():
        return False
    try:
        if path.suffix in PARQUET:
            with pq.ParquetFile(path) as file:
                return int(file.metadata.num_rows) > LARGE_N_ROWS
        if path.stat().st_size > LARGE_CSV_BYTES or unpacked_size(path) > LARGE_CSV_BYTES:
            return True
        return is_gzip(path) and path.stat().st_size > LARGE_GZIP_BYTES
    except (OSError, pa.ArrowException):
        return False


def open_source(path: Path | None, dataset: Dataset) -> ChunkSource:
    """The chunks of a file, or of simulated rows."""
    if path is None:
        return open_frame(simulate(dataset), dataset)
    return open_parquet(path, dataset) if path.suffix in PARQUET else CsvSource(path, dataset)
