"""Brings home what a job left in its bucket: records, checkpoints, bundles, studies. A job that still runs gives what it has."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from studperf.cloud.gcs import Blob, Folder
from studperf.data.tracked import md5_of
from studperf.errors import CloudError

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.cloud.vertex import Job
    from studperf.cloud.wire import Google

RUNS = "runs"
"""In a job's folder: what it has below `runs`."""


def fetch(google: Google, job: Job, runs: Path, console: Console) -> list[Path]:
    """Copies what is not here yet, or has changed; returns the runs and studies that the job has.

    Raises:
        CloudError: the job left nothing, or what arrived is not what its md5 says.
    """
    folder = Folder(google, job.folder).below(RUNS)
    blobs = list(folder.blobs())
    if not blobs:
        raise CloudError(
            f"{job.name}: there is nothing in {folder.uri} yet; the job is {job.state}. See: python -m studperf.cloud logs {job.name}"
        )
    new = [blob for blob in blobs if not _is_here(runs, blob)]
    for blob in new:
        folder.download(blob.name, place(runs, blob))
    size = sum(blob.size for blob in new)
    console.print(f"{len(new)} of {len(blobs)} files fetched ({size:,} bytes) from {folder.uri} into {runs}", soft_wrap=True, markup=False)
    return sorted({runs / _unit(PurePosixPath(blob.name)) for blob in blobs})


def place(runs: Path, blob: Blob) -> Path:
    """Where an object belongs here.

    Raises:
        CloudError: its name leads out of the folder.
    """
    name = PurePosixPath(blob.name)
    if name.is_absolute() or ".." in name.parts or "\\" in blob.name:
        raise CloudError(f"{blob.name!r}: is no name of a file below {runs}; somebody else writes into this bucket")
    return runs.joinpath(*name.parts)


def show(found: list[Path], console: Console) -> None:
    """A line for each run or study, and what can be done with it."""
    for path in found:
        record = path / "record.json"
        if record.is_file():
            known = json.loads(record.read_text(encoding="utf-8"))
            verdict = (known.get("judgement") or {}).get("verdict", {}).get("line", known.get("status"))
            simulated = "SIMULATED data. " if known["data"]["is_simulated"] else ""
            console.print(f"{path}: {simulated}{verdict}", soft_wrap=True, markup=False)
        else:
            what = "python -m studperf.sweeps show" if path.parent.name == "sweeps" else "python -m studperf.compare"
            console.print(f"{path}: see {what} {path}", soft_wrap=True, markup=False)


def _is_here(runs: Path, blob: Blob) -> bool:
    path = place(runs, blob)
    if blob.md5 is None or not path.is_file() or path.stat().st_size != blob.size:
        return False
    return md5_of(path) == blob.md5


def _unit(name: PurePosixPath) -> PurePosixPath:
    """The folder of a run, of several, or of a study: runs/sweeps/STUDY."""
    return PurePosixPath(*name.parts[: 2 if name.parts[0] == "sweeps" else 1])
