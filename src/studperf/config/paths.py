"""Paths of the configuration, and the search for a file that a user names."""

from __future__ import annotations

import os
from pathlib import Path

# The environment variable that carries --config-dir on to the worker processes of a study.
CONFIG_DIR = "STUDPERF_CONFIG_DIR"

PACKAGE = Path(__file__).resolve().parents[1]


def project_root() -> Path:
    """Return the folder that holds `conf/`: the checkout, or the installed package."""
    return PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1]


def config_dir() -> Path:
    """Return the folder of the YAML groups."""
    return project_root() / "conf"


def find_file(path: str) -> Path:
    """Return the path of a file that a user or a YAML names.

    A relative path is looked for in the current folder, then below the checkout's root, so that a
    command works in any folder.
    """
    given = expand_user(path)
    if given.is_absolute() or given.exists():
        return given
    below = project_root() / given
    return below if below.exists() else given


def expand_user(path: str) -> Path:
    """Return a path with `~` replaced by the user's home."""
    # pathlib's `expanduser` ends in an error for a user that is not there.
    return Path(os.path.expanduser(path))  # noqa: PTH111 - see above
