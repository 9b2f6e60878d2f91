"""The two ways through lightning: a chunk of steps a call, and one by one. They must not differ in a single bit."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor

from studperf.config.load import load_overrides
from studperf.config.paths import config_dir
from studperf.config.run import RunConfig
from studperf.record.files import LAST
from studperf.record.record import RunRecord
from studperf.record.shape import CutShort
from studperf.report.views.run import band_line, choice_line
from studperf.train.fit import find_cut, why_stepwise
from studperf.train.run import run

Config = Callable[..., RunConfig]
MODELS = sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))


class Watcher(Callback):
    """Wants to see every batch, so that the run is made step by step."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.steps: list[int] = []
        self.rates: list[float] = []

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: tuple,
        batch_idx: int,
    ) -> None:
        self.sizes.append(len(batch[2]))
        self.steps.append(trainer.global_step)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


class EndOfEpoch(Callback):
    """Needs no batch."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.steps.append(trainer.global_step)


def history_of(record: RunRecord) -> list[dict[str, float]]:
    return [
        {name: value for name, value in row.items() if name != "seconds"} for row in record.history
    ]


def assert_same_either_way(config: RunConfig) -> RunRecord:
    by_chunk, by_step = run(config, callbacks=[EndOfEpoch()]), run(config, callbacks=[Watcher()])
    assert history_of(by_chunk) == history_of(by_step)
    assert by_chunk.weights_sha256 == by_step.weights_sha256
    assert by_chunk.best_epoch == by_step.best_epoch
    assert by_chunk.is_stopped_early == by_step.is_stopped_early
    return by_chunk


SETTINGS = {
    "the defaults": [],
    "a last smaller batch": ["batch_size=50"],
    "a last single row": ["batch_size=29", "data.source.simulate.rows=436"],
    "batches of one row": ["batch_size=1", "trainer.max_epochs=1"],
    "one batch an epoch": ["batch_size=1000"],
    "many chunks an epoch": ["batch_size=2"],
    "clipping by norm": ["trainer.gradient_clip_val=0.05"],
    "clipping by value": [
        "trainer.gradient_clip_val=0.01",
        "+trainer.gradient_clip_algorithm=value",
    ],
    "no schedule": ["scheduler.name=none", "scheduler.warmup=0"],
    "sgd": ["optimizer.name=sgd", "optimizer.lr=0.05"],
    "adam": ["optimizer.name=adam"],
    "early stopping": ["trainer.max_epochs=20", "monitor.patience=1", "optimizer.lr=0.3"],
    "a learnt variance": ["loss.name=gaussian_nll"],
    "one-hot input": ["encode.categories=onehot"],
}


@pytest.mark.parametrize("words", SETTINGS.values(), ids=SETTINGS.keys())
def test_chunks_and_single_steps_give_the_same_bits(small_config: Config, words: list[str]) -> None:
    assert_same_either_way(small_config("model=mlp", "batch_size=32", *words))


def test_early_stopping_was_reached_in_that_test(small_config: Config) -> None:
    record = run(small_config("model=mlp", "batch_size=32", *SETTINGS["early stopping"]))
    assert record.is_stopped_early
    assert len(record.history) < 20


def test_clipping_changes_the_weights_on_either_way(small_config: Config) -> None:
    free, clipped = (
        run(small_config("model=mlp", *words)) for words in ([], ["trainer.gradient_clip_val=0.05"])
    )
    assert free.weights_sha256 != clipped.weights_sha256


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_the_same_history_either_way_over_30_epochs(
    small_config: Config, model: str
) -> None:
    record = assert_same_either_way(
        small_config(
            f"model={model}", "batch_size=64", "trainer.max_epochs=30", "monitor.patience=30"
        )
    )
    assert len(record.history) == 30


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_the_same_history_either_way(small_config: Config, model: str) -> None:
    assert_same_either_way(small_config(f"model={model}", "batch_size=150"))


def test_a_callback_that_wants_batches_gets_each_of_them(small_config: Config) -> None:
    watcher = Watcher()
    run(small_config("model=linear", "batch_size=100"), callbacks=[watcher])
    assert watcher.sizes == [100, 100, 100, 20] * 2
    assert watcher.steps == list(range(1, 9))


def test_global_step_counts_steps_and_not_chunks(small_config: Config) -> None:
    watcher = EndOfEpoch()
    run(small_config("model=linear", "batch_size=100"), callbacks=[watcher])
    assert watcher.steps == [4, 8]


def test_the_rate_rises_and_falls_by_the_step(small_config: Config) -> None:
    watcher = Watcher()
    run(
        small_config("model=linear", "batch_size=32", "optimizer.lr=0.1", "scheduler.warmup=0.2"),
        callbacks=[watcher],
    )
    assert watcher.rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert watcher.rates[12] == pytest.approx(0.05)  # half of the way down
    assert watcher.rates[5:] == sorted(watcher.rates[5:], reverse=True)


REASONS = {
    "nothing": ([], [], None),
    "a callback without batches": ([], [EndOfEpoch()], None),
    "clipping": (["trainer.gradient_clip_val=1.0"], [], None),
    "one GPU by its number": (["trainer.devices=[0]"], [], None),
    "a callback with batches": ([], [Watcher()], "Watcher has on_train_batch_end"),
    "a callback of lightning's": (
        [],
        [LearningRateMonitor()],
        "LearningRateMonitor has on_train_batch_start",
    ),
    "accumulation": (
        ["trainer.accumulate_grad_batches=2"],
        [],
        "trainer.accumulate_grad_batches=2",
    ),
    "mixed precision": (["trainer.precision=bf16-mixed"], [], "trainer.precision=bf16-mixed"),
    "a scaler": (["trainer.precision=16-mixed"], [], "trainer.precision=16-mixed"),
    "two devices": (["trainer.devices=2"], [], "trainer.devices=2"),
    "ddp": (["trainer=ddp"], [], "trainer.devices=2"),
    "a number of steps": (["+trainer.max_steps=10"], [], "trainer.max_steps is set"),
    "a number of batches": (
        ["+trainer.limit_train_batches=3"],
        [],
        "trainer.limit_train_batches is set",
    ),
    "a profiler": (["+trainer.profiler=simple"], [], "trainer.profiler is set"),
}


@pytest.mark.parametrize(("words", "callbacks", "reason"), REASONS.values(), ids=REASONS.keys())
def test_steps_are_made_one_by_one_where_chunks_would_not_do(
    words: list[str], callbacks: list[Callback], reason: str | None
) -> None:
    assert why_stepwise(load_overrides(words), callbacks) == reason


def test_the_log_says_once_which_way_was_taken(small_config: Config) -> None:
    config = small_config("model=linear", "trainer.accumulate_grad_batches=2")
    run(config)
    (folder,) = Path(config.runs).iterdir()
    assert (folder / "log.txt").read_text().count(
        "lightning is called for each step: trainer.accumulate_grad_batches=2"
    ) == 1


STEPWISE = {
    "accumulation": ["trainer.accumulate_grad_batches=2"],
    "limited batches": ["+trainer.limit_train_batches=3"],
    "limited steps": ["+trainer.max_steps=15"],
    "mixed precision": ["trainer.precision=bf16-mixed"],
    "double precision": ["trainer.precision=64-true"],
}


@pytest.mark.parametrize("words", STEPWISE.values(), ids=STEPWISE.keys())
def test_what_lightning_does_step_by_step_still_trains(
    small_config: Config, words: list[str]
) -> None:
    record = run(
        small_config(
            "model=linear", "batch_size=32", "optimizer.lr=0.05", "trainer.max_epochs=5", *words
        )
    )
    assert record.judgement is not None
    assert record.judgement.skill > 0.1


def test_accumulated_batches_take_as_many_steps_fewer(small_config: Config) -> None:
    watcher = Watcher()
    run(
        small_config("model=linear", "batch_size=100", "trainer.accumulate_grad_batches=2"),
        callbacks=[watcher],
    )
    assert watcher.steps[-1] == 4


def test_on_the_cpu_no_step_looks_for_a_gpu(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    run(small_config("model=linear"))
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "0"


def test_the_last_checkpoint_knows_its_step(small_config: Config) -> None:
    config = small_config("model=linear", "batch_size=100")
    run(config)
    (folder,) = Path(config.runs).iterdir()
    saved = torch.load(folder / LAST, weights_only=True)
    assert saved["global_step"] == 8


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


# Training that was cut short


def trained(errors: list[float], *words: str, metric: str = "val/rmse") -> CutShort | None:
    """What is said of a run with these errors after each epoch."""
    config = load_overrides(["data.source.simulate.rows=200", f"monitor.metric={metric}", *words])
    record = RunRecord.model_construct(
        history=[{metric: error} for error in errors],
        best_epoch=(max if metric == "val/r2" else min)(range(len(errors)), key=errors.__getitem__),
        is_stopped_early=False,
    )
    return find_cut(record, config)


def test_best_epoch_at_the_end_was_cut_short() -> None:
    errors = [10.0 - 0.1 * epoch for epoch in range(30)]
    cut = trained(errors, "trainer.max_epochs=30")
    assert cut is not None
    # Epoch 24 had 7.7, epoch 30 had 7.1.
    assert (cut.best_epoch, cut.n_epochs, cut.n_gained) == (30, 30, 6)
    assert cut.gain == pytest.approx(1 - 7.1 / 7.7)
    assert cut.line.endswith("by 7.8 % over the last 6; try trainer.max_epochs=60.")


def test_training_that_a_schedule_brought_to_rest_too_early_was_cut_short() -> None:
    # A cosine took the rate to 0 within five epochs: the last one gained 0.07 %, the last half 0.97 %.
    cut = trained([343.06, 340.15, 338.05, 337.04, 336.81], "trainer.max_epochs=5")
    assert cut is not None
    assert cut.n_gained == 2


def test_r2_that_still_rose_was_cut_short() -> None:
    cut = trained([0.1, 0.2, 0.3, 0.4, 0.5], "trainer.max_epochs=5", metric="val/r2")
    assert cut is not None
    assert cut.gain == pytest.approx(1 - 0.5 / 0.6)


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([9.0, 8.0, 7.0, 6.0, 6.1], id="best before the end"),
        pytest.param([9.0, 6.0, 6.0, 6.0, 5.999], id="at rest"),
        pytest.param([9.0], id="one epoch"),
    ],
)
def test_training_that_had_settled_was_not_cut_short(errors: list[float]) -> None:
    assert trained(errors, f"trainer.max_epochs={len(errors)}") is None


def test_what_else_ended_training_is_named() -> None:
    cut = trained([9.0, 8.0, 7.0], "trainer.max_epochs=60", "+trainer.max_steps=30")
    assert cut is not None
    assert cut.way_out == "a larger trainer.max_steps"


def test_a_run_that_was_cut_short_says_so(
    small_config: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    record = run(small_config("trainer.max_epochs=2"))
    assert record.cut_short is not None
    printed = capsys.readouterr().out
    assert record.cut_short.line in printed
    assert "try trainer.max_epochs=4" in printed
    assert record.judgement is not None
    assert choice_line(record.judgement.choice) in printed
    assert band_line(record, record.judgement.conformal) in printed
