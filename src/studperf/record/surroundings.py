"""A run's surroundings: commit, lock file, versions, hardware, the time."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

from studperf.config.git import read_commit
from studperf.config.paths import project_root
from studperf.record.files import COMMIT
from studperf.record.shape import Git, Hardware

_PACKAGES = (
    "studperf",
    "torch",
    "lightning",
    "hydra-core",
    "pandas",
    "numpy",
    "scikit-learn",
    "pyarrow",
    "pydantic",
    "tabm",
)


def now() -> str:
    """Return the current time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_git() -> Git | None:
    """Return the checkout's commit, or in an image the commit that it was built for.

    None for an installed package or without git.
    """
    if (read := read_commit()) is not None:
        return Git(commit=read[0], is_dirty=read[1])
    # An image that was built without a commit has "unknown".
    built_for = os.environ.get(COMMIT, "")
    if not re.fullmatch("[0-9a-f]{40}", built_for):
        return None
    return Git(commit=built_for, is_dirty=False)


def read_lock_hash() -> str | None:
    """Return the sha256 of the names and versions in `uv.lock`.

    None for an installed package.
    """
    lock = project_root() / "uv.lock"
    if not lock.is_file():
        return None
    lines = lock.read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line.startswith(("name = ", "version = "))]
    return hashlib.sha256("\n".join(pins).encode()).hexdigest()


def read_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a result."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def read_hardware(accelerator: str, n_threads: int) -> Hardware:
    """Return the hardware that the run runs on."""
    # On Linux Python names no more than the architecture, so the kernel is asked.
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return Hardware(
        platform=platform.platform(),
        cpu=cpu,
        n_cores=os.cpu_count() or 1,
        accelerator=accelerator,
        n_threads=n_threads,
    )
