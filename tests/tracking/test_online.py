"""The real client against the stand-in: live, refused, mute, dying."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback

from kit.wandb_standin import API_KEY, ENTITY, Standin
from studperf.config.run import RunConfig
from studperf.record.record import RunRecord
from studperf.tracking import keys
from studperf.tracking.log_file import read_run
from studperf.train.run import run

Config = Callable[..., RunConfig]
Train = Callable[..., subprocess.CompletedProcess[str]]


def record_in(tmp_path: Path) -> tuple[Path, RunRecord]:
    (folder,) = (tmp_path / "runs").iterdir()
    return folder, RunRecord.load(folder)


@pytest.mark.slow
def test_with_a_key_a_run_is_live_in_every_part(
    server: Standin, train: Train, tmp_path: Path
) -> None:
    done = train("plots=true")
    assert done.returncode == 0, done.stderr
    folder, record = record_in(tmp_path)
    assert record.tracking is not None
    there = server.run(record.tracking.id)
    assert there.key == (ENTITY, "studperf", record.tracking.id)
    assert record.tracking.url == f"{server.url}/{ENTITY}/studperf/runs/{record.tracking.id}"
    assert f"W&B: {record.tracking.url}" in done.stdout
    assert (record.tracking.mode, record.tracking.is_confirmed, record.tracking.note) == (
        "online",
        True,
        None,
    )
    assert there.state == "finished"
    assert [row["val/rmse"] for row in there.history if keys.EPOCH in row] == [
        row["val/rmse"] for row in record.history
    ]
    assert record.judgement is not None
    assert there.summary["test/rmse"] == record.judgement.scores.rmse.value
    assert there.config["optimizer"]["value"]["lr"] == record.config["optimizer"]["lr"]
    assert {f"media/images/plots/{name}" for name in ("parity", "residuals")} <= {
        f.rsplit("_", 2)[0] for f in uploaded(server)
    }
    dataset = server.artifact("simulated")
    assert (dataset.state, server.used) == ("COMMITTED", [(record.tracking.id, "simulated")])
    assert not (folder / "wandb" / "data").exists(), "what has arrived need not be kept twice"


def uploaded(server: Standin) -> set[str]:
    return {path.split("/", 4)[4] for path in server.stored if path.startswith("/store/run/")}


@pytest.mark.slow
def test_a_server_that_is_not_there_makes_the_run_offline(
    server: Standin, offline_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stop()
    record = run(offline_config("tracking.wandb.mode=auto", "plots=true"))
    assert record.tracking is not None
    assert (record.status, record.tracking.mode, record.tracking.is_confirmed) == (
        "finished",
        "offline",
        False,
    )
    out = capsys.readouterr().out
    assert out.count("warning:") == 1
    assert "did not answer within 5 s, so the run is recorded offline" in out
    (log,) = Path(record.config["runs"]).glob("*/wandb/offline-run-*")
    assert len([row for row in read_run(log).rows if keys.EPOCH in row]) == 2


@pytest.mark.slow
def test_a_server_that_refuses_the_run_makes_it_offline(
    server: Standin, offline_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refuse.add("UpsertBucket")
    record = run(offline_config("tracking.wandb.mode=online", "plots=true"))
    assert record.tracking is not None
    assert (record.status, record.tracking.mode) == ("finished", "offline")
    out = capsys.readouterr().out
    assert out.count("warning:") == 1
    assert "refused the run" in out
    (log,) = Path(record.config["runs"]).glob("*/wandb/*run-*")
    assert read_run(log).id == record.tracking.id


@pytest.mark.slow
def test_a_server_that_never_answers_ends_no_later_than_15_s_after_the_training(
    server: Standin, train: Train, tmp_path: Path
) -> None:
    server.is_mute = True
    done = train()
    ended = time.time()
    folder, record = record_in(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("warning:") == 1
    assert record.tracking is not None
    assert record.tracking.mode == "offline"
    assert ended - (folder / "predictions.parquet").stat().st_mtime < 15
    (log,) = folder.glob("wandb/offline-run-*")
    assert read_run(log).summary[keys.STATUS] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "falls silent"])
def test_a_server_lost_in_mid_run_costs_one_warning_and_no_row(
    how: str, server: Standin, offline_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    class Lose(Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 1:
                while not server.runs:
                    time.sleep(0.05)
                if how == "dies":
                    server.stop()
                server.is_mute = how != "dies"

    config = offline_config(
        "tracking.wandb.mode=online", "tracking.wandb.finish_timeout_s=3", "trainer.max_epochs=6"
    )
    record = run(config, callbacks=[Lose()])
    server.is_mute = False
    assert record.tracking is not None
    assert (record.status, record.tracking.mode, record.tracking.is_confirmed) == (
        "finished",
        "online",
        False,
    )
    out = capsys.readouterr().out
    assert out.count("warning:") == 1
    assert "has not taken all of the run within 3 s" in out or "not done 6 s after the end" in out
    assert "python -m studperf.tracking sync" in out
    (log,) = Path(record.config["runs"]).glob("*/wandb/run-*")
    logged = read_run(log)
    assert [row[keys.EPOCH] for row in logged.rows if keys.EPOCH in row] == list(range(6))
    assert logged.summary[keys.STATUS] == "finished"


@pytest.mark.slow
def test_a_resumed_run_is_appended_to_the_one_at_the_server(
    server: Standin, offline_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studperf.train.session import resume

    monkeypatch.setattr("studperf.train.network.checkpoints.WRITE_EVERY_S", 0.0)

    class Stop(Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    config = offline_config("tracking.wandb.mode=online", "trainer.max_epochs=4")
    with pytest.raises(KeyboardInterrupt):
        run(config, callbacks=[Stop()])
    (there,) = server.runs.values()
    assert (there.state, there.exit_code) == ("failed", 130)
    record = resume(next(Path(config.runs).iterdir()))
    assert list(server.runs) == [there.key]
    assert there.state == "finished"
    # The epoch in which it was stopped came before the checkpoint, and is trained, and told, once more.
    assert [row[keys.EPOCH] for row in there.history if keys.EPOCH in row] == [0, 1, 1, 2, 3]
    known = {row["epoch"]: row["val/rmse"] for row in record.history}
    assert all(
        row["val/rmse"] == known[row[keys.EPOCH]] for row in there.history if keys.EPOCH in row
    )
    steps = [row["_step"] for row in there.history]
    assert steps == sorted(set(steps))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param((), 0, id="in the environment alone"),
        pytest.param(
            (f"hydra.job.env_set.WANDB_API_KEY={API_KEY}",), 2, id="as hydra's environment"
        ),
        pytest.param((f"tracking.wandb.tags=[{API_KEY}]",), 2, id="as a tag"),
        pytest.param((f"tracking.wandb.api_key={API_KEY}",), 2, id="as a key that there is not"),
        pytest.param(
            ("-m", "seed=0,1", f"+hydra.job.env_set.WANDB_API_KEY={API_KEY}"), 2, id="in a multirun"
        ),
        pytest.param(("model=nonesuch",), 2, id="in a run that is refused"),
        pytest.param(("optimizer.lr=1e30",), 2, id="in a run that fails"),
    ],
)
def test_a_key_is_in_no_file(
    words: tuple[str, ...], code: int, server: Standin, train: Train, tmp_path: Path
) -> None:
    done = train(*words)
    assert done.returncode == code, done.stdout + done.stderr
    holders = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and API_KEY.encode() in path.read_bytes()
    ]
    assert holders == []
    assert API_KEY not in done.stdout + done.stderr
