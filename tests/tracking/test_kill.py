"""A run that is killed, with or without the process that tracks it: what is on disk, and that it can be uploaded."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from kit.wandb_standin import Standin
from studperf.record.record import RunRecord
from studperf.tracking import keys
from studperf.tracking.log_file import LoggedRun, read_run
from studperf.tracking.process import KILLED
from studperf.tracking.sync import sync

Start = Callable[..., subprocess.Popen[str]]
WORDS = (
    "tracking.wandb.mode=offline",
    "trainer.max_epochs=100000",
    "monitor.patience=100000",
    "optimizer.lr=1e-4",
)


def wait_for(what: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


def log_of(tmp_path: Path) -> LoggedRun | None:
    logs = list((tmp_path / "runs").glob("*/wandb/*run-*/run-*.wandb"))
    return read_run(logs[0]) if logs and logs[0].stat().st_size > 7 else None


def n_epochs(log: LoggedRun | None) -> int:
    return sum(keys.EPOCH in row for row in log.rows) if log is not None else 0


def descendants_of(pid: int) -> list[int]:
    """The scribe, and wandb's own process below it."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants_of(child)]
    return found


@pytest.mark.slow
def test_a_run_killed_alone_is_ended_by_its_scribe(start_train: Start, tmp_path: Path) -> None:
    process = start_train(*WORDS)
    wait_for(lambda: n_epochs(log_of(tmp_path)) > 20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: (log := log_of(tmp_path)) is not None and log.exit_code is not None)
    log = log_of(tmp_path)
    (folder,) = (tmp_path / "runs").iterdir()
    record = RunRecord.load(folder)
    assert log is not None
    assert log.exit_code == KILLED
    assert (record.status, record.error) == (
        "interrupted",
        f"killed: process {process.pid}, which ran it, is gone",
    )
    assert record.tracking is not None
    assert record.tracking.id == log.id
    assert n_epochs(log) >= len(record.history) - 1, "but for a row that was not handed on yet"
    assert [row[keys.EPOCH] for row in log.rows] == list(range(n_epochs(log)))


@pytest.mark.slow
def test_a_run_killed_with_all_its_processes_lacks_at_most_two_seconds_and_still_uploads(
    start_train: Start, tmp_path: Path, server: Standin
) -> None:
    process = start_train(*WORDS)
    wait_for(lambda: n_epochs(log_of(tmp_path)) > 20)
    time.sleep(1.3)  # not the moment of a flush
    processes = [process.pid, *descendants_of(process.pid)]
    assert len(processes) >= 3
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    killed = time.time()
    process.wait()
    (folder,) = (tmp_path / "runs").iterdir()
    log = log_of(tmp_path)
    assert log is not None
    assert log.exit_code is None
    assert killed - log.history[-1]["_timestamp"] < 2
    assert RunRecord.load(folder).status == "interrupted"

    (upload,) = sync([folder], Console(quiet=True), wait_s=30)
    assert (upload.outcome, upload.note) == ("sent", "")
    assert len(server.run(log.id).history) == len(log.history)
