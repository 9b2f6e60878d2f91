"""Rows that a process has prepared already, for the next run on the same ones."""

from __future__ import annotations

import copy
import dataclasses
import json

from rich.console import Console

from studperf.config import find_file
from studperf.config.shape import RunConfig
from studperf.data.prepare import Rows, prepare

_kept: dict[str, Rows] = {}


def prepare_again(config: RunConfig, console: Console) -> Rows:
    """As `prepare`, which is done once for all runs of a process on the same file with the same dataset and encoding.

    Raises:
        DataError: the table was refused, or (LeakError) a feature gives the target away.
    """
    key = rows_key(config)
    if key not in _kept:
        _kept.clear()  # one table is kept in memory, not one for each that was ever seen
        _kept[key] = prepare(config, console)
    rows = _kept[key]
    data = copy.copy(rows.data)
    data.batch_size, data.seed, data.trainer = config.batch_size, config.seed, None
    return dataclasses.replace(rows, data=data)


def rows_key(config: RunConfig) -> str:
    """Equal for runs on the same rows, encoded the same way."""
    path = config.data.source.path
    file = find_file(path) if path is not None else None
    state = [file.stat().st_mtime_ns, file.stat().st_size] if file is not None and file.is_file() else []
    return json.dumps([config.data.model_dump(mode="json"), config.encode.model_dump(mode="json"), state])
