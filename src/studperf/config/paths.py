"""Where the configuration lies, and how a path that a user names is found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

CONFIG_DIR = "STUDPERF_CONFIG_DIR"
"""The environment variable that carries --config-dir on to the worker processes of a study."""

PACKAGE = Path(__file__).resolve().parents[1]


def project_root() -> Path:
    """The folder that holds `conf/`: the checkout, or the installed package."""
    return PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1]


def config_dir() -> Path:
    """Where the YAML groups lie."""
    return project_root() / "conf"


def find_file(path: str) -> Path:
    """A path given by a user or a YAML: as it is, else below the checkout's root, so that every folder will do."""
    given = Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's ends in an error for a user that is not there
    if given.is_absolute() or given.exists():
        return given
    below = project_root() / given
    return below if below.exists() else given
