from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from studperf.config.run import RunConfig
from studperf.errors import Interrupted
from studperf.record.files import BEST, LAST
from studperf.record.record import RunRecord
from studperf.train.network import checkpoints as callbacks
from studperf.train.run import run
from studperf.train.session import resume

Config = Callable[..., RunConfig]


class Stop(Callback):
    """Ends the run after an epoch, as Ctrl-C would."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


class Seen(Callback):
    """What stands on disk as epochs end."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.on_disk: list[int] = []
        self.rows: list[int] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        (folder,) = self.runs.iterdir()
        self.on_disk.append(len(RunRecord.load(folder).history))


def folder_of(config: RunConfig) -> Path:
    (folder,) = Path(config.runs).iterdir()
    return folder


def values(record: RunRecord) -> list[dict[str, float]]:
    return [
        {name: value for name, value in row.items() if name != "seconds"} for row in record.history
    ]


def test_short_epochs_are_written_together(small_config: Config) -> None:
    config = small_config("model=linear", "trainer.max_epochs=5")
    seen = Seen(Path(config.runs))
    record = run(config, callbacks=[seen])
    assert seen.on_disk == [0] * 5
    assert len(RunRecord.load(folder_of(config)).history) == len(record.history) == 5


def test_long_epochs_are_each_written(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "WRITE_EVERY_S", 0.0)
    config = small_config("model=linear", "trainer.max_epochs=5")
    seen = Seen(Path(config.runs))
    run(config, callbacks=[seen])
    assert seen.on_disk == [0, 1, 2, 3, 4]


def test_history_file_and_record_agree(small_config: Config) -> None:
    config = small_config("model=linear", "trainer.max_epochs=3")
    record = run(config)
    header, *rows = (folder_of(config) / "history.csv").read_text().splitlines()
    assert header == "epoch,train/loss,val/loss,val/rmse,val/mae,val/r2,lr,seconds"
    assert [float(row.split(",")[3]) for row in rows] == [row["val/rmse"] for row in record.history]


def test_the_best_checkpoint_is_that_of_the_first_best_epoch(small_config: Config) -> None:
    config = small_config(
        "model=mlp", "trainer.max_epochs=8", "optimizer.lr=0.5", "scheduler.name=none"
    )
    record = run(config)
    best = torch.load(folder_of(config) / BEST, weights_only=True)
    by_epoch = [row["val/rmse"] for row in record.history]
    assert best["epoch"] == record.best_epoch == by_epoch.index(min(by_epoch))
    assert best["value"] == record.best_value == min(by_epoch)
    assert best["epoch"] < 7, "the last epoch is the best one, so that this test says nothing"


@pytest.mark.parametrize(
    "write_every_s", [0.0, 60.0], ids=["written each epoch", "written at the end"]
)
@pytest.mark.parametrize("epoch", [0, 3, 7])
def test_a_run_stopped_anywhere_resumes_to_the_same_bits(
    small_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epoch: int,
    write_every_s: float,
) -> None:
    words = ("model=mlp", "trainer.max_epochs=8", "optimizer.lr=0.05")
    whole = run(small_config(*words, f"runs={tmp_path / 'whole'}"))
    monkeypatch.setattr(callbacks, "WRITE_EVERY_S", write_every_s)
    config = small_config(*words)
    with pytest.raises(Interrupted):
        run(config, callbacks=[Stop(epoch)])
    broken = RunRecord.load(folder_of(config))
    assert broken.status == "interrupted"
    assert (
        len(broken.history) == epoch + 1
    )  # what was trained is known, though its weights may be gone
    assert (folder_of(config) / LAST).is_file() == (write_every_s == 0.0 and epoch > 0)
    resumed = resume(folder_of(config))
    assert resumed.weights_sha256 == whole.weights_sha256
    assert values(resumed) == values(whole)
    assert resumed.best_epoch == whole.best_epoch


@pytest.mark.parametrize(
    "words",
    [["trainer.max_epochs=3"], ["trainer.max_epochs=30", "monitor.patience=1", "optimizer.lr=0.3"]],
)
def test_a_run_that_failed_after_training_is_not_trained_further(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    whole = run(small_config("model=mlp", *words, f"runs={tmp_path / 'whole'}"))
    config = small_config("model=mlp", *words)
    with monkeypatch.context() as patch:
        patch.setattr("studperf.train.run.judge_run", full_disk)
        with pytest.raises(OSError, match="disk full"):
            run(config)
    resumed = resume(folder_of(config))
    assert values(resumed) == values(whole)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert resumed.is_stopped_early == whole.is_stopped_early
    assert resumed.judgement == whole.judgement


def full_disk(*args: object) -> None:
    raise OSError("disk full")
