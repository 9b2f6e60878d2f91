"""A bar in the terminal while a large file is read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

# A bar that is soon gone again would only flicker.
_PATIENCE_S = 1.0
_QUIET_S = 10.0


class Tick(Protocol):
    """A function that is called after each chunk, with the rows so far and the share read."""

    def __call__(self, n_rows: int, share: float) -> None:
        """Update the progress bar; the share goes from 0 to 1."""


def say_nothing(n_rows: int, share: float) -> None:
    """Take a tick without showing anything."""


@contextmanager
def reading(console: Console | None) -> Iterator[Tick]:
    """Show a bar once a file takes longer than a second.

    Without a terminal, print a line every ten seconds, and one at the end.
    """
    if console is None:
        yield say_nothing
        return
    started = printed_at = time.monotonic()
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
        nonlocal n_read, printed_at
        n_read = n_rows
        bar.update(task, completed=share, rows=f"{n_rows:,}")
        is_late = time.monotonic() - started > _PATIENCE_S
        if is_late and console.is_terminal and not bar.live.is_started:
            bar.start()
        now = time.monotonic()
        is_due = now - started > _PATIENCE_S and now - printed_at > _QUIET_S
        if is_due and not console.is_terminal:
            printed_at = now
            console.print(f"Reading: {n_rows:,} rows, {share:.0%}")

    try:
        yield tick
    finally:
        # A bar that is stopped without a start leaves an empty line.
        if bar.live.is_started:
            bar.stop()
    seconds = time.monotonic() - started
    if seconds > _PATIENCE_S:
        console.print(f"Read {n_read:,} rows in {seconds:.1f} s")
