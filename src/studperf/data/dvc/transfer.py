"""Fetching the tracked version of a table from DVC's remote, and pushing it there.

Every file is checked against its md5.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from studperf.config.console import print_line, warn
from studperf.data.dvc.remote import OnBytes, Store, copy_whole, open_cache, open_remote
from studperf.data.dvc.tracked import Tracked, find_dvc_file, md5_of, read_movable
from studperf.errors import DataError, listing

# Seconds between two lines about a transfer where there is no terminal.
_QUIET_S = 10.0


@dataclass(frozen=True)
class Place:
    """The files that are to be moved, and the folder that holds `.dvc/`."""

    dvc_file: Path
    root: Path
    files: tuple[Tracked, ...]


def find_place(dvc_file: str | None) -> Place:
    """Return the tracked files, and the folder that holds `.dvc/`.

    Raises:
        DataError: there is no `.dvc` file or no `.dvc/`.
    """
    path = find_dvc_file(dvc_file)
    root = next((folder for folder in path.parents if (folder / ".dvc").is_dir()), None)
    if root is None:
        raise DataError(
            f"{path}: there is no .dvc/ beside or above it, so no remote either. "
            "Make one: dvc init && dvc remote add -d ..."
        )
    return Place(path, root, read_movable(path))


def fetch(
    place: Place, console: Console, *, remote: str | None = None, is_forced: bool = False
) -> None:
    """Put the tracked version of each file in its place.

    It comes from the cache on this disk, else from the remote.

    Raises:
        DataError: a file was changed here, or the remote does not have it whole.
    """
    for file in _find_wanted(place, console, is_forced=is_forced):
        kept, where = bring(file, place, console, remote=remote)
        copy_whole(kept, file.path)
        print_line(
            console,
            f"Fetched {_name(file, place)} from {where} "
            f"(md5 {file.md5}, as {place.dvc_file.name} says)",
        )


def bring(
    file: Tracked, place: Place, console: Console, *, remote: str | None = None
) -> tuple[Path, str]:
    """Return a version of a file in the cache on this disk, and where it came from.

    It is fetched from the remote if it is not in the cache whole.

    Raises:
        DataError: the remote does not have it whole.
    """
    kept = Path(open_cache(place.root).path_of(file.md5))
    if kept.is_file() and md5_of(kept) == file.md5:
        return kept, "the cache"

    store = open_remote(place.root, remote)
    size = file.size
    if size is None:
        size = store.size_of(file.md5)
    with _moving(console, f"Fetching {file.path.name}", size) as moved:
        store.fetch(file.md5, kept, moved)
    return kept, store.url


def push(place: Place, console: Console, *, remote: str | None = None) -> None:
    """Store the tracked version of each file at the remote, unless it is there whole already.

    Raises:
        DataError: a file is not what the `.dvc` file says, or the remote does not take it.
    """
    cache = open_cache(place.root)
    sources = {file: _find_source(file, cache, place) for file in place.files}
    store = open_remote(place.root, remote)
    for file, source in sources.items():
        size = source.stat().st_size
        had = store.size_of(file.md5)
        if had is not None and store.is_whole(file.md5, size):
            print_line(
                console, f"{_name(file, place)}: {store.url} has it already (md5 {file.md5})"
            )
            continue

        if had is not None:
            warn(console, f"what {store.url} keeps as {file.md5} is damaged; it is replaced")
        with _moving(console, f"Pushing {file.path.name}", size) as moved:
            store.push(file.md5, source, moved)
        print_line(console, f"Pushed {_name(file, place)} to {store.url} (md5 {file.md5})")


def _find_wanted(place: Place, console: Console, *, is_forced: bool) -> list[Tracked]:
    """Return the files to fetch; print those that are there already."""
    wanted = []
    faults = []
    for file in place.files:
        if not file.path.exists():
            wanted.append(file)
            continue
        here = md5_of(file.path)
        if here == file.md5:
            print_line(
                console,
                f"{_name(file, place)}: is there already, "
                f"as {place.dvc_file.name} says (md5 {here})",
            )
        elif is_forced:
            wanted.append(file)
        else:
            faults.append(
                f"{_name(file, place)}: has md5 {here}, {place.dvc_file.name} says {file.md5}"
            )

    if faults:
        way_out = (
            "fetch force=true replaces them; "
            f"to keep them as the new version: dvc commit {place.dvc_file.name}"
        )
        raise DataError(listing("Files were changed here and are kept", faults) + f"\n{way_out}")
    return wanted


def _find_source(file: Tracked, cache: Store, place: Place) -> Path:
    """Return the file to push: the one in its place, else the one in the cache."""
    here = None
    if file.path.is_file():
        here = md5_of(file.path)
    if here == file.md5:
        return file.path
    kept = Path(cache.path_of(file.md5))
    if kept.is_file() and md5_of(kept) == file.md5:
        return kept
    if here is None:
        raise DataError(
            f"{_name(file, place)}: is not here, so it can't be pushed. "
            "Bring it: python -m studperf.data fetch"
        )
    raise DataError(
        f"{_name(file, place)}: has md5 {here}, but {place.dvc_file.name} says {file.md5}. "
        f"To push this version, accept it first: dvc commit {place.dvc_file.name}"
    )


def _name(file: Tracked, place: Place) -> str:
    """Return a file's path as the `.dvc` file writes it."""
    return str(file.path.relative_to(place.dvc_file.parent))


@contextmanager
def _moving(console: Console, what: str, size: int | None) -> Iterator[OnBytes]:
    """Show a bar on a terminal, and print a line each ten seconds elsewhere.

    So a log shows that the command is alive.
    """
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task(what, total=size)
    printed_at = time.monotonic()

    def moved(n_bytes: int) -> None:
        nonlocal printed_at
        bar.update(task, completed=n_bytes)
        if console.is_terminal or time.monotonic() - printed_at <= _QUIET_S:
            return
        printed_at = time.monotonic()
        line = f"{what}: {n_bytes / 1e6:,.0f} MB"
        if size:
            line += f" of {size / 1e6:,.0f}"
        print_line(console, line)

    if not console.is_terminal:
        yield moved
        return
    with bar:
        yield moved
