"""What a job is made from: the commit, and the file with the rows. Read without importing anything heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.config import config_dir, find_file
from studperf.config.checkout import read_commit
from studperf.data.tracked import NAME, md5_of, read_tracked
from studperf.errors import CloudError

if TYPE_CHECKING:
    from studperf.config.dataset import Dataset


@dataclass(frozen=True)
class Code:
    """Where the code stands."""

    commit: str
    is_dirty: bool


@dataclass(frozen=True)
class Table:
    """The file with the rows: where it belongs, whether it is here, and its md5."""

    path: Path
    md5: str
    is_here: bool


def read_code() -> Code | None:
    """The checkout's commit; None for an installed package, or without git."""
    read = read_commit()
    return None if read is None else Code(*read)


def read_table(dataset: Dataset) -> Table | None:
    """The dataset's file; None where the dataset names none, so that its rows are simulated.

    Raises:
        CloudError: the file is not here. A job never simulates what it was to read: nobody would see it.
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
            f"{given}: there is no such file here, and a job simulates no table in its place. Bring it (python -m studperf.data fetch), "
            "name it with data.source.path=FILE, or ask for simulated rows by name: data=simulated"
        )
    md5 = md5_of(path)
    if tracked not in (None, md5):
        raise CloudError(
            f"{path}: has md5 {md5}, but its .dvc file expects {tracked}. Bring that version back (python -m studperf.data fetch force=true) or accept this one (dvc commit)"
        )
    return Table(path, md5, is_here=True)


def _tracked_md5(path: Path) -> str | None:
    """The md5 by which a `.dvc` file above or beside it knows a file."""
    path = path.resolve()
    beside = path.with_name(f"{path.name}.dvc")
    for dvc_file in (beside, *(folder / NAME for folder in path.parents)):
        if dvc_file.is_file() and (
            found := [file.md5 for file in read_tracked(dvc_file) if file.path == path]
        ):
            return found[0]
    return None


def warnings_about(code: Code | None, image: str | None) -> list[str]:
    """What makes the job run other code than lies here; each in a line."""
    warnings = []
    if code is None:
        warnings.append(
            "this is no git checkout, so nothing tells whether the image holds the same code"
        )
    elif code.is_dirty:
        warnings.append(
            "the checkout has changes that are not committed: the image does not hold them"
        )
    tag = "" if image is None else image.partition("@")[0].rpartition(":")[2]
    if (
        code is not None
        and image is not None
        and ("@" in image or not (len(tag) >= 7 and code.commit.startswith(tag)))  # noqa: PLR2004
    ):
        warnings.append(
            f"the tag of {image} is not the commit of the checkout ({code.commit[:12]}): the image may hold other code"
        )
    own = Path.cwd() / "conf"
    if own.is_dir() and own.resolve() != config_dir().resolve():
        warnings.append(f"the groups in {own} are not in the image, unless you put them there")
    return warnings
