"""The preparation of rows for a model, from their source on, the same for every run."""

from __future__ import annotations

import atexit
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache

from rich.console import Console

from studperf.config.dataset import Dataset
from studperf.config.paths import find_file
from studperf.config.run import RunConfig
from studperf.data.encode import Encoder
from studperf.data.guard.leaks import Leak
from studperf.data.guard.left_out import left_out_signal
from studperf.data.rows import Rows, guard_sample, open_good_rows
from studperf.data.tensors import EncodedTable
from studperf.scoring.metrics import FloatArray


@dataclass(frozen=True)
class Prepared:
    """Rows that are checked, split, guarded and encoded.

    Args:
        dataset: says where a large table's tensors lie, which `auto` decided by the memory that was
            free: batches from disk come in another order, so that a resumed or repeated run must
            not decide anew.
        rows: checked, with their split.
        leaks: what the guard let through.
        left_out: columns that are no feature, with the share that each explains.
        encoder: learnt from the training rows.
        table: encoded.
    """

    dataset: Dataset
    rows: Rows
    leaks: tuple[Leak, ...]
    left_out: Mapping[str, float]
    encoder: Encoder
    table: EncodedTable

    @property
    def train_target(self) -> FloatArray:
        """The target of the training rows."""
        return self.rows.target(self.rows.split.train)

    def settle(self, config: RunConfig) -> RunConfig:
        """Return the configuration of a run on these rows, with what was decided about them."""
        return config.model_copy(update={"data": self.dataset})


@contextmanager
def prepare(config: RunConfig, console: Console) -> Iterator[Prepared]:
    """Read, check, split, guard and encode the table.

    The first line that people see says where the rows come from.

    Raises:
        DataError: the table was refused, or (LeakError) a feature gives the target away.
    """
    with open_good_rows(config.data, console) as rows:
        leaks = guard_sample(rows)
        encoder = rows.fit(config.encode)
        table = rows.encode(encoder)
        dataset = config.data
        if rows.is_large and dataset.memory == "auto":
            memory = "disk" if table.on_disk else "ram"
            dataset = dataset.model_copy(update={"memory": memory})
        yield Prepared(
            dataset=dataset,
            rows=rows,
            leaks=leaks,
            left_out=dict(left_out_signal(rows.table(rows.sample), dataset)),
            encoder=encoder,
            table=table,
        )


class KeptRows:
    """Prepared rows that are kept open for the next run on the same ones.

    One table is kept, not one for each that was ever seen.
    """

    def __init__(self) -> None:
        self._key = ""
        self._ready: Prepared | None = None
        # What the rows need, such as the temporary file of a large table.
        self._open = ExitStack()

    @contextmanager
    def prepare(self, config: RunConfig, console: Console) -> Iterator[Prepared]:
        """Prepare the rows as the function `prepare` does, once for all runs on the same ones.

        Those are runs on the same file with the same dataset and encoding.

        Raises:
            DataError: the table was refused, or (LeakError) a feature gives the target away.
        """
        key = rows_key(config)
        if self._ready is None or self._key != key:
            self.close()
            self._ready = self._open.enter_context(prepare(config, console))
            self._key = key
        yield self._ready

    def close(self) -> None:
        """Let go of the rows."""
        self._ready = None
        self._open.close()


@cache
def rows_of_process() -> KeptRows:
    """Return the rows that this process keeps until it ends: a study's trials share a table."""
    kept = KeptRows()
    atexit.register(kept.close)
    return kept


def rows_key(config: RunConfig) -> str:
    """Return a text that is equal for runs on the same rows, encoded the same way."""
    state: list[int] = []
    path = config.data.source.path
    if path is not None:
        file = find_file(path)
        # A file that was written anew holds other rows.
        if file.is_file():
            stat = file.stat()
            state = [stat.st_mtime_ns, stat.st_size]
    data = config.data.model_dump(mode="json")
    encode = config.encode.model_dump(mode="json")
    return json.dumps([data, encode, state])
