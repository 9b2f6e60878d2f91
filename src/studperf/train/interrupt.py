"""SIGTERM taken for Ctrl-C, so that what is being done can be put in order first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from studperf.errors import Interrupted


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
