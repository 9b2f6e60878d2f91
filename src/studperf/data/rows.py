"""A dataset's rows, read in chunks, checked and split.

Everything that trains or judges takes its rows from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from studperf.config.dataset import Dataset
from studperf.config.run import Encode
from studperf.data.encode import Encoder
from studperf.data.guard.leaks import Leak, guard
from studperf.data.hashes import Hashes
from studperf.data.large.arrow import open_frame, open_parquet
from studperf.data.large.chunks import ChunkSource, CsvSource
from studperf.data.large.progress import reading
from studperf.data.large.stream import StreamedTable, stream_table
from studperf.data.schema import Table, raise_faults
from studperf.data.simulate import simulate
from studperf.data.source import (
    Provenance,
    find_source,
    is_gzip,
    readable,
    trace,
    unpacked_size,
)
from studperf.data.split import Split
from studperf.data.tensors import EncodedTable
from studperf.schema.files import PARQUET_ENDINGS
from studperf.schema.findings import Finding
from studperf.scoring.metrics import FloatArray

# Above these sizes a table is large: its tensors may lie on disk, and leak tests and baselines see a
# sample, for all of it would take minutes.
LARGE_CSV_BYTES = 32 << 20
LARGE_GZIP_BYTES = LARGE_CSV_BYTES // 6
LARGE_N_ROWS = 250_000
N_SAMPLED = 100_000
"""Training rows that the leak tests and the baselines see of a streamed table."""
_SEED = 20_001


class Rows:
    """Checked rows and their split.

    Args:
        table: the rows, which whoever opened them closes.
        origin: where they come from.
        findings: what is wrong with them.
        is_large: their tensors may lie on disk, and leak tests and baselines see a sample.
    """

    def __init__(
        self,
        table: StreamedTable,
        origin: Provenance,
        findings: list[Finding],
        *,
        is_large: bool,
    ) -> None:
        self.dataset, self.origin, self.findings = table.dataset, origin, findings
        self.is_large = is_large
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
        if self.is_large and len(self.split.train) > N_SAMPLED:
            return N_SAMPLED
        return None

    @cached_property
    def split(self) -> Split:
        """Row numbers of each part."""
        return self._table.split()

    @cached_property
    def sample(self) -> np.ndarray:
        """Row numbers of the training rows that leak tests and baselines see.

        They are drawn once, by a seed of their own.
        """
        train = self.split.train
        if self.n_sampled is None:
            return train
        rng = np.random.default_rng(_SEED)
        return train[rng.choice(len(train), self.n_sampled, replace=False)]

    def all(self) -> Table:
        """Return all typed rows, in the file's order."""
        return self._table.rows(np.arange(len(self)))

    def blocks(self) -> Iterator[Table]:
        """Yield all typed rows, block after block."""
        return self._table.blocks()

    def table(self, index: np.ndarray, columns: Iterable[str] | None = None) -> Table:
        """Return typed rows, in this order; with a choice of columns, those and the target."""
        return self._table.rows(index, columns)

    def target(self, index: np.ndarray) -> FloatArray:
        """Return the target (n,) of these rows, in its own unit."""
        return np.asarray(self._table.column(self.dataset.target.column)[index])

    def numbers(self, index: np.ndarray) -> np.ndarray:
        """Return the numbers (n,) of these rows in the file, from 1 below its header.

        Rows that were left out of the table count too.
        """
        return self._table.places(index) + 1

    def hashes(self, index: np.ndarray) -> Hashes:
        """Return the hashes (n,) of the features of these rows."""
        return self._table.hashes(index)

    def fit(self, encode: Encode) -> Encoder:
        """Return the encoder that the training rows teach."""
        train = self.split.train
        # Sums are taken in the order of the split. A large table is read in its own order, which
        # saves a second copy of each column; either order is kept for the last bit of old runs.
        if self.is_large:
            train = np.sort(train)
        return Encoder.fit(self._table.training(train), encode)

    def encode(self, encoder: Encoder) -> EncodedTable:
        """Return all rows encoded, in the file's order."""
        parts = {**vars(self.split), "sample": self.sample}
        memory = self.dataset.memory if self.is_large else "ram"
        return self._table.encode(encoder, parts, memory)


@contextmanager
def open_rows(
    dataset: Dataset, console: Console | None = None, *, for_training: bool = True
) -> Iterator[Rows]:
    """Open the dataset's rows as they are; their `findings` list what is wrong with them.

    Args:
        dataset: names the file.
        console: shows a progress bar for a large file, and where the table comes from.
        for_training: see `check_table`.

    Raises:
        DataError: the file can't be read, or is not the version that `data.dvc` names.
    """
    path = find_source(dataset)
    is_large_table = dataset.memory == "disk" or (path is not None and is_large(path))
    shown_on = console if is_large_table else None
    with reading(shown_on) as tick, readable(path) if path else nullcontext():
        source = open_source(path, dataset)
        table, findings = stream_table(source, dataset, for_training=for_training, tick=tick)
    with table:
        origin = trace(path, source.md5, dataset)
        if console is not None:
            console.print(origin.line, soft_wrap=True)
        yield Rows(table, origin, findings, is_large=is_large_table)


def guard_sample(rows: Rows) -> tuple[Leak, ...]:
    """Refuse features that give the target away, and return the leaks that are allowed.

    Raises:
        LeakError: names each such feature with the evidence.
    """
    return guard(rows.table(rows.sample))


@contextmanager
def open_good_rows(
    dataset: Dataset, console: Console | None = None, *, for_training: bool = True
) -> Iterator[Rows]:
    """Open the dataset's rows, and raise if any of them is at fault; arguments as for `open_rows`.

    Raises:
        DataError: lists every fault.
    """
    with open_rows(dataset, console, for_training=for_training) as rows:
        raise_faults(rows.findings, dataset)
        yield rows


def is_large(path: Path) -> bool:
    """Return True if a file's table is large; one that can't be read is not."""
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
