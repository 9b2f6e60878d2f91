"""The way of the rows from a source up to a model, the same for every run."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from studperf.config.shape import RunConfig
from studperf.data.datamodule import TableDataModule
from studperf.data.encode import Encoder
from studperf.data.leaks import Leak, guard
from studperf.data.schema import Table, check_table
from studperf.data.source import Provenance, read_source
from studperf.data.split import Split, split_rows, split_table


@dataclass(frozen=True)
class Rows:
    """Checked, split, guarded and encoded rows, and where they come from."""

    origin: Provenance
    table: Table
    split: Split
    parts: dict[str, Table]
    leaks: tuple[Leak, ...]
    encoder: Encoder
    data: TableDataModule


def prepare(config: RunConfig, console: Console) -> Rows:
    """Table -> checked table -> split -> guard -> tensors. The first line that people see says where the rows come from.

    Raises:
        DataError: the table was refused, or (LeakError) a feature gives the target away.
    """
    raw, origin = read_source(config.data)
    console.print(origin.line, soft_wrap=True)
    table = check_table(raw, config.data)
    split = split_table(table)
    parts = split_rows(table, split)
    leaks = guard(parts["train"])
    encoder = Encoder.fit(parts["train"], config.encode)
    data = TableDataModule(parts, encoder, batch_size=config.batch_size, seed=config.seed)
    return Rows(origin, table, split, parts, leaks, encoder, data)
