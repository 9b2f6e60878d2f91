"""Brings the tracked version of a table from DVC's remote, or stores it there; every file is held against its md5."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from studperf.data.remote import Moved, Store, copy_whole, open_cache, open_remote
from studperf.data.tracked import Tracked, find_dvc_file, md5_of, read_movable
from studperf.errors import DataError, listing


@dataclass(frozen=True)
class Place:
    """What is to be moved, and where `.dvc/` lies."""

    dvc_file: Path
    root: Path
    files: tuple[Tracked, ...]


def find_place(dvc_file: str | None) -> Place:
    """The tracked files, and the folder that holds `.dvc/`.

    Raises:
        DataError: there is no `.dvc` file or no `.dvc/`.
    """
    path = find_dvc_file(dvc_file)
    root = next((folder for folder in path.parents if (folder / ".dvc").is_dir()), None)
    if root is None:
        raise DataError(
            f"{path}: there is no .dvc/ beside or above it, so no remote either. Make one: dvc init && dvc remote add -d ..."
        )
    return Place(path, root, read_movable(path))


def fetch(
    place: Place, console: Console, *, remote: str | None = None, is_forced: bool = False
) -> None:
    """Puts the tracked version of each file in its place: from the cache on this disk, else from the remote.

    Raises:
        DataError: a file was changed here, or the remote does not have it whole.
    """
    wanted = _to_fetch(place, console, is_forced=is_forced)
    if not wanted:
        return
    for file in wanted:
        kept, where = bring(file, place, console, remote=remote)
        copy_whole(kept, file.path)
        console.print(
            f"Fetched {_named(file, place)} from {where} (md5 {file.md5}, as {place.dvc_file.name} says)",
            soft_wrap=True,
        )


def bring(
    file: Tracked, place: Place, console: Console, *, remote: str | None = None
) -> tuple[Path, str]:
    """A version of a file in the cache on this disk, fetched if it is not there whole; and where it came from.

    Raises:
        DataError: the remote does not have it whole.
    """
    kept = Path(open_cache(place.root).path_of(file.md5))
    if kept.is_file() and md5_of(kept) == file.md5:
        return kept, "the cache"
    store = open_remote(place.root, remote)
    size = file.size if file.size is not None else store.size_of(file.md5)
    with _moving(console, f"Fetching {file.path.name}", size) as moved:
        store.fetch(file.md5, kept, moved)
    return kept, store.url


def push(place: Place, console: Console, *, remote: str | None = None) -> None:
    """Stores the tracked version of each file at the remote, unless it is there whole already.

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
            console.print(
                f"{_named(file, place)}: {store.url} has it already (md5 {file.md5})",
                soft_wrap=True,
            )
            continue
        if had is not None:
            console.print(
                f"warning: what {store.url} keeps as {file.md5} is damaged; it is replaced",
                style="yellow",
                soft_wrap=True,
            )
        with _moving(console, f"Pushing {file.path.name}", size) as moved:
            store.push(file.md5, source, moved)
        console.print(
            f"Pushed {_named(file, place)} to {store.url} (md5 {file.md5})", soft_wrap=True
        )


def _to_fetch(place: Place, console: Console, *, is_forced: bool) -> list[Tracked]:
    wanted, faults = [], []
    for file in place.files:
        if not file.path.exists():
            wanted.append(file)
        elif (here := md5_of(file.path)) == file.md5:
            console.print(
                f"{_named(file, place)}: is there already, as {place.dvc_file.name} says (md5 {here})",
                soft_wrap=True,
            )
        elif is_forced:
            wanted.append(file)
        else:
            faults.append(
                f"{_named(file, place)}: has md5 {here}, {place.dvc_file.name} says {file.md5}"
            )
    if faults:
        way_out = f"fetch force=true replaces them; to keep them as the new version: dvc commit {place.dvc_file.name}"
        raise DataError(listing("Files were changed here and are kept", faults) + f"\n{way_out}")
    return wanted


def _find_source(file: Tracked, cache: Store, place: Place) -> Path:
    """The file to push: where it belongs, else in the cache."""
    here = md5_of(file.path) if file.path.is_file() else None
    if here == file.md5:
        return file.path
    kept = Path(cache.path_of(file.md5))
    if kept.is_file() and md5_of(kept) == file.md5:
        return kept
    if here is None:
        raise DataError(
            f"{_named(file, place)}: is not here, so it can't be pushed. Bring it: python -m studperf.data fetch"
        )
    raise DataError(
        f"{_named(file, place)}: has md5 {here}, but {place.dvc_file.name} says {file.md5}. To push this version, accept it first: "
        f"dvc commit {place.dvc_file.name}"
    )


def _named(file: Tracked, place: Place) -> str:
    return str(file.path.relative_to(place.dvc_file.parent))


@contextmanager
def _moving(console: Console, what: str, size: int | None) -> Iterator[Moved]:
    """A bar on a terminal; elsewhere a line each ten seconds, so that a log shows life."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task(what, total=size)
    said = time.monotonic()

    def moved(n_bytes: int) -> None:
        nonlocal said
        bar.update(task, completed=n_bytes)
        if not console.is_terminal and time.monotonic() - said > _QUIET_S:
            said = time.monotonic()
            console.print(
                f"{what}: {n_bytes / 1e6:,.0f} MB" + (f" of {size / 1e6:,.0f}" if size else ""),
                soft_wrap=True,
            )

    if not console.is_terminal:
        yield moved
        return
    with bar:
        yield moved


_QUIET_S = 10.0
