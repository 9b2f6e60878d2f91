"""A copy of a folder in the bucket, kept up to date while the folder is written.

A machine that is taken away can then be replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from studperf.cloud.fetch import place
from studperf.data.dvc.tracked import md5_of
from studperf.errors import CloudError

if TYPE_CHECKING:
    from studperf.cloud.google.bucket import Folder

# Files that all others have to agree with: read before them and written after them, so that in the
# bucket the others are never older. A run goes on well with a best epoch that is newer than its
# last checkpoint, and not with an older one.
_LEADING = frozenset(("last.ckpt", "study.journal"))
# Smaller files are read at once, so that they can't change between their md5 and their sending.
_LARGE = 64 << 20
Stamp = tuple[int, int]
"""Time of a file's last change in ns, and its size in bytes."""


class Mirror:
    """A folder here and its copy in a bucket.

    Args:
        here: the folder that is written to.
        there: its copy.
    """

    def __init__(self, here: Path, there: Folder) -> None:
        self.here = here
        self.there = there
        self._sent: dict[Path, Stamp] = {}
        self._lock = Lock()

    def restore(self) -> int:
        """Download all files of the copy; return their number."""
        blobs = list(self.there.blobs())
        for blob in blobs:
            path = place(self.here, blob)
            self.there.download(blob.name, path)
            self._sent[path] = _stamp(path)
        return len(blobs)

    def sync(self) -> int:
        """Upload the files that have changed; return their number.

        Raises:
            CloudError: the bucket can't be reached; what was not sent is sent the next time.
        """
        with self._lock:
            found = dict(self._files())
            changed = {
                path: stamp for path, stamp in found.items() if self._sent.get(path) != stamp
            }

            leading = {}
            for path in changed:
                if path.name not in _LEADING:
                    continue
                content = _read(path)
                if content is not None:
                    leading[path] = content

            for path, stamp in changed.items():
                if path.name not in _LEADING:
                    self._send(path, stamp)
            for path, content in leading.items():
                self.there.write(self._name(path), content)
                self._sent[path] = changed[path]
            return len(changed)

    def _send(self, path: Path, stamp: Stamp) -> None:
        """Upload a file, unless it is gone by now."""
        if stamp[1] < _LARGE:
            content = _read(path)
            if content is None:
                return
            self.there.write(self._name(path), content)
        else:
            self.there.upload(path, self._name(path), md5_of(path))
        self._sent[path] = stamp

    def _files(self) -> Iterator[tuple[Path, Stamp]]:
        """Yield the folder's results, with their stamps.

        Links are left out, and so are names with a dot in front: locks and half-written files.
        """
        for path in sorted(self.here.rglob("*")):
            parts = path.relative_to(self.here).parts
            is_hidden = any(part.startswith(".") for part in parts)
            if is_hidden or path.is_symlink():
                continue
            try:
                if path.is_file():
                    yield path, _stamp(path)
            # Half-written files are renamed, and old checkpoints deleted, while this goes on.
            except FileNotFoundError:
                continue

    def _name(self, path: Path) -> str:
        return path.relative_to(self.here).as_posix()


class Ticking:
    """A thread that does something every few seconds, until the `with` block ends.

    An error is printed, and the work is tried again the next time.

    Args:
        work: what is done.
        every_s: seconds between two times.
    """

    def __init__(self, work: Callable[[], object], every_s: float) -> None:
        self.work = work
        self.every_s = every_s
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
    """Return a file's content; None if it is gone by now."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
