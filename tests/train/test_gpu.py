"""On a GPU, where there is one: the numbers of the CPU up to rounding, the same ones each time, whichever way they are reached."""

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from kit.models import NETWORKS
from studperf.config.run import RunConfig
from studperf.errors import Interrupted
from studperf.record.record import RunRecord
from studperf.reproduce import reproduce
from studperf.train.network import checkpoints as callbacks
from studperf.train.network import datamodule
from studperf.train.run import run
from studperf.train.session import resume

Config = Callable[..., RunConfig]
MODELS = [name for name in NETWORKS if name != "mean"]
METRICS = ("train/loss", "val/loss", "val/rmse", "val/mae", "val/r2")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


class Watcher(Callback):
    """Wants to see every batch, so that the run is made step by step."""

    def on_train_batch_end(self, *arguments: object) -> None:
        """Sees it."""


def history_of(record: RunRecord) -> list[dict[str, float]]:
    return [
        {name: value for name, value in row.items() if name != "seconds"} for row in record.history
    ]


class StopAt(Callback):
    """Ctrl-C at the end of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Presses it."""
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture
def on_gpu(small_config: Config) -> Config:
    return lambda *words: small_config("trainer.accelerator=gpu", *words)


def test_a_gpu_is_found_without_being_asked_for(small_config: Config) -> None:
    record = run(small_config("model=mlp", "trainer.accelerator=auto"))
    assert record.hardware is not None
    assert record.hardware.accelerator == "cuda"


@pytest.mark.parametrize("model", MODELS)
def test_chunks_and_single_steps_give_the_same_bits(on_gpu: Config, model: str) -> None:
    config = on_gpu(f"model={model}", "batch_size=50", "trainer.gradient_clip_val=1.0")
    by_chunk, by_step = run(config), run(config, callbacks=[Watcher()])
    assert history_of(by_chunk) == history_of(by_step)
    assert by_chunk.weights_sha256 == by_step.weights_sha256


@pytest.mark.parametrize("model", MODELS)
def test_without_dropout_the_cpu_gives_the_same_numbers(small_config: Config, model: str) -> None:
    words = [
        f"model={model}",
        *(f"model.{key}=0" for key in small_config(f"model={model}").model if "dropout" in key),
    ]
    # A bias before batch normalisation has no gradient but rounding, of which Adam makes whole steps.
    words += ["optimizer.name=sgd", "optimizer.lr=0.05"] if model == "resnet" else []
    cpu, gpu = (run(small_config(*words, f"trainer.accelerator={name}")) for name in ("cpu", "gpu"))
    for a, b in zip(cpu.history, gpu.history, strict=True):
        assert {name: b[name] for name in METRICS} == pytest.approx(
            {name: a[name] for name in METRICS}, rel=1e-3
        )
    assert cpu.judgement is not None
    assert gpu.judgement is not None
    assert gpu.judgement.scores.rmse.value == pytest.approx(
        cpu.judgement.scores.rmse.value, rel=1e-3
    )


def test_a_table_that_does_not_fit_gives_the_same_bits(
    on_gpu: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = run(on_gpu("model=mlp"))
    monkeypatch.setattr(datamodule, "_DEVICE_SHARE", 0)
    assert history_of(run(on_gpu("model=mlp"))) == history_of(there)


def test_a_run_gives_the_gpu_back(on_gpu: Config) -> None:
    def taken_by_runs(n_runs: int) -> int:
        for _ in range(n_runs):
            run(on_gpu("model=mlp"))
        gc.collect()  # lightning's parts hold each other
        return torch.cuda.memory_allocated()

    first = taken_by_runs(1)
    assert taken_by_runs(2) <= first


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "64-true"])
def test_other_precisions_train(on_gpu: Config, precision: str) -> None:
    record = run(
        on_gpu(
            "model=linear",
            "batch_size=32",
            "optimizer.lr=0.05",
            "trainer.max_epochs=5",
            f"trainer.precision={precision}",
        )
    )
    assert record.judgement is not None
    assert record.judgement.skill > 0.1


def test_a_run_is_reproduced_to_the_bit(on_gpu: Config) -> None:
    config = on_gpu("model=mlp")
    run(config)
    (folder,) = Path(config.runs).iterdir()
    console = Console(width=500, force_terminal=False)
    with console.capture() as captured:
        is_same = reproduce(folder, console, is_forced=True, runs=Path(config.runs) / "again")
    assert is_same, captured.get()


def test_a_run_that_was_cut_off_resumes_to_the_same_bits(
    on_gpu: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "WRITE_EVERY_S", 0.0)
    words = ("model=mlp", "trainer.max_epochs=6")
    whole = run(on_gpu(*words))
    config = on_gpu(*words, f"runs={tmp_path / 'cut'}")
    with pytest.raises(Interrupted):
        run(config, callbacks=[StopAt(3)])
    (folder,) = Path(config.runs).iterdir()
    resumed = resume(folder)
    assert resumed is not None
    assert resumed.weights_sha256 == whole.weights_sha256
    assert history_of(resumed) == history_of(whole)


@pytest.mark.slow
def test_two_workers_share_the_gpu(tmp_path: Path) -> None:
    words = [
        "-m",
        "data=simulated",
        "data.source.simulate.rows=400",
        "sweeps=mlp",
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.n_jobs=2",
    ]
    small = [
        "trainer.accelerator=gpu",
        "trainer.max_epochs=2",
        "plots=false",
        f"runs={tmp_path}",
        "hydra.sweeper.winner.top=2",
    ]
    command = [sys.executable, "-m", "studperf.train", *words, *small]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [RunRecord.load(path.parent) for path in tmp_path.rglob("record.json")]
    assert len(records) >= 4
    assert {record.hardware.accelerator for record in records if record.hardware is not None} == {
        "cuda"
    }
