"""What a `.dvc` file says: which files it tracks, and the md5 of the version that belongs to this commit."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from studperf.config import project_root
from studperf.errors import DataError

NAME = "data.dvc"
_CHUNK = 1 << 20
_MD5_LENGTH = 32


@dataclass(frozen=True)
class Tracked:
    """One file that a `.dvc` file tracks."""

    path: Path
    """Where it belongs in the work tree."""
    md5: str
    size: int | None


def find_dvc_file(given: str | None = None) -> Path:
    """The `.dvc` file that is meant: the one named, else `data.dvc` in the current folder or above it, else the checkout's.

    Raises:
        DataError: there is none.
    """
    if given is not None:
        if not Path(given).is_file():
            raise DataError(f"{given}: no such file; name the .dvc file that tracks the table")
        return as_written(Path(given))
    here = Path.cwd()
    for folder in (here, *here.parents, project_root()):
        if (folder / NAME).is_file():
            return folder / NAME
    raise DataError(
        f"there is no {NAME} in {here} or above it. Track a table with: dvc add FILE; or name its .dvc file with dvc=FILE"
    )


def read_tracked(dvc_file: Path) -> tuple[Tracked, ...]:
    """The files that a `.dvc` file tracks.

    Raises:
        DataError: DVC did not write it.
    """
    try:
        return parse_tracked(dvc_file.read_text(encoding="utf-8"), dvc_file)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{dvc_file}: can't be read: {error}") from error


def parse_tracked(text: str, dvc_file: Path) -> tuple[Tracked, ...]:
    """As `read_tracked`, from the text of a version of the file.

    Raises:
        DataError: DVC did not write it.
    """
    try:
        outs = (yaml.safe_load(text) or {}).get("outs", [])
        return tuple(
            Tracked(as_written(dvc_file.parent / out["path"]), str(out["md5"]), out.get("size"))
            for out in outs
        )
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        what = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"{dvc_file}: is not a file that DVC wrote: {what}. Bring it back with git."
        ) from error


def read_movable(dvc_file: Path) -> tuple[Tracked, ...]:
    """The tracked files, each seen to be one that may be fetched to its place.

    Raises:
        DataError: it tracks nothing, a folder, something without an md5, or a place outside of its own folder.
    """
    files = read_tracked(dvc_file)
    if not files:
        raise DataError(f"{dvc_file}: tracks nothing. Track a table with: dvc add FILE")
    for file in files:
        if file.md5.endswith(".dir"):
            raise DataError(
                f"{dvc_file}: tracks the folder {file.path.name}/; use dvc pull, or track its files: dvc add FILE"
            )
        if not is_md5(file.md5):  # it becomes a part of paths
            raise DataError(
                f"{dvc_file}: {file.path.name}: {file.md5!r} is no md5. Bring the .dvc file back with git."
            )
        if as_written(dvc_file.parent) not in file.path.parents:
            raise DataError(
                f"{dvc_file}: {file.path} lies outside of the .dvc file's folder; nothing is written there"
            )
    return files


def as_written(path: Path) -> Path:
    """The absolute path without `..`, links not followed: what lies in a linked folder is where the project sees it."""
    return Path(os.path.normpath(path.absolute()))


def is_md5(text: str) -> bool:
    """Whether it is written as an md5 is."""
    return len(text) == _MD5_LENGTH and not set(text) - set("0123456789abcdef")


def md5_of(path: Path) -> str:
    """The md5 by which DVC knows a file."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
