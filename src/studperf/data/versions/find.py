"""Versions of a table: a file, an md5, or what `data.dvc` named at a git revision."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from studperf.config.dataset import Dataset
from studperf.config.paths import expand_user
from studperf.data.dvc.tracked import Tracked, as_written, is_md5, md5_of, parse_tracked
from studperf.data.dvc.transfer import Place, bring, find_place
from studperf.data.source import find_source, read_file
from studperf.errors import DataError


@dataclass(frozen=True)
class Version:
    """A table as it was read, and its name for people."""

    name: str
    md5: str
    raw: pd.DataFrame


def read_current(dataset: Dataset) -> Version:
    """Read the table that lies in its place, committed or not.

    Raises:
        DataError: it is not there.
    """
    path = find_source(dataset)
    if path is None:
        raise DataError(
            f"{dataset.source.path}: is not here, and simulated rows have no versions. "
            "Bring it: python -m studperf.data fetch"
        )
    return Version("now", md5_of(path), read_file(path, dataset.source))


def read_version(
    against: str,
    dataset: Dataset,
    folder: Path,
    console: Console,
    *,
    current: Version,
    remote: str | None = None,
) -> Version:
    """Read another version of the dataset's table.

    Args:
        against: a file, an md5, or a git revision.
        dataset: says how the file is written.
        folder: for a copy of it.
        console: shows a download.
        current: the table that is here; a version that equals it needs no remote.
        remote: DVC's, the default one if None.

    Raises:
        DataError: there is no such version, or it can't be had.
    """
    given = expand_user(against)
    if given.is_file():
        return Version(str(against), md5_of(given), read_file(given, dataset.source))

    place = find_place(None)
    tracked = _tracked_now(dataset, place)
    if is_md5(against):
        file = Tracked(tracked.path, against, None)
    else:
        file = _tracked_at(against, tracked, place)
    if file.md5 == current.md5:
        return Version(against, file.md5, current.raw)

    # A copy, since in the cache the file has no ending by which its format is known.
    copy = folder / tracked.path.name
    cached, *_ = bring(file, place, console, remote=remote)
    shutil.copyfile(cached, copy)
    return Version(against, file.md5, read_file(copy, dataset.source))


def _tracked_now(dataset: Dataset, place: Place) -> Tracked:
    """Return the version of the dataset's table that the `.dvc` file names."""
    path = find_source(dataset)
    found = [file for file in place.files if path is not None and file.path == as_written(path)]
    if not found:
        raise DataError(
            f"{place.dvc_file} does not track {dataset.source.path}, "
            "so there are no versions of it; name a file instead"
        )
    return found[0]


def _tracked_at(revision: str, tracked: Tracked, place: Place) -> Tracked:
    """Return the version that the `.dvc` file named for the same path at a revision."""
    folder = place.dvc_file.parent
    name = place.dvc_file.name
    # After --end-of-options git takes nothing that a user types for an option.
    options = ["--verify", "--quiet", "--end-of-options"]
    commit = _git("rev-parse", *options, f"{revision}^{{commit}}", folder=folder)
    if commit is None:
        raise DataError(
            f"--against {revision}: is no file, no md5 and no git revision here "
            "(in a shallow clone: git fetch --unshallow)"
        )

    text = _git("show", f"{commit.strip()}:./{name}", folder=folder)
    if text is None:
        raise DataError(f"--against {revision}: there was no {name} at that revision")
    found = [file for file in parse_tracked(text, place.dvc_file) if file.path == tracked.path]
    if not found or not is_md5(found[0].md5):
        raise DataError(
            f"--against {revision}: {name} did not track {tracked.path.name} then; "
            "name a file or an md5 instead"
        )
    return found[0]


def _git(*words: str, folder: Path) -> str | None:
    """Run git in a folder; return its output, or None if it failed."""
    try:
        done = subprocess.run(  # noqa: S603 - after --end-of-options
            ["git", *words], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise DataError(
            "git is not installed, so a revision can't be looked up; name a file or an md5 instead"
        ) from error
    if done.returncode != 0:
        return None
    return done.stdout
