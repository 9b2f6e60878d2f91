"""Files and folders: checked before they are opened, and written whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studperf.errors import DataError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+:)/", re.IGNORECASE)
_OTHER_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_file(path: Path) -> int:
    """Check that a path is a regular file that holds something, and return its size in bytes.

    A pipe or a device may never end, so it is refused before it is opened. Files below `/proc` are
    regular, but their size reads 0.

    Raises:
        DataError: says what the path is instead, and the way out.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        if scheme := _SCHEME.match(str(path)):
            # A path has lost a slash, by which the user of an address is known and masked.
            address = f"{scheme[1]}//{str(path)[scheme.end() :]}"
            way_out = "bring the table to this machine first, and name the file"
            raise DataError(
                f"{address}: is an address, and only files are read; {way_out}"
            ) from error
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise DataError(f"{path}: can't be looked for: {_reason(error)}") from error
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{path}: is a folder; name the CSV or Parquet file in it")
    for is_kind, name in _OTHER_KINDS:
        if is_kind(found.st_mode):
            raise DataError(
                f"{path}: is {name}, and only files are read, whose size is known. "
                "Save it as a file, and name that"
            )
    if not found.st_size:
        raise DataError(f"{path}: is empty; a table has a header, and rows below it")
    return found.st_size


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a hidden file beside a path, and rename it to that path if the block succeeds.

    A reader sees the old file or the new one, even if the process is killed.
    """
    # One name, so that what a kill leaves behind is overwritten by the next write.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        # The rename may reach the disk before the content does: a power cut would leave an empty
        # file of the new name.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Yield a hidden, empty folder; it is put in the given folder's place if all goes well.

    Until then the old folder stays as it is.
    """
    new = folder.with_name(f".{folder.name}.new")
    old = folder.with_name(f".{folder.name}.old")
    _remove(new, old)
    try:
        new.mkdir()
        yield new
        # A folder that holds something can't be replaced in one step, as a file can.
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        _remove(new, old)


def _remove(*folders: Path) -> None:
    """Remove folders with all that they hold, where they are there."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file's content in one step."""
    if isinstance(content, str):
        content = content.encode()
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
