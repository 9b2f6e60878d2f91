"""The two ways through lightning: a chunk of steps a call, and one by one. They must not differ in a single bit."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from torch import nn

from kit.models import NETWORKS
from studperf.config.load import load_overrides
from studperf.config.run import RunConfig
from studperf.record.files import LAST
from studperf.record.record import RunRecord
from studperf.train.network.fast import lean_step, why_stepwise
from studperf.train.run import run

Config = Callable[..., RunConfig]
MODELS = NETWORKS


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


# The optimizer's step without torch's own surroundings

OPTIMIZERS: dict[str, Any] = {
    "adamw": lambda net: torch.optim.AdamW(groups_of(net), lr=0.01, fused=True),
    "adam": lambda net: torch.optim.Adam(groups_of(net), lr=0.01, fused=True),
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9),
}


def groups_of(net: nn.Module) -> list[dict[str, Any]]:
    matrices = [p for p in net.parameters() if p.ndim > 1]
    return [
        {"params": matrices, "weight_decay": 0.1},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]


def train(
    net: nn.Module, optimizer: torch.optim.Optimizer, *, is_lean: bool, n_steps: int = 20
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_steps):
        take_step = lean_step(optimizer) if is_lean else optimizer.step
        optimizer.zero_grad()
        net(torch.randn(7, 3, generator=generator)).square().mean().backward()
        take_step()
    return [p.detach().clone() for p in net.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lean_step_gives_the_bits_and_the_state_of_the_whole_one(name: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 1))
    other = copy.deepcopy(net)
    first, second = OPTIMIZERS[name](net), OPTIMIZERS[name](other)
    assert all(
        map(torch.equal, train(net, first, is_lean=True), train(other, second, is_lean=False))
    )
    for mine, theirs in zip(first.state.values(), second.state.values(), strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in mine if mine[key] is not None)


def test_the_step_is_lean_once_it_has_begun() -> None:
    net = nn.Linear(3, 1)
    optimizer = OPTIMIZERS["adamw"](net)
    assert lean_step(optimizer) == optimizer.step
    train(net, optimizer, is_lean=False, n_steps=1)
    assert lean_step(optimizer) != optimizer.step


def test_a_group_without_parameters_is_passed_over() -> None:
    net = nn.Linear(3, 1, bias=False)
    optimizer = OPTIMIZERS["adamw"](net)
    assert not optimizer.param_groups[1]["params"]
    before = net.weight.detach().clone()
    train(net, optimizer, is_lean=True, n_steps=3)
    assert not torch.equal(net.weight, before)


def test_hooks_are_heeded() -> None:
    net = nn.Linear(3, 1)
    optimizer = OPTIMIZERS["adamw"](net)
    train(net, optimizer, is_lean=False, n_steps=1)
    optimizer.register_step_post_hook(lambda *_: None)
    assert lean_step(optimizer) == optimizer.step


def test_a_parameter_out_of_reach_stays_as_it_is() -> None:
    net = nn.ModuleDict({"used": nn.Linear(3, 1), "idle": nn.Linear(3, 1)})
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
    net["used"](net["idle"](torch.ones(2, 3)).expand(2, 3)).sum().backward()
    optimizer.step()
    before = net["idle"].weight.detach().clone()
    take_step = lean_step(optimizer)
    optimizer.zero_grad()
    net["used"](torch.ones(2, 3)).sum().backward()
    take_step()
    assert torch.equal(net["idle"].weight, before)
