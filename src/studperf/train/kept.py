"""Prepared rows of a process, kept for the next run on the same ones."""

from __future__ import annotations

import atexit
import copy
import dataclasses
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console

from studperf.config.paths import find_file
from studperf.config.run import RunConfig
from studperf.train.preparation import Prepared, prepare

_kept: dict[str, Prepared] = {}
# What the kept rows need, such as the temporary file of a large table.
_open = ExitStack()
atexit.register(_open.close)


@contextmanager
def prepare_again(config: RunConfig, console: Console) -> Iterator[Prepared]:
    """Prepare the rows as `prepare` does, once for all runs of a process on the same ones.

    Those are runs on the same file with the same dataset and encoding.

    Raises:
        DataError: the table was refused, or (LeakError) a feature gives the target away.
    """
    key = rows_key(config)
    if key not in _kept:
        # One table is kept in memory, not one for each that was ever seen.
        _kept.clear()
        _open.close()
        _kept[key] = _open.enter_context(prepare(config, console))

    ready = _kept[key]
    data = copy.copy(ready.data)
    data.batch_size = config.batch_size
    data.seed = config.seed
    data.trainer = None
    # What was settled about the rows holds for each run on them.
    settled = config.model_copy(update={"data": ready.config.data})
    yield dataclasses.replace(ready, config=settled, data=data)


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
