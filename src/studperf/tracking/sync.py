"""Uploading what runs recorded offline, and verifying at the server what arrived.

`wandb sync` ends with 0 either way.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from studperf.config.console import print_line
from studperf.errors import RunError
from studperf.record.files import WANDB
from studperf.record.record import RunRecord
from studperf.tracking.log_file import LoggedRun, read_run
from studperf.tracking.mode import has_key, server_url
from studperf.tracking.process import ARRIVED, answers

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Outcome = Literal["sent", "already there", "empty", "running", "unreadable", "missing"]
# Seconds between two looks at the server.
_WAIT_S = 0.5


@dataclass
class Upload:
    """A run's logs and what became of them.

    The logs are in the order of time; a resumed run has more than one.
    """

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
        """Names of the logged artifacts, without the tables of media, which W&B names itself."""
        logged = chain.from_iterable(run.artifacts for run in self.runs)
        return {artifact.name for artifact in logged if artifact.type != "run_table"}

    @property
    def summary(self) -> set[str]:
        """Keys of the summary, without W&B's own."""
        logged = chain.from_iterable(run.summary for run in self.runs)
        return {key for key in logged if not key.startswith("_")}

    @property
    def is_fine(self) -> bool:
        """True if nothing of the run is missing at the server, as far as there was something."""
        return self.outcome in ("sent", "already there", "empty", "running")


def sync(
    paths: Iterable[Path], console: Console, *, upload_s: float = 300.0, wait_s: float = 30.0
) -> list[Upload]:
    """Upload the logs below the paths one by one, and verify each.

    Args:
        paths: run folders, or folders that hold them at any depth.
        console: for a line a run as it goes.
        upload_s: longest time for each upload.
        wait_s: longest time for the server to show what it was given.

    Raises:
        RunError: there is nothing to upload, no key, or no server that answers.
    """
    uploads = list(find_uploads(paths))
    if not uploads:
        raise RunError(
            f"{', '.join(map(str, paths))}: holds no W&B log; "
            "runs with tracking.wandb.mode=disabled leave none"
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
        print_line(console, f"uploading {upload.folder.name}, {upload.n_rows} rows")
        # `wandb sync` would add rows that are there a second time.
        if _find_missing(upload):
            send(upload, upload_s)
        verify(upload, wait_s)
    return uploads


def find_uploads(paths: Iterable[Path]) -> Iterator[Upload]:
    """Yield the runs that have logs, each once.

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
                yield Upload(folder, sorted(logs, key=_session))


def _session(log: Path) -> str:
    """Return what sorts logs in time, of offline-run-<time>-<id> and run-<time>-<id>."""
    return log.parent.name.removeprefix("offline-")


def check(uploads: Iterable[Upload]) -> None:
    """Read each log, and note those that need no upload or can't have one.

    A log that can't be read makes `wandb sync` drop the others silently.
    """
    for upload in uploads:
        if _is_running(upload.folder):
            upload.outcome = "running"
            upload.note = "it goes on; upload it when it has ended"
            continue

        faults = []
        for log in upload.logs:
            try:
                upload.runs.append(read_run(log))
            except RunError as error:
                faults.append(str(error).removeprefix(f"{log}: "))

        if faults:
            upload.outcome = "unreadable"
            upload.note = "; ".join(faults)
        elif not upload.n_rows:
            upload.outcome = "empty"
            upload.note = "it ended before the first epoch"
        elif all(_has_arrived(run) for run in upload.runs):
            upload.outcome = "already there"


def send(upload: Upload, timeout_s: float) -> None:
    """Run `wandb sync` on each log, in a process of its own, as it may hang."""
    for run in upload.runs:
        if not run.history or _has_arrived(run):
            continue
        options = ["--yes", "--include-online", "--include-synced"]
        command = [sys.executable, "-m", "wandb", "sync", *options, str(run.path.parent)]
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
            said = (done.stderr or done.stdout).strip()[-200:]
            upload.note = f"wandb sync ended with {done.returncode}: {said}"
            return


def verify(upload: Upload, wait_s: float) -> None:
    """Ask the server for rows, summary and artifacts until all are there or time is up."""
    deadline = time.monotonic()
    if not upload.note:  # else the upload has failed, and waiting would help nothing
        deadline += wait_s
    while True:
        missing = _find_missing(upload)
        if not missing:
            break
        if time.monotonic() >= deadline:
            upload.note = "; ".join(filter(None, [upload.note, *missing]))
            return
        time.sleep(_WAIT_S)

    upload.outcome = "sent"
    upload.note = ""
    for run in upload.runs:
        n_bytes = run.path.stat().st_size
        facts = {"url": upload.url, "rows": len(run.history), "bytes": n_bytes}
        (run.path.parent / ARRIVED).write_text(json.dumps(facts) + "\n", encoding="utf-8")
    for place in ("data", "cache", "logs"):
        shutil.rmtree(upload.folder / WANDB / place, ignore_errors=True)


def show(uploads: Iterable[Upload]) -> Table:
    """Return a table with a row for each run."""
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
    """Return True if a run certainly goes on.

    One that ran on another machine may have died there, and is uploaded as far as it came.
    """
    try:
        record = RunRecord.load(folder)
    except RunError:  # the log alone, moved away from its run
        return False
    if record.status != "running" or record.process is None:
        return False
    return bool(record.process.is_alive)


def _has_arrived(run: LoggedRun) -> bool:
    """Return True if the log, as long as it is now, was seen at the server."""
    try:
        facts = json.loads((run.path.parent / ARRIVED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(facts["bytes"] == run.path.stat().st_size)


def _find_missing(upload: Upload) -> list[str]:
    """Return in words what the server does not have of a run; empty if it has all."""
    try:
        there = _ask_server(upload)
    except Exception as error:  # noqa: BLE001 - one run must not stop the others
        return [f"the server could not be asked: {type(error).__name__}: {error}"]
    faults = []
    if there["rows"] < upload.n_rows:
        faults.append(f"{there['rows']} of {upload.n_rows} rows arrived")
    lost = sorted(upload.summary - there["summary"])
    if lost:
        faults.append(f"not in the summary: {', '.join(lost[:5])}")
    lost = sorted(upload.artifacts - there["artifacts"])
    if lost:
        faults.append(f"artifacts not there: {', '.join(lost)}")
    return faults


def _ask_server(upload: Upload) -> dict[str, Any]:
    """Return what the server has of a run: rows, keys of the summary, names of artifacts."""
    import wandb

    first = upload.runs[0]
    api = wandb.Api(timeout=20)
    run: Any = api.run(f"{first.entity or api.default_entity}/{first.project}/{first.id}")
    upload.url = str(run.url)
    rows = sum(1 for _ in run.scan_history())
    logged = [*run.logged_artifacts(), *run.used_artifacts()]
    # An artifact is PENDING until all of its files have arrived.
    whole = [artifact for artifact in logged if str(artifact.state) == "COMMITTED"]
    artifacts = {artifact.name.partition(":")[0] for artifact in whole}
    return {"rows": rows, "summary": set(run.summary.keys()), "artifacts": artifacts}
