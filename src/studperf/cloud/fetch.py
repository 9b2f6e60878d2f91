"""Brings home what a job left in its bucket: records, checkpoints, bundles, studies. A job that still runs gives what it has."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from studperf.cloud.gcs import Blob, Folder
from studperf.data.tracked import md5_of
from studperf.errors import CloudError

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.cloud.vertex import Job
    from studperf.cloud.wire import Google

RUNS = "runs"
"""In a job's folder: what it has below `runs`."""
FETCHED = ".fetched.json"
"""Below `runs` here: what was fetched, so that nothing else is ever replaced."""


def fetch(google: Google, job: Job, runs: Path, console: Console) -> list[Path]:
    """Copies what is not here yet, or has changed; returns the runs and studies that the job has.

    A file that is here is replaced only if an earlier fetch of the same job brought it, and it is still as it came.

    Raises:
        CloudError: the job left nothing, what arrived is not what its md5 says, or it would replace what is somebody else's.
    """
    folder = Folder(google, job.folder).below(RUNS)
    blobs = list(folder.blobs())
    if not blobs:
        raise CloudError(
            f"{job.name}: there is nothing in {folder.uri} yet; the job is {job.state}. See: python -m studperf.cloud logs {job.name}"
        )
    fetched = _read_fetched(runs)
    known = fetched.setdefault(job.name, {})
    states = {blob.name: _look(place(runs, blob), blob, known.get(blob.name)) for blob in blobs}
    new = [blob for blob in blobs if states[blob.name] == "older"]
    growing = {_unit(blob.name) for blob in new}
    if others := [
        name
        for name, state in states.items()
        if state == "another" or (state == "changed" and _unit(name) in growing)
    ]:
        units = ", ".join(sorted({str(runs / _unit(name)) for name in others}))
        raise CloudError(
            f"{units}: {len(others)} file{'s' if len(others) > 1 else ''} here would be lost, such as {others[0]}: another run or study "
            "has the same name, or it was gone on with here. Nothing was fetched. Bring the job's into a folder of its own: "
            f"python -m studperf.cloud fetch {job.name} runs={runs}-{job.name}"
        )
    try:
        for blob in new:
            folder.download(blob.name, place(runs, blob))
            known[blob.name] = md5_of(place(runs, blob))
    finally:
        if known:
            (runs / FETCHED).write_text(json.dumps(fetched, indent=1), encoding="utf-8")
    size = sum(blob.size for blob in new)
    console.print(
        f"{len(new)} of {len(blobs)} files fetched ({size:,} bytes) from {folder.uri} into {runs}",
        soft_wrap=True,
        markup=False,
    )
    return sorted({runs / _unit(blob.name) for blob in blobs})


def _look(
    path: Path, blob: Blob, fetched: str | None
) -> Literal["here", "older", "changed", "another"]:
    """What lies where an object belongs.

    Args:
        path: where.
        blob: the object.
        fetched: the md5 with which the job's own last came; what was `changed` here since then is newer than the job's, which was not.
    """
    if not path.exists():
        return "older"
    md5 = md5_of(path) if path.is_file() else None
    if blob.md5 is not None and blob.md5 == md5:
        return "here"
    if blob.md5 is not None and blob.md5 == fetched:
        return "changed"
    return "older" if md5 is not None and md5 == fetched else "another"


def _read_fetched(runs: Path) -> dict[str, dict[str, str]]:
    """Job -> file -> md5, of what was fetched into this folder."""
    try:
        found: dict[str, dict[str, str]] = json.loads((runs / FETCHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def place(runs: Path, blob: Blob) -> Path:
    """Where an object belongs here.

    Raises:
        CloudError: its name leads out of the folder.
    """
    name = PurePosixPath(blob.name)
    if name.is_absolute() or ".." in name.parts or "\\" in blob.name:
        raise CloudError(
            f"{blob.name!r}: is no name of a file below {runs}; somebody else writes into this bucket"
        )
    return runs.joinpath(*name.parts)


def show(found: list[Path], console: Console) -> None:
    """A line for each run or study, and what can be done with it."""
    for path in found:
        record = path / "record.json"
        if record.is_file():
            known = json.loads(record.read_text(encoding="utf-8"))
            verdict = (
                (known.get("judgement") or {}).get("verdict", {}).get("line", known.get("status"))
            )
            simulated = "SIMULATED data. " if known["data"]["is_simulated"] else ""
            console.print(f"{path}: {simulated}{verdict}", soft_wrap=True, markup=False)
        else:
            what = (
                "python -m studperf.sweeps show"
                if path.parent.name == "sweeps"
                else "python -m studperf.compare"
            )
            console.print(f"{path}: see {what} {path}", soft_wrap=True, markup=False)


def _unit(name: str) -> PurePosixPath:
    """The folder of a run, of several, or of a study: runs/sweeps/STUDY."""
    parts = PurePosixPath(name).parts
    return PurePosixPath(*parts[: 2 if parts[0] == "sweeps" else 1])
