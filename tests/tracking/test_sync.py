import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from kit.wandb_standin import API_KEY, Standin
from studperf.config.run import RunConfig
from studperf.errors import RunError
from studperf.record.record import RunRecord
from studperf.tracking import keys
from studperf.tracking.log_file import read_run
from studperf.tracking.sync import Upload, check, find_uploads, sync
from studperf.train.run import run
from studperf.train.session import resume

Config = Callable[..., RunConfig]
QUIET = Console(quiet=True)


@pytest.fixture
def runs(offline_config: Config, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one run, recorded offline."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    config = offline_config()
    run(config)
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    return Path(config.runs)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "studperf.tracking", "sync", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
    )


@pytest.mark.slow
def test_an_offline_run_arrives_whole_and_once(
    server: Standin, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = command(str(runs))
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = runs.iterdir()
    (log,) = (folder / "wandb").glob("offline-run-*")
    here = read_run(log)
    there = server.run(here.id)
    assert [row["val/rmse"] for row in there.history if keys.EPOCH in row] == [
        row["val/rmse"] for row in here.rows if keys.EPOCH in row
    ]
    assert there.state == "finished"
    assert there.summary["test/rmse"] == here.summary["test/rmse"]
    assert server.used == [(here.id, "simulated")]
    assert server.artifact("simulated").state == "COMMITTED"
    assert "sent" in done.stdout
    asked = len(server.asked)
    again = command(str(runs))
    assert (again.returncode, len(server.asked)) == (0, asked), "nothing is sent twice"
    assert "already there" in again.stdout
    assert not list(Path().iterdir()), "nothing is left where the command was given"


@pytest.mark.slow
def test_what_did_not_arrive_is_said_and_made_up_for(server: Standin, runs: Path) -> None:
    server.drop_history = True
    (upload,) = sync([runs], QUIET, wait_s=3)
    assert upload.outcome == "missing"
    assert "0 of 3 rows arrived" in upload.note
    server.drop_history = False
    (upload,) = sync([runs], QUIET, wait_s=20)
    assert (upload.outcome, upload.note) == ("sent", "")
    assert len(server.run(upload.runs[0].id).history) == 3


@pytest.mark.slow
def test_an_artifact_that_was_lost_is_named(server: Standin, runs: Path) -> None:
    server.refuse.add("CommitArtifact")
    (upload,) = sync([runs], QUIET, wait_s=8)
    assert upload.outcome == "missing"
    assert "artifacts not there: simulated" in upload.note


@pytest.mark.slow
def test_a_run_in_two_sessions_arrives_as_one(
    server: Standin, offline_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studperf.train.network.checkpoints.WRITE_EVERY_S", 0.0)

    class Stop(Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 2:
                raise KeyboardInterrupt

    config = offline_config("trainer.max_epochs=5")
    with pytest.raises(KeyboardInterrupt):
        run(config, callbacks=[Stop()])
    (folder,) = Path(config.runs).iterdir()
    resume(folder)
    (upload,) = sync([folder], QUIET, wait_s=30)
    assert (upload.outcome, upload.note) == ("sent", "")
    (there,) = server.runs.values()
    epochs = [row[keys.EPOCH] for row in there.history if keys.EPOCH in row]
    assert epochs == sorted(epochs)
    assert set(epochs) == set(range(5))
    steps = [row["_step"] for row in there.history]
    assert steps == sorted(set(steps)), "the second session goes on counting"
    assert there.state == "finished"


@pytest.mark.slow
def test_a_run_whose_server_died_is_made_up_for(server: Standin, offline_config: Config) -> None:
    class Mute(Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            server.is_mute = True

    config = offline_config(
        "tracking.wandb.mode=online", "tracking.wandb.finish_timeout_s=1", "trainer.max_epochs=4"
    )
    record = run(config, callbacks=[Mute()])
    server.is_mute = False
    assert record.tracking is not None
    assert not record.tracking.is_confirmed
    (upload,) = sync([Path(config.runs)], QUIET, wait_s=30)
    assert (upload.outcome, upload.note) == ("sent", "")
    epochs = [
        row[keys.EPOCH] for row in server.run(record.tracking.id).history if keys.EPOCH in row
    ]
    assert epochs == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_broken_log_does_not_keep_the_others_back(server: Standin, runs: Path) -> None:
    (folder,) = runs.iterdir()
    (log,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    for name, content in {
        "a_damaged": damaged(log.read_bytes()),
        "b_empty": log.read_bytes()[:7],
        "c_foreign": b"something else",
    }.items():
        other = runs / name / "wandb" / log.parent.name / log.name
        other.parent.mkdir(parents=True)
        other.write_bytes(content)
    done = command(str(runs))
    assert done.returncode == 1
    assert [line.split()[3] for line in done.stdout.splitlines() if line.startswith("│")] == [
        "sent",
        "unreadable",
        "empty",
        "unreadable",
    ]
    assert "is damaged at byte" in done.stdout
    assert len(server.runs) == 1


def damaged(content: bytes) -> bytes:
    return content[:100] + bytes([content[100] ^ 1]) + content[101:]


def test_logs_are_found_once_and_in_the_order_of_time(tmp_path: Path) -> None:
    for name in (
        "run-20260102_000000-a",
        "offline-run-20260101_000000-a",
        "offline-run-20260103_000000-a",
    ):
        (tmp_path / "r" / "wandb" / name).mkdir(parents=True)
        (tmp_path / "r" / "wandb" / name / "run-a.wandb").touch()
    (upload,) = find_uploads([tmp_path, tmp_path / "r"])
    assert upload.folder == tmp_path / "r"
    assert [log.parent.name.removeprefix("offline-")[4:12] for log in upload.logs] == [
        "20260101",
        "20260102",
        "20260103",
    ]


def test_nothing_to_upload_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no W&B log"):
        sync([tmp_path], QUIET)
    with pytest.raises(RunError, match="there is no such folder"):
        sync([tmp_path / "nowhere"], QUIET)


def test_an_unreadable_log_is_no_fine_upload(tmp_path: Path) -> None:
    (tmp_path / "run-a.wandb").write_bytes(b"no")
    upload = Upload(tmp_path, [tmp_path / "run-a.wandb"])
    check([upload])
    assert (upload.outcome, upload.is_fine) == ("unreadable", False)


def test_a_run_that_goes_on_is_left_alone(runs: Path) -> None:
    (folder,) = runs.iterdir()
    record = RunRecord.load(folder)
    record.status = "running"
    record.save(folder)
    (upload,) = sync([runs], QUIET)
    assert (upload.outcome, upload.is_fine) == ("running", True)


def test_without_a_key_or_a_server_nothing_is_tried(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(RunError, match="does not answer"):
        sync([runs], QUIET)
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(RunError, match="there is no key"):
        sync([runs], QUIET)
