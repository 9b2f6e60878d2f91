import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from studperf.config.load import load, load_overrides
from studperf.config.run import RunConfig
from studperf.data.preparation import KeptRows, Prepared
from studperf.errors import DivergedError
from studperf.record.lifecycle import open_run
from studperf.record.record import RunRecord
from studperf.record.run import Job, Run
from studperf.train.best import load_best, take_best
from studperf.train.learner import Learner
from studperf.train.network.fit import LightningLearner
from studperf.train.network.module import ScoreModule
from studperf.train.stack.fit import StackLearner

Config = Callable[..., RunConfig]
KEPT = KeptRows()
Vary = Sequence[dict[str, Any]]
SEEDS: Vary = [{"seed": seed} for seed in range(3)]
MIXED: Vary = [
    {"seed": 0, "optimizer.lr": 1e-3, "optimizer.weight_decay": 0.1, "model.dropout": 0.0},
    {"seed": 0, "optimizer.lr": 3e-3, "optimizer.weight_decay": 0.0, "model.dropout": 0.4},
    {"seed": 0, "optimizer.lr": 2e-3, "optimizer.weight_decay": 0.01, "model.dropout": 0.4},
    {"seed": 5, "optimizer.lr": 2e-3, "optimizer.weight_decay": 0.01, "model.dropout": 0.2},
]
RATES: Vary = [{"optimizer.lr": lr} for lr in (1e-3, 3e-3, 1e-2)]
CASES: dict[str, tuple[list[str], Vary]] = {
    "seeds": ([], SEEDS),
    "seed, lr, decay and dropout": ([], MIXED),
    "one seed, so one batch and one mask": ([], RATES),
    "small batches, and one row left over": (
        ["batch_size=17", "data.source.simulate.rows=401"],
        SEEDS,
    ),
    "relu": (["model.activation=relu"], MIXED),
    "gelu, which goes through autograd": (["model.activation=gelu"], MIXED),
    "without a linear path": (["model.linear_skip=false"], MIXED),
    "no dropout": (["model.dropout=0"], SEEDS),
    "no hidden layer": (["model.d_hidden=[]"], SEEDS),
    "three hidden layers": (["model.d_hidden=[16,8,1]"], SEEDS),
    "linear": (["model=linear", "optimizer.lr=0.02"], SEEDS),
    "mean": (["model=mean", "optimizer.lr=0.02"], [{"optimizer.lr": lr} for lr in (0.01, 0.1)]),
    "huber": (["loss.name=huber", "loss.delta=0.5"], RATES),
    "gaussian_nll": (["loss.name=gaussian_nll", "optimizer.lr=0.01"], MIXED),
    "quantile": (["loss.name=quantile", "loss.quantile=0.8"], RATES),
    "adam": (["optimizer.name=adam"], MIXED),
    "sgd": (
        ["optimizer.name=sgd"],
        [{"optimizer.lr": 0.01, "optimizer.weight_decay": 0.1}, {"seed": 1, "optimizer.lr": 0.03}],
    ),
    "no schedule": (["scheduler.name=none", "scheduler.warmup=0"], SEEDS),
    "a long warm-up": (["scheduler.warmup=0.5"], SEEDS),
    "clipped gradients": (["trainer.gradient_clip_val=0.2"], MIXED),
    "one-hot encoding": (["encode.categories=onehot", "encode.numbers=quantile"], SEEDS),
    "numbers alone": (["data.features=[age,study_hours_per_day,last_exam_score]"], SEEDS),
    "r2 watched": (["monitor.metric=val/r2"], SEEDS),
}


def varied(config: RunConfig, vary: Vary) -> list[RunConfig]:
    configs = []
    for values in vary:
        plain = config.model_dump(mode="json")
        for key, value in values.items():
            block, _, name = key.rpartition(".")
            (plain[block] if block else plain)[name] = value
        configs.append(load(plain))
    return configs


def quiet() -> Console:
    return Console(file=io.StringIO())


def prepared(config: RunConfig) -> Prepared:
    # The rows stay open until those of the next test are prepared.
    with KEPT.prepare(config, quiet()) as ready:
        return ready


@dataclass
class Member:
    """A run that was fitted, and its module."""

    run: Run
    module: ScoreModule

    @property
    def record(self) -> RunRecord:
        return self.run.record

    @property
    def folder(self) -> Path:
        return self.run.folder

    def take_best(self) -> None:
        take_best(self.run, self.module, longer=None)


def fit_by(
    learner: Learner[ScoreModule],
    configs: Sequence[RunConfig],
    ready: Prepared,
    folder: Path,
    console: Console | None = None,
) -> list[Member]:
    models = learner.build(configs, ready)
    members = []
    for i, (config, model) in enumerate(zip(configs, models, strict=True)):
        job = Job(config, (), folder / f"run{i}")
        run = open_run(
            job,
            ready,
            console or quiet(),
            n_parameters=model.n_parameters,
            n_together=len(configs),
        )
        members.append(Member(run, model))
    learner.fit([member.run for member in members], models, ready)
    return members


def fit_together(
    configs: Sequence[RunConfig], ready: Prepared, folder: Path, console: Console | None = None
) -> list[Member]:
    return fit_by(StackLearner(configs[0]), configs, ready, folder / "together", console)


def fit_alone(config: RunConfig, ready: Prepared, folder: Path) -> Member:
    (member,) = fit_by(LightningLearner(config), [config], ready, folder / "alone")
    member.take_best()
    return member


def assert_equal(together: Member, alone: Member) -> None:
    """Losses and metrics of every epoch to 1e-6, of their size or of 1: an NLL and an R2 pass through 0."""
    assert len(together.record.history) == len(alone.record.history)
    for row, expected in zip(together.record.history, alone.record.history, strict=True):
        assert row.keys() == expected.keys()
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-6), (
                name,
                row["epoch"],
            )
    assert together.record.is_stopped_early == alone.record.is_stopped_early


@pytest.mark.parametrize(("words", "vary"), CASES.values(), ids=CASES.keys())
def test_each_member_gets_the_numbers_that_it_gets_alone(
    words: list[str], vary: Vary, small_config: Config, tmp_path: Path
) -> None:
    configs = varied(small_config("trainer.max_epochs=8", "batch_size=64", *words), vary)
    for k, together in enumerate(fit_together(configs, ready := prepared(configs[0]), tmp_path)):
        alone = fit_alone(configs[k], ready, tmp_path / str(k))
        assert_equal(together, alone)
        together.take_best()
        assert (together.record.best_epoch, together.record.best_value) == (
            alone.record.best_epoch,
            pytest.approx(alone.record.best_value),
        )
        for name, value in together.module.state_dict().items():
            torch.testing.assert_close(value, alone.module.state_dict()[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [32, 256])
def test_30_epochs_on_the_real_table_end_at_the_same_losses(
    real_csv: Path, batch_size: int, tmp_path: Path
) -> None:
    words = [
        f"data.source.path={real_csv}",
        f"runs={tmp_path}",
        "trainer.max_epochs=30",
        "monitor.patience=30",
        f"batch_size={batch_size}",
    ]
    configs = varied(load_overrides([*words, "progress=false", "threads=1"]), MIXED)
    for k, together in enumerate(fit_together(configs, ready := prepared(configs[0]), tmp_path)):
        assert_equal(together, fit_alone(configs[k], ready, tmp_path / str(k)))


@pytest.mark.parametrize("metric", ["val/rmse", "val/r2"])
def test_members_stop_early_each_at_its_own_epoch(
    metric: str, small_config: Config, tmp_path: Path
) -> None:
    words = (
        "monitor.patience=2",
        "monitor.min_delta=0.05",
        "trainer.max_epochs=30",
        "scheduler.name=none",
        f"monitor.metric={metric}",
    )
    configs = varied(
        small_config(*words, "batch_size=64"),
        [{"optimizer.lr": lr, "model.dropout": 0.3} for lr in (1e-4, 5e-3, 3e-2)],
    )
    ready = prepared(configs[0])
    members = fit_together(configs, ready, tmp_path)
    assert len({len(member.record.history) for member in members}) > 1
    assert any(member.record.is_stopped_early for member in members)
    for k, together in enumerate(members):
        alone = fit_alone(configs[k], ready, tmp_path / str(k))
        assert_equal(together, alone)
        together.take_best()
        assert together.record.best_epoch == alone.record.best_epoch


def test_a_stopped_member_keeps_the_weights_of_its_best_epoch(
    small_config: Config, tmp_path: Path
) -> None:
    """The last epochs of a wild learning rate are far off: the best weights must score the best value again."""
    words = (
        "model=linear",
        "trainer.max_epochs=12",
        "optimizer.name=sgd",
        "scheduler.name=none",
        "monitor.patience=3",
    )
    configs = varied(small_config(*words), [{"optimizer.lr": lr} for lr in (0.9, 0.05)])
    ready = prepared(configs[0])
    for member in fit_together(configs, ready, tmp_path):
        member.take_best()
        error = member.module.predict_rows(ready.table.part("val")) - ready.rows.target(
            ready.rows.split.val
        )
        assert (error**2).mean() ** 0.5 == pytest.approx(member.record.best_value, rel=1e-5)


def test_a_member_that_diverges_leaves_the_others_alone(
    small_config: Config, tmp_path: Path
) -> None:
    config = small_config(
        "model=linear",
        "optimizer.name=sgd",
        "scheduler.warmup=0",
        "batch_size=16",
        "trainer.max_epochs=4",
    )
    configs = varied(config, [{"optimizer.lr": lr} for lr in (1e-2, 1e30, 2e-2)])
    ready = prepared(configs[0])
    first, wild, last = fit_together(configs, ready, tmp_path)
    assert not (wild.folder / "checkpoints").exists()
    with pytest.raises(DivergedError, match="never a finite number"):
        wild.take_best()
    for k, member in ((0, first), (2, last)):
        assert_equal(member, fit_alone(configs[k], ready, tmp_path / str(k)))


def test_the_record_says_what_the_fit_ran_on_and_with_how_many(
    small_config: Config, tmp_path: Path
) -> None:
    configs = varied(small_config(), SEEDS)
    members = fit_together(configs, prepared(configs[0]), tmp_path)
    for member in members:
        assert member.record.n_stacked == 3
        assert member.record.hardware is not None
        assert (member.record.hardware.accelerator, member.record.hardware.n_threads) == ("cpu", 1)
        assert [row["epoch"] for row in member.record.history] == [0, 1]
        assert (member.folder / "history.csv").read_text().count("\n") == 3
        assert load_best(member.module, member.folder)


def test_where_there_is_no_terminal_a_tenth_of_the_epochs_is_told(
    small_config: Config, tmp_path: Path
) -> None:
    console = quiet()
    configs = varied(small_config("progress=true", "trainer.max_epochs=20"), SEEDS)
    fit_together(configs, prepared(configs[0]), tmp_path, console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == [f"{epoch}/20" for epoch in range(2, 21, 2)]
    assert all("3 models, 3 in training, val/rmse best" in line for line in lines)
