"""Whether tensors fit into memory, and where they go, or what is said, when they do not."""

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
from studperf.config.shape import RunConfig
from studperf.data.spool import no_space, open_scratch
from studperf.errors import TooLargeError

# The other half is for the model, the optimizer, predictions, and for whatever else runs on the machine.
SHARE = 0.5
_CGROUP = Path("/sys/fs/cgroup")
_ASKED = re.compile(r"(?:tried|unable) to allocate ([\d.]+) (\w+)", re.IGNORECASE)
_OVERFLOWS = ("Storage size calculation overflowed", "Overflow when unpacking long")


def available_bytes() -> int | None:
    """Memory that could be had now, by the kernel's own estimate and the container's limit; None where neither is told."""
    limits = []
    info = Path("/proc/meminfo")
    if info.is_file():
        told = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        if "MemAvailable" in told:
            limits.append(int(told["MemAvailable"].split()[0]) * 1024)
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
        limits.append(int(text) - int(used.read_text()))
    return max(0, min(limits)) if limits else None


def belongs_on_disk(n_bytes: int, memory: Memory) -> bool:
    """As the dataset asks; left to us, tensors go to disk when they are more than half of the memory that could be had."""
    if memory != "auto":
        return memory == "disk"
    available = available_bytes()
    return available is not None and n_bytes > SHARE * available


def make_array(shape: tuple[int, ...], dtype: type[np.generic], *, on_disk: bool) -> np.ndarray:
    """An array to be filled: in memory, or the map of a file without a name, which is gone when the array is.

    Raises:
        DataError: the disk is too full.
    """
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not on_disk or not n_bytes:
        return np.empty(shape, dtype=dtype)
    try:
        with open_scratch() as file:  # the map keeps a handle of its own
            _reserve(file, n_bytes)
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    except OSError as error:
        raise no_space(error, f"{n_bytes / 1e9:.1f} GB of tensors") from error


def _reserve(file: IO[Any], n_bytes: int) -> None:
    """Takes the room now: writing to a map of a file that can't grow would end the process without a word."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, n_bytes)
    else:
        file.truncate(n_bytes)


@contextmanager
def enough_memory(config: RunConfig) -> Iterator[None]:
    """While a model is built or used: where memory ends, the sizes that asked for it are named. torch raises a bare RuntimeError.

    Raises:
        TooLargeError: there is not as much memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError, TypeError) as error:
        if (asked := _asked_for(error)) is None:
            raise
        traceback.clear_frames(
            error.__traceback__
        )  # they hold what was allocated, and a multirun goes on
        sizes = [
            f"model.{key}={_listed(value)}"
            for key, value in config.model.items()
            if _is_size(value)
        ]
        settings = ", ".join([*sizes, f"batch_size={config.batch_size}"])
        raise TooLargeError(
            f"There is not enough memory for the model {config.model_name} with {settings}: it asked for {asked}. Lower one of these."
        ) from error


def _asked_for(error: Exception) -> str | None:
    """How much memory an error says there is not; None for any other error."""
    text = str(error)
    if found := _ASKED.search(text):
        return (
            f"{float(found[1]) / 1e9:,.1f} GB at once"
            if found[2] == "bytes"
            else f"{found[1]} {found[2]} at once"
        )
    if any(overflow in text for overflow in _OVERFLOWS):
        return "more than can be counted"
    return "more than there is" if isinstance(error, MemoryError) else None


def _is_size(value: object) -> bool:
    parts = value if isinstance(value, list | tuple) and value else [value]
    return all(isinstance(part, int) and not isinstance(part, bool) for part in parts)


def _listed(value: object) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)
