"""The limits of a server's work: requests that wait or are computed, and bytes held."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

MAX_AT_WORK = 256
"""Requests whose body is there and whose answer is not; they wait in line for a thread."""
MAX_BYTES_HELD = 64 << 20
"""Of all bodies that are there or arriving: what a small container can spare."""
RETRY_AFTER_S = 1
_N_THREADS = max(2, os.cpu_count() or 1)
_T = TypeVar("_T")


class BusyError(Exception):
    """A refusal of a server that does as much as it can.

    The same request may be answered a little later.
    """


class Workload:
    """The requests of one server.

    Connections are no part of it: one that sends nothing, or half a request, keeps nobody waiting.
    """

    def __init__(self) -> None:
        # Changed in the event loop's thread alone, so that no lock is needed.
        self._n_at_work = 0
        self._n_bytes = 0
        self._threads = ThreadPoolExecutor(_N_THREADS, thread_name_prefix="predict")

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts the bytes of a body as they arrive, until the block ends.

        Raises:
            BusyError: from that function, when all bodies together are too many bytes.
        """
        n_own = 0

        def add(n_bytes: int) -> None:
            nonlocal n_own
            if self._n_bytes + n_bytes > MAX_BYTES_HELD:
                raise BusyError
            n_own += n_bytes
            self._n_bytes += n_bytes

        try:
            yield add
        finally:
            self._n_bytes -= n_own

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run work in a thread, as soon as one is free, and return its result.

        Raises:
            BusyError: too many requests are in line already.
        """
        if self._n_at_work >= MAX_AT_WORK:
            raise BusyError
        self._n_at_work += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._n_at_work -= 1
