"""The way of the rows from a source up to a model, the same for every run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from studperf.config.shape import RunConfig
from studperf.data.datamodule import TableDataModule
from studperf.data.encode import Encoder
from studperf.data.leaks import Leak
from studperf.data.rows import Rows, guard_sample, open_good_rows


@dataclass(frozen=True)
class Prepared:
    """Checked, split, guarded and encoded rows."""

    rows: Rows
    leaks: tuple[Leak, ...]
    encoder: Encoder
    data: TableDataModule


@contextmanager
def prepare(config: RunConfig, console: Console) -> Iterator[Prepared]:
    """Table -> checked table -> split -> guard -> tensors. The first line that people see says where the rows come from.

    Raises:
        DataError: the table was refused, or (LeakError) a feature gives the target away.
    """
    with open_good_rows(config.data, console) as rows:
        leaks = guard_sample(rows)
        encoder = rows.fit(config.encode)
        yield Prepared(rows, leaks, encoder, TableDataModule(rows.encode(encoder), batch_size=config.batch_size, seed=config.seed))
