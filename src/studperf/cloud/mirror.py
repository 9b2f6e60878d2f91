"""Keeps a folder of the bucket like a folder here, as it is written, so that a machine that is taken away can be replaced."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from studperf.cloud.fetch import place
from studperf.data.tracked import md5_of
from studperf.errors import CloudError

if TYPE_CHECKING:
    from studperf.cloud.gcs import Folder

_LEADING = frozenset(("last.ckpt", "study.journal"))
"""What others have to agree with: read before them and written after them, so that in the bucket the others are never older.

A run goes on well with a best epoch that is newer than its last checkpoint, and not with an older one.
"""
_LARGE = 64 << 20
Stamp = tuple[int, int]
"""When a file was changed, in ns, and its size."""


class Mirror:
    """A folder here and its copy.

    Args:
        here: the folder that is written to.
        there: its copy in a bucket.
    """

    def __init__(self, here: Path, there: Folder) -> None:
        self.here, self.there = here, there
        self._sent: dict[Path, Stamp] = {}
        self._lock = Lock()

    def restore(self) -> int:
        """Brings here what is there; returns the number of files."""
        blobs = list(self.there.blobs())
        for blob in blobs:
            path = place(self.here, blob)
            self.there.download(blob.name, path)
            self._sent[path] = _stamp(path)
        return len(blobs)

    def sync(self) -> int:
        """Sends what has changed; returns the number of files.

        Raises:
            CloudError: the bucket can't be reached; what was not sent is sent the next time.
        """
        with self._lock:
            changed = [
                (path, stamp) for path, stamp in self._files() if self._sent.get(path) != stamp
            ]
            leading = [
                (path, stamp, content)
                for path, stamp in changed
                if path.name in _LEADING and (content := _read(path)) is not None
            ]
            for path, stamp in changed:
                if path.name not in _LEADING:
                    self._send(path, stamp)
            for path, stamp, content in leading:
                self.there.write(self._name(path), content)
                self._sent[path] = stamp
            return len(changed)

    def _send(self, path: Path, stamp: Stamp) -> None:
        if stamp[1] < _LARGE:
            content = _read(path)
            if content is None:
                return
            self.there.write(self._name(path), content)
        else:
            self.there.upload(path, self._name(path), md5_of(path))
        self._sent[path] = stamp

    def _files(self) -> Iterator[tuple[Path, Stamp]]:
        """Those that are no link, lock or half-written: names with a dot in front are our own and no result."""
        for path in sorted(self.here.rglob("*")):
            if (
                any(part.startswith(".") for part in path.relative_to(self.here).parts)
                or path.is_symlink()
            ):
                continue
            try:
                if path.is_file():
                    yield path, _stamp(path)
            except FileNotFoundError:
                continue

    def _name(self, path: Path) -> str:
        return path.relative_to(self.here).as_posix()


class Ticking:
    """Does something every few seconds in the background; what goes wrong is said, and tried again.

    Args:
        work: what is done.
        every_s: seconds between two times.
    """

    def __init__(self, work: Callable[[], object], every_s: float) -> None:
        self.work, self.every_s = work, every_s
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self.every_s):
            try:
                self.work()
            except (CloudError, OSError) as error:
                sys.stderr.write(f"WARNING: not all could be copied to the bucket yet: {error}\n")


def _stamp(path: Path) -> Stamp:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _read(path: Path) -> bytes | None:
    """A file's content; None if it is gone by now."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
