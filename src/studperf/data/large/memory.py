"""Memory for tensors: whether they fit, where they go if not, and the error if they can't."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from studperf.config.dataset import Memory
from studperf.config.run import RunConfig
from studperf.data.large.spool import no_space, open_scratch
from studperf.errors import TooLargeError

# The other half is for the model, the optimizer, predictions, and for whatever else runs on the
# machine.
SHARE = 0.5
# Where Linux tells a container its limit.
_CGROUP = Path("/sys/fs/cgroup")
# torch's and numpy's words.
_ASKED = re.compile(r"(?:tried|unable) to allocate ([\d.]+) (\w+)", re.IGNORECASE)
_OVERFLOWS = ("Storage size calculation overflowed", "Overflow when unpacking long")


def available_bytes() -> int | None:
    """Return the available memory in bytes, or None if the system does not report it.

    It is the kernel's own estimate, or what the container's limit leaves.
    """
    limits = []
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                limits.append(int(value.split()[0]) * 1024)

    limit = _CGROUP / "memory.max"
    used = _CGROUP / "memory.current"
    if limit.is_file() and used.is_file():
        text = limit.read_text().strip()
        if text != "max":
            limits.append(int(text) - int(used.read_text()))
    if not limits:
        return None
    return max(0, min(limits))


def belongs_on_disk(n_bytes: int, memory: Memory) -> bool:
    """Return True if tensors belong on disk, as the dataset asks.

    With `auto` they do when they are more than half of the memory that could be had.
    """
    if memory != "auto":
        return memory == "disk"
    available = available_bytes()
    return available is not None and n_bytes > SHARE * available


def make_array(
    shape: tuple[int, ...],
    dtype: type[np.generic],
    *,
    on_disk: bool,
) -> np.ndarray:
    """Return an array to be filled, in memory or on disk.

    On disk it is the map of a file without a name, which is gone when the array is.

    Raises:
        DataError: the disk is too full.
    """
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not on_disk or not n_bytes:
        return np.empty(shape, dtype=dtype)
    try:
        # The file may be closed: the map keeps a handle of its own.
        with open_scratch() as file:
            _reserve(file, n_bytes)
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    except OSError as error:
        raise no_space(error, f"{n_bytes / 1e9:.1f} GB of tensors") from error


def _reserve(file: IO[Any], n_bytes: int) -> None:
    """Take a file's room on the disk now.

    Writing to a map of a file that can't grow would end the process without a word.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, n_bytes)
    else:
        file.truncate(n_bytes)


@contextmanager
def enough_memory(config: RunConfig) -> Iterator[None]:
    """Turn an error for lack of memory in a model into one that names the model's sizes.

    torch raises a bare RuntimeError.

    Raises:
        TooLargeError: there is not as much memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError, TypeError) as error:
        asked = _asked_for(error)
        if asked is None:
            raise
        # The frames hold what was allocated, and a multirun goes on.
        traceback.clear_frames(error.__traceback__)
        model = config.model.items()
        sizes = [f"model.{key}={_as_typed(value)}" for key, value in model if _is_size(value)]
        settings = ", ".join([*sizes, f"batch_size={config.batch_size}"])
        raise TooLargeError(
            f"There is not enough memory for the model {config.model_name} with {settings}: "
            f"it asked for {asked}. Lower one of these."
        ) from error


def _asked_for(error: Exception) -> str | None:
    """Return in words how much memory could not be allocated, or None for any other error."""
    text = str(error)
    found = _ASKED.search(text)
    if found:
        amount, unit = found[1], found[2]
        if unit == "bytes":
            return f"{float(amount) / 1e9:,.1f} GB at once"
        return f"{amount} {unit} at once"
    if any(overflow in text for overflow in _OVERFLOWS):
        return "more than can be counted"
    if isinstance(error, MemoryError):
        return "more than there is"
    return None


def _is_size(value: object) -> bool:
    """Return True for a whole number, or for several."""
    parts = [value]
    if isinstance(value, list | tuple) and value:
        parts = list(value)
    return all(isinstance(part, int) and not isinstance(part, bool) for part in parts)


def _as_typed(value: object) -> str:
    """Return a size as it is typed on a command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value)
