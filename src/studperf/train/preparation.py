"""The preparation of rows for a model, from their source on, the same for every run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from studperf.config.run import RunConfig
from studperf.data.encode import Encoder
from studperf.data.guard.leaks import Leak
from studperf.data.rows import Rows, guard_sample, open_good_rows
from studperf.train.datamodule import TableDataModule


@dataclass(frozen=True)
class Prepared:
    """Rows that are checked, split, guarded and encoded.

    `config` says where a large table's tensors lie, which `auto` decided by the memory that was
    free: batches from disk come in another order, so that a resumed or repeated run must not decide
    anew.
    """

    config: RunConfig
    rows: Rows
    leaks: tuple[Leak, ...]
    encoder: Encoder
    data: TableDataModule


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
        data = TableDataModule(table, batch_size=config.batch_size, seed=config.seed)
        settled = _settle_memory(config, is_large=rows.is_large, on_disk=table.on_disk)
        yield Prepared(config=settled, rows=rows, leaks=leaks, encoder=encoder, data=data)


def _settle_memory(config: RunConfig, *, is_large: bool, on_disk: bool) -> RunConfig:
    """Return the configuration with the place of a large table's tensors in place of `auto`."""
    if not is_large or config.data.memory != "auto":
        return config
    memory = "disk" if on_disk else "ram"
    data = config.data.model_copy(update={"memory": memory})
    return config.model_copy(update={"data": data})
