"""The commit and the table that a job is made from, read without heavy imports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.config.git import read_commit
from studperf.config.paths import config_dir, find_file
from studperf.data.dvc.tracked import NAME, md5_of, read_tracked
from studperf.errors import CloudError

if TYPE_CHECKING:
    from studperf.config.dataset import Dataset

# Git abbreviates to seven digits; a shorter tag, such as v1, names no commit.
_MIN_COMMIT = 7


@dataclass(frozen=True)
class Code:
    """The commit of the checkout, and whether files differ from it."""

    commit: str
    is_dirty: bool


@dataclass(frozen=True)
class Table:
    """The file with the rows: its place, its md5, and whether it is on this machine."""

    path: Path
    md5: str
    is_here: bool


def read_code() -> Code | None:
    """Return the checkout's commit; None for an installed package, or without git."""
    read = read_commit()
    if read is None:
        return None
    return Code(*read)


def read_table(dataset: Dataset) -> Table | None:
    """Return the dataset's file; None where the dataset names none, so that its rows are simulated.

    Raises:
        CloudError: the file is not here. A job never simulates what it was to read, since nobody
            would see it.
    """
    given = dataset.source.path
    if given is None:
        return None
    path = find_file(given)
    tracked = _tracked_md5(path)
    if not path.is_file():
        if tracked is not None:
            return Table(path, tracked, is_here=False)
        raise CloudError(
            f"{given}: there is no such file here, and a job simulates no table in its place. "
            "Bring it (python -m studperf.data fetch), name it with data.source.path=FILE, "
            "or ask for simulated rows by name: data=simulated"
        )

    md5 = md5_of(path)
    if tracked not in (None, md5):
        raise CloudError(
            f"{path}: has md5 {md5}, but its .dvc file expects {tracked}. "
            "Bring that version back (python -m studperf.data fetch force=true) "
            "or accept this one (dvc commit)"
        )
    return Table(path, md5, is_here=True)


def _tracked_md5(path: Path) -> str | None:
    """Return the md5 that a `.dvc` file beside or above it names for a file."""
    path = path.resolve()
    beside = path.with_name(f"{path.name}.dvc")
    above = [folder / NAME for folder in path.parents]
    for dvc_file in (beside, *above):
        if not dvc_file.is_file():
            continue
        for file in read_tracked(dvc_file):
            if file.path == path:
                return file.md5
    return None


def _is_tag_of(image: str, commit: str) -> bool:
    """Return True if an image's tag is a commit; a digest names no commit, so it is False."""
    if "@" in image:
        return False
    tag = image.rpartition(":")[2]
    return len(tag) >= _MIN_COMMIT and commit.startswith(tag)


def warnings_about(code: Code | None, image: str | None) -> list[str]:
    """Return a line for each reason why the job may run other code than this checkout's."""
    warnings = []
    if code is None:
        warnings.append(
            "this is no git checkout, so nothing tells whether the image holds the same code"
        )
    elif code.is_dirty:
        warnings.append(
            "the checkout has changes that are not committed: the image does not hold them"
        )

    if code is not None and image is not None and not _is_tag_of(image, code.commit):
        warnings.append(
            f"the tag of {image} is not the commit of the checkout ({code.commit[:12]}): "
            "the image may hold other code"
        )

    own = Path.cwd() / "conf"
    if own.is_dir() and own.resolve() != config_dir().resolve():
        warnings.append(f"the groups in {own} are not in the image, unless you put them there")
    return warnings
