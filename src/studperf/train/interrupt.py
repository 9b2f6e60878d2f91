"""Interruptions: SIGTERM handled as Ctrl-C, and the message on how to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from studperf.errors import Interrupted


def interrupted_in(folder: Path) -> Interrupted:
    """Return the interruption of a folder's runs, whose message names the way to go on."""
    return Interrupted(f"interrupted; go on with: python -m studperf.train resume={folder}")


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Have SIGTERM interrupt the work inside as Ctrl-C does."""
    # Python sets signal handlers in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - of a handler
        raise Interrupted("interrupted by SIGTERM")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
