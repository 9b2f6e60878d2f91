"""What the terminal shows while a large file is read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_PATIENCE_S = 1.0
_QUIET_S = 10.0


class Tick(Protocol):
    """Told of each chunk: rows so far, and the share of the whole, from 0 to 1."""

    def __call__(self, n_rows: int, share: float) -> None:
        """Moves a bar on."""


def say_nothing(n_rows: int, share: float) -> None:
    """A tick without a bar."""


@contextmanager
def reading(console: Console | None) -> Iterator[Tick]:
    """A bar once a file takes longer than a second; where there is no terminal, a line every ten seconds and one at the end."""
    if console is None:
        yield say_nothing
        return
    started = said = time.monotonic()
    n_read = 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[rows]} rows"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("Reading", total=1.0, rows="0")

    def tick(n_rows: int, share: float) -> None:
        nonlocal n_read, said
        n_read = n_rows
        bar.update(task, completed=share, rows=f"{n_rows:,}")
        if (
            console.is_terminal
            and not bar.live.is_started
            and time.monotonic() - started > _PATIENCE_S
        ):
            bar.start()
        now = time.monotonic()
        is_due = now - started > _PATIENCE_S and now - said > _QUIET_S
        if is_due and not console.is_terminal:
            said = now
            console.print(f"Reading: {n_rows:,} rows, {share:.0%}")

    try:
        yield tick
    finally:
        if bar.live.is_started:  # one that is stopped without a start leaves an empty line
            bar.stop()
    if (seconds := time.monotonic() - started) > _PATIENCE_S:
        console.print(f"Read {n_read:,} rows in {seconds:.1f} s")
