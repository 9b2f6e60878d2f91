"""One run in several processes against the same run in one, and what lightning is told of a run."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import Callback

from studperf.config.run import RunConfig
from studperf.errors import ConfigError
from studperf.record.record import RunRecord
from studperf.train.network.fit import build_trainer
from studperf.train.run import run

Config = Callable[..., RunConfig]


class Where(Callback):
    """Notes the folder in which lightning would put what a callback writes."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.folder = trainer.log_dir


def test_lightning_knows_the_folder_of_the_run(small_config: Config) -> None:
    config = small_config("model=linear")
    where = Where()
    record = run(config, callbacks=[where])
    assert where.folder == str(Path(config.runs) / record.name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        ["model=mlp"],
        # A bias before batch normalisation has no gradient but rounding, of which Adam makes whole steps.
        ["model=resnet", "optimizer.name=sgd", "optimizer.lr=0.05"],
    ],
    ids=["mlp", "resnet"],
)
def test_two_processes_end_where_one_does(tmp_path: Path, model: list[str]) -> None:
    words = [
        "data=simulated",
        "data.source.simulate.rows=400",
        *model,
        "batch_size=51",
        "trainer.max_epochs=4",
        "plots=false",
    ]
    records = []
    for name, trainer in (("one", []), ("two", ["trainer=ddp", "trainer.accelerator=cpu"])):
        command = [
            sys.executable,
            "-m",
            "studperf.train",
            *words,
            *trainer,
            f"runs={tmp_path / name}",
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("Verdict:") == 1
        (folder,) = (tmp_path / name).iterdir()
        records.append(RunRecord.load(folder))
    one, two = records
    assert [row["epoch"] for row in two.history] == [0, 1, 2, 3]
    for alone, shared in zip(one.history, two.history, strict=True):
        assert {
            n: shared[n] for n in ("val/loss", "val/rmse", "val/mae", "val/r2")
        } == pytest.approx(
            {n: alone[n] for n in ("val/loss", "val/rmse", "val/mae", "val/r2")}, rel=1e-5
        )
    assert one.judgement is not None
    assert two.judgement is not None
    assert two.judgement.scores.rmse.value == pytest.approx(
        one.judgement.scores.rmse.value, rel=1e-5
    )
    assert_resumes(tmp_path / "two")


def assert_resumes(runs: Path) -> None:
    """As if the run of several processes had been killed before it was judged."""
    (folder,) = runs.iterdir()
    whole = RunRecord.load(folder)
    whole.model_copy(update={"status": "interrupted", "judgement": None}).save(folder)
    command = [sys.executable, "-m", "studperf.train", f"resume={folder}"]
    done = subprocess.run(command, cwd=runs, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    resumed = RunRecord.load(folder)
    assert resumed.status == "finished"
    assert (resumed.weights_sha256, resumed.judgement) == (whole.weights_sha256, whole.judgement)


def test_several_processes_are_refused_in_a_multirun(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "studperf.train",
        "-m",
        "seed=0,1",
        "trainer=ddp",
        f"runs={tmp_path / 'runs'}",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "without -m" in done.stderr


def test_more_processes_than_a_machine_has_cores_are_refused(small_config: Config) -> None:
    config = small_config("trainer.accelerator=cpu", "trainer.devices=999")
    with pytest.raises(ConfigError, match=r"trainer.devices: 999 processes, and this machine has"):
        build_trainer(config, [])
