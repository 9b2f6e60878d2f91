"""Fetching what a job left in its bucket: records, checkpoints, bundles, studies.

A job that still runs gives what it has.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from studperf.cloud.google.bucket import Blob, Folder
from studperf.config.console import print_line
from studperf.data.dvc.tracked import md5_of
from studperf.errors import CloudError
from studperf.record.files import RECORD, STUDIES

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.cloud.google.session import Google
    from studperf.cloud.google.vertex import Job

RUNS = "runs"
"""Folder of a job's runs, in its folder of the bucket."""
FETCHED = ".fetched.json"
"""File below `runs` here that lists what was fetched, so that nothing else is ever replaced."""
State = Literal["here", "older", "changed", "another"]
"""A file here beside the job's: the same, older, changed since it came, or not the job's."""


def fetch(google: Google, job: Job, runs: Path, console: Console) -> list[Path]:
    """Copy the files that are not here yet, or have changed; return the job's runs and studies.

    A file that is here is replaced only if an earlier fetch of the same job brought it, and it is
    still as it came.

    Raises:
        CloudError: the job left nothing, a file is not what its md5 says, or it would replace a
            file that is not the job's.
    """
    folder = Folder(google, job.folder).below(RUNS)
    blobs = list(folder.blobs())
    if not blobs:
        raise CloudError(
            f"{job.name}: there is nothing in {folder.uri} yet; the job is {job.state}. "
            f"See: python -m studperf.cloud logs {job.name}"
        )

    fetched = _read_fetched(runs)
    known = fetched.setdefault(job.name, {})
    states = {}
    for blob in blobs:
        fetched_md5 = known.get(blob.name)
        states[blob.name] = _compare(place(runs, blob), blob, fetched_md5)
    new = [blob for blob in blobs if states[blob.name] == "older"]
    _refuse_losses(job, runs, states)

    try:
        for blob in new:
            path = place(runs, blob)
            folder.download(blob.name, path)
            known[blob.name] = md5_of(path)
    finally:
        # Also after a failure: the next try has to know which files are the job's own.
        if known:
            (runs / FETCHED).write_text(json.dumps(fetched, indent=1), encoding="utf-8")

    size = sum(blob.size for blob in new)
    print_line(
        console,
        f"{len(new)} of {len(blobs)} files fetched ({size:,} bytes) from {folder.uri} into {runs}",
    )
    return sorted({runs / _unit(blob.name) for blob in blobs})


def _refuse_losses(job: Job, runs: Path, states: dict[str, State]) -> None:
    """Raise if a file here that is not the job's own would be replaced.

    A file that was changed here stays as it is, which is a loss only if its run or study gets newer
    files beside it.
    """
    growing = {_unit(name) for name, state in states.items() if state == "older"}
    others = []
    for name, state in states.items():
        is_torn = state == "changed" and _unit(name) in growing
        if state == "another" or is_torn:
            others.append(name)
    if not others:
        return

    units = ", ".join(sorted({str(runs / _unit(name)) for name in others}))
    plural = "s" if len(others) > 1 else ""
    raise CloudError(
        f"{units}: {len(others)} file{plural} here would be lost, such as {others[0]}: "
        "another run or study has the same name, or it was gone on with here. "
        "Nothing was fetched. Bring the job's into a folder of its own: "
        f"python -m studperf.cloud fetch {job.name} runs={runs}-{job.name}"
    )


def _compare(path: Path, blob: Blob, fetched: str | None) -> State:
    """Compare a job's object with the file that lies in its place.

    Args:
        path: the place here.
        blob: the object.
        fetched: the md5 with which the job's own last came; what was `changed` here since then is
            newer than the job's, which was not.
    """
    if not path.exists():
        return "older"
    md5 = None
    if path.is_file():
        md5 = md5_of(path)
    if blob.md5 is not None and blob.md5 == md5:
        return "here"
    if blob.md5 is not None and blob.md5 == fetched:
        return "changed"
    if md5 is not None and md5 == fetched:
        return "older"
    return "another"


def _read_fetched(runs: Path) -> dict[str, dict[str, str]]:
    """Return the md5 of each file that was fetched into this folder, by job and name."""
    try:
        text = (runs / FETCHED).read_text(encoding="utf-8")
        found: dict[str, dict[str, str]] = json.loads(text)
    except (OSError, ValueError):  # nothing was fetched into it yet
        return {}
    return found


def place(runs: Path, blob: Blob) -> Path:
    """Return the path here that an object belongs to.

    Raises:
        CloudError: its name leads out of the folder.
    """
    name = PurePosixPath(blob.name)
    if name.is_absolute() or ".." in name.parts or "\\" in blob.name:
        raise CloudError(
            f"{blob.name!r}: is no name of a file below {runs}; "
            "somebody else writes into this bucket"
        )
    return runs.joinpath(*name.parts)


def show(found: list[Path], console: Console) -> None:
    """Print a line for each run or study, with its verdict or the command that shows it."""
    for path in found:
        record = path / RECORD
        if record.is_file():
            known = json.loads(record.read_text(encoding="utf-8"))
            judgement = known.get("judgement") or {}
            verdict = judgement.get("verdict", {}).get("line", known.get("status"))
            simulated = "SIMULATED data. " if known["data"]["is_simulated"] else ""
            print_line(console, f"{path}: {simulated}{verdict}")
            continue

        command = "python -m studperf.compare"
        if path.parent.name == STUDIES:
            command = "python -m studperf.sweeps show"
        print_line(console, f"{path}: see {command} {path}")


def _unit(name: str) -> PurePosixPath:
    """Return the folder of the run, the repeated runs or the study that a file belongs to."""
    parts = PurePosixPath(name).parts
    if parts[0] == STUDIES:
        return PurePosixPath(*parts[:2])
    return PurePosixPath(parts[0])
