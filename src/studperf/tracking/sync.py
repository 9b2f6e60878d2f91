"""Uploads what runs recorded offline, and says what arrived: by asking the server, as `wandb sync` ends with 0 either way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from studperf.errors import RunError
from studperf.record import WANDB, RunRecord
from studperf.tracking.mode import has_key, server_url
from studperf.tracking.reader import LoggedRun, read_run
from studperf.tracking.scribe import ARRIVED, answers

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Outcome = Literal["sent", "already there", "empty", "running", "unreadable", "missing"]
_WAIT_S = 0.5


@dataclass
class Upload:
    """One run: its logs in the order of time, more than one if it was resumed, and what became of them."""

    folder: Path
    logs: list[Path]
    outcome: Outcome = "missing"
    runs: list[LoggedRun] = field(default_factory=list)
    note: str = ""
    url: str = ""

    @property
    def n_rows(self) -> int:
        """Rows of history on disk."""
        return sum(len(run.history) for run in self.runs)

    @property
    def artifacts(self) -> set[str]:
        """What the logs hold beside the tables of media, which W&B names itself."""
        return {a.name for run in self.runs for a in run.artifacts if a.type != "run_table"}

    @property
    def summary(self) -> set[str]:
        """The keys of the summary, W&B's own left out."""
        return {key for run in self.runs for key in run.summary if not key.startswith("_")}

    @property
    def is_fine(self) -> bool:
        """Nothing of it is missing at the server, as far as there was something."""
        return self.outcome in ("sent", "already there", "empty", "running")


def sync(
    paths: Iterable[Path], console: Console, *, upload_s: float = 300.0, wait_s: float = 30.0
) -> list[Upload]:
    """Uploads the logs below the paths one by one and verifies each.

    Args:
        paths: run folders, or folders that hold them at any depth.
        console: for a line a run as it goes.
        upload_s: for each upload at most.
        wait_s: for the server to show what it was given.

    Raises:
        RunError: there is nothing to upload, no key, or no server that answers.
    """
    uploads = list(find_uploads(paths))
    if not uploads:
        raise RunError(
            f"{', '.join(map(str, paths))}: holds no W&B log; runs with tracking.wandb.mode=disabled leave none"
        )
    check(uploads)
    waiting = [upload for upload in uploads if upload.outcome == "missing"]
    if waiting:
        if not has_key():
            raise RunError(
                f"there is no key for {server_url()}: set WANDB_API_KEY, or run `wandb login`"
            )
        if not answers(server_url(), timeout_s=10):
            raise RunError(f"{server_url()} does not answer; try again later")
    for upload in waiting:
        console.print(
            f"uploading {upload.folder.name}, {upload.n_rows} rows", soft_wrap=True, markup=False
        )
        if _missing(upload):  # `wandb sync` would add rows that are there a second time
            send(upload, upload_s)
        verify(upload, wait_s)
    return uploads


def find_uploads(paths: Iterable[Path]) -> Iterator[Upload]:
    """The runs with logs, each once.

    Raises:
        RunError: a path does not exist.
    """
    seen: set[Path] = set()
    for path in paths:
        if not path.is_dir():
            raise RunError(f"{path}: there is no such folder")
        found = sorted(log for log in path.rglob(f"{WANDB}/*run-*/run-*.wandb") if log.is_file())
        by_run: dict[Path, list[Path]] = {}
        for log in found:
            by_run.setdefault(log.parents[2], []).append(log)
        for folder, logs in by_run.items():
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                # offline-run-<time>-<id> and run-<time>-<id>: the order of the sessions
                yield Upload(
                    folder, sorted(logs, key=lambda log: log.parent.name.removeprefix("offline-"))
                )


def check(uploads: Iterable[Upload]) -> None:
    """Reads each log first: one that can't be read makes `wandb sync` drop the others silently."""
    for upload in uploads:
        if _is_running(upload.folder):
            upload.outcome, upload.note = "running", "it goes on; upload it when it has ended"
            continue
        faults = []
        for log in upload.logs:
            try:
                upload.runs.append(read_run(log))
            except RunError as error:
                faults.append(str(error).removeprefix(f"{log}: "))
        if faults:
            upload.outcome, upload.note = "unreadable", "; ".join(faults)
        elif not upload.n_rows:
            upload.outcome, upload.note = "empty", "it ended before the first epoch"
        elif all(_has_arrived(run) for run in upload.runs):
            upload.outcome = "already there"


def send(upload: Upload, timeout_s: float) -> None:
    """`wandb sync` on each log, in a process of its own, as it may hang."""
    for run in upload.runs:
        if not run.history or _has_arrived(run):
            continue
        command = [
            sys.executable,
            "-m",
            "wandb",
            "sync",
            "--yes",
            "--include-online",
            "--include-synced",
            str(run.path.parent),
        ]
        home = upload.folder / WANDB
        places = {
            "WANDB_DIR": str(upload.folder),
            "WANDB_DATA_DIR": str(home / "data"),
            "WANDB_CACHE_DIR": str(home / "cache"),
        }
        env = {**os.environ, **places, "WANDB_ERROR_REPORTING": "false"}
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                command, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            upload.note = f"the upload took longer than {timeout_s:g} s"
            return
        if done.returncode:
            upload.note = f"wandb sync ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}"
            return


def verify(upload: Upload, wait_s: float) -> None:
    """Asks the server for rows, summary and artifacts until all are there or time is up."""
    deadline = time.monotonic() + (wait_s if not upload.note else 0.0)
    while missing := _missing(upload):
        if time.monotonic() >= deadline:
            upload.note = "; ".join(filter(None, [upload.note, *missing]))
            return
        time.sleep(_WAIT_S)
    upload.outcome, upload.note = "sent", ""
    for run in upload.runs:
        facts = {"url": upload.url, "rows": len(run.history), "bytes": run.path.stat().st_size}
        (run.path.parent / ARRIVED).write_text(json.dumps(facts) + "\n", encoding="utf-8")
    for place in ("data", "cache", "logs"):
        shutil.rmtree(upload.folder / WANDB / place, ignore_errors=True)


def show(uploads: Iterable[Upload]) -> Table:
    """A row for each run."""
    from rich.table import Table

    table = Table(title="W&B", title_justify="left")
    for name in ("run", "", "rows", "artifacts", ""):
        table.add_column(name, justify="right" if name == "rows" else "left", overflow="fold")
    for upload in uploads:
        style = None if upload.is_fine else "bold red"
        artifacts = ", ".join(sorted(upload.artifacts))
        table.add_row(
            upload.folder.name,
            upload.outcome,
            str(upload.n_rows),
            artifacts,
            upload.note or upload.url,
            style=style,
        )
    return table


def _is_running(folder: Path) -> bool:
    """Certainly: one that ran on another machine may have died there, and is uploaded as far as it came."""
    try:
        record = RunRecord.load(folder)
    except RunError:  # the log alone, moved away from its run
        return False
    return (
        record.status == "running" and record.process is not None and bool(record.process.is_alive)
    )


def _has_arrived(run: LoggedRun) -> bool:
    """Whether the log, as long as it is now, was seen at the server."""
    try:
        facts = json.loads((run.path.parent / ARRIVED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(facts["bytes"] == run.path.stat().st_size)


def _missing(upload: Upload) -> list[str]:
    """What the server does not have of a run, in words; empty if it has all."""
    try:
        there = _ask(upload)
    except Exception as error:  # noqa: BLE001 - a server may answer anything, and one run must not stop the others
        return [f"the server could not be asked: {type(error).__name__}: {error}"]
    faults = []
    if there["rows"] < upload.n_rows:
        faults.append(f"{there['rows']} of {upload.n_rows} rows arrived")
    if lost := sorted(upload.summary - there["summary"]):
        faults.append(f"not in the summary: {', '.join(lost[:5])}")
    if lost := sorted(upload.artifacts - there["artifacts"]):
        faults.append(f"artifacts not there: {', '.join(lost)}")
    return faults


def _ask(upload: Upload) -> dict[str, Any]:
    import wandb

    first = upload.runs[0]
    api = wandb.Api(timeout=20)
    run: Any = api.run(f"{first.entity or api.default_entity}/{first.project}/{first.id}")
    upload.url = str(run.url)
    rows = sum(1 for _ in run.scan_history())
    logged = [*run.logged_artifacts(), *run.used_artifacts()]
    artifacts = {
        artifact.name.partition(":")[0] for artifact in logged if str(artifact.state) == "COMMITTED"
    }
    return {"rows": rows, "summary": set(run.summary.keys()), "artifacts": artifacts}
