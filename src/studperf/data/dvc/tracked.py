"""The contents of a `.dvc` file: the files that it tracks, and the md5 of this commit's version."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from studperf.config.paths import project_root
from studperf.errors import DataError, first_line

NAME = "data.dvc"
_MD5_LENGTH = 32


@dataclass(frozen=True)
class Tracked:
    """One file that a `.dvc` file tracks."""

    path: Path
    """Place in the work tree."""
    md5: str
    size: int | None


def find_dvc_file(given: str | None = None) -> Path:
    """Find the `.dvc` file that tracks the table.

    It is the one that is named, else `data.dvc` in the current folder or above it, else the
    checkout's.

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
        f"there is no {NAME} in {here} or above it. "
        "Track a table with: dvc add FILE; or name its .dvc file with dvc=FILE"
    )


def read_tracked(dvc_file: Path) -> tuple[Tracked, ...]:
    """Return the files that a `.dvc` file tracks.

    Raises:
        DataError: DVC did not write it.
    """
    try:
        return parse_tracked(dvc_file.read_text(encoding="utf-8"), dvc_file)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{dvc_file}: can't be read: {error}") from error


def parse_tracked(text: str, dvc_file: Path) -> tuple[Tracked, ...]:
    """Return the files that a version of a `.dvc` file tracks, from its text.

    Raises:
        DataError: DVC did not write it.
    """
    try:
        content = yaml.safe_load(text) or {}
        tracked = []
        for out in content.get("outs", []):
            path = as_written(dvc_file.parent / out["path"])
            tracked.append(Tracked(path, str(out["md5"]), out.get("size")))
        return tuple(tracked)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        what = first_line(error)
        raise DataError(
            f"{dvc_file}: is not a file that DVC wrote: {what}. Bring it back with git."
        ) from error


def read_movable(dvc_file: Path) -> tuple[Tracked, ...]:
    """Return the tracked files, each checked to be one that may be fetched to its place.

    Raises:
        DataError: it tracks nothing, a folder, something without an md5, or a place outside of its
            own folder.
    """
    files = read_tracked(dvc_file)
    if not files:
        raise DataError(f"{dvc_file}: tracks nothing. Track a table with: dvc add FILE")
    for file in files:
        if file.md5.endswith(".dir"):
            raise DataError(
                f"{dvc_file}: tracks the folder {file.path.name}/; "
                "use dvc pull, or track its files: dvc add FILE"
            )
        # It becomes a part of paths.
        if not is_md5(file.md5):
            raise DataError(
                f"{dvc_file}: {file.path.name}: {file.md5!r} is no md5. "
                "Bring the .dvc file back with git."
            )
        if as_written(dvc_file.parent) not in file.path.parents:
            raise DataError(
                f"{dvc_file}: {file.path} lies outside of the .dvc file's folder; "
                "nothing is written there"
            )
    return files


def as_written(path: Path) -> Path:
    """Return the absolute path without `..`, links not followed.

    What lies in a linked folder is where the project sees it.
    """
    return Path(os.path.normpath(path.absolute()))


def is_md5(text: str) -> bool:
    """Return True if a text is written as an md5 is."""
    return len(text) == _MD5_LENGTH and not set(text) - set("0123456789abcdef")


def md5_of(path: Path) -> str:
    """Return the md5 by which DVC knows a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, _new_md5).hexdigest()


def _new_md5() -> hashlib._Hash:
    # A system that allows secure hashes alone (FIPS) would refuse a plain md5.
    return hashlib.md5(usedforsecurity=False)
