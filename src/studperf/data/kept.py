"""Rows that a process has prepared already, for the next run on the same ones."""

from __future__ import annotations

import atexit
import copy
import dataclasses
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console

from studperf.config import find_file
from studperf.config.shape import RunConfig
from studperf.data.prepare import Prepared, prepare

_kept: dict[str, Prepared] = {}
_open = ExitStack()
"""What the kept rows need, such as the temporary file of a large table."""
atexit.register(_open.close)


@contextmanager
def prepare_again(config: RunConfig, console: Console) -> Iterator[Prepared]:
    """As `prepare`, which is done once for all runs of a process on the same file with the same dataset and encoding.

    Raises:
        DataError: the table was refused, or (LeakError) a feature gives the target away.
    """
    key = rows_key(config)
    if key not in _kept:
        _kept.clear()  # one table is kept in memory, not one for each that was ever seen
        _open.close()
        _kept[key] = _open.enter_context(prepare(config, console))
    ready = _kept[key]
    data = copy.copy(ready.data)
    data.batch_size, data.seed, data.trainer = config.batch_size, config.seed, None
    # What was settled about the rows holds for each run on them.
    yield dataclasses.replace(
        ready, config=config.model_copy(update={"data": ready.config.data}), data=data
    )


def rows_key(config: RunConfig) -> str:
    """Equal for runs on the same rows, encoded the same way."""
    path = config.data.source.path
    file = find_file(path) if path is not None else None
    state = (
        [file.stat().st_mtime_ns, file.stat().st_size]
        if file is not None and file.is_file()
        else []
    )
    return json.dumps(
        [config.data.model_dump(mode="json"), config.encode.model_dump(mode="json"), state]
    )
