"""The configuration groups, such as `model`, and how Hydra wants an option of one to be chosen."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from studperf.config.paths import CONFIG_DIR, config_dir

# Hydra reads an unquoted word that is no such name as a number, a truth value or a fault.
_NAME = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z_][\w./+-]*", re.ASCII | re.IGNORECASE)


def group_names() -> set[str]:
    """Return the configuration groups: the folders of conf/ and of a user's own.

    Asking Hydra for them takes as long as composing.
    """
    names: set[str] = set()
    for root in group_roots():
        names |= {folder.name for folder in root.iterdir() if folder.is_dir()}
    return names - {"hydra"}


def group_roots() -> list[Path]:
    """Return the folders that hold configuration groups.

    These are studperf's, ./conf, and that of --config-dir.
    """
    roots = [config_dir(), Path.cwd() / "conf"]
    if CONFIG_DIR in os.environ:
        roots.append(Path(os.environ[CONFIG_DIR]))
    return [root for root in roots if root.is_dir()]


def write_group(group: str, option: str) -> str:
    """Return the word that chooses a group's option.

    Hydra wants a plus before a group that the root configuration does not name, such as
    `+experiment=first`, and none before the others.

    Args:
        group: of an option, or of several that a multirun goes through.
        option: its name, as `write_option` gives it.
    """
    file = config_dir() / "train.yaml"
    named = _groups_of_root(file, file.stat().st_mtime_ns)
    if group_of(group) in named or group.startswith("hydra"):
        return f"{group}={option}"
    return f"+{group}={option}"


def write_option(name: str) -> str:
    """Return an option's name so that Hydra takes it as text, `'2020'` for `2020`.

    Hydra 1.3.8 ends in a traceback where a group is set to a number.
    """
    if _NAME.fullmatch(name):
        return name
    escaped = name.replace("'", "\\'")
    return f"'{escaped}'"


def read_option(value: str) -> str:
    """Return the name of an option that may have been quoted."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1].replace(f"\\{value[0]}", value[0])
    return value


@cache
def _groups_of_root(file: Path, mtime_ns: int) -> frozenset[str]:  # noqa: ARG001 - for the cache
    """Return the groups in the defaults list of the root configuration.

    With the time of its last change as an argument, a changed file is read again.
    """
    root = OmegaConf.to_container(OmegaConf.load(file))
    entries = root.get("defaults") or []  # type: ignore[union-attr] # a mapping
    keys: list[str] = []
    for entry in entries:
        if isinstance(entry, dict):
            keys += [str(key) for key in entry]
    names = [key.removeprefix("optional ").removeprefix("override ") for key in keys]
    return frozenset(name.lstrip("/").split("@")[0] for name in names)


def group_of(key: str) -> str:
    """Return the group of a key such as `group@package`."""
    return key.split("@", maxsplit=1)[0]


def is_group(key: str, groups: set[str]) -> bool:
    """Return True if a key names a configuration group, of studperf or of Hydra."""
    group = group_of(key)
    return group in groups or "/" in group
