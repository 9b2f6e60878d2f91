"""The estimate of a dry run against durations that are known."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from studperf.config.load import compose
from studperf.config.run import RunConfig
from studperf.sweeps import estimate as dry
from studperf.sweeps.estimate import Estimate
from studperf.sweeps.request import Order, read_order
from studperf.sweeps.workers import plan_of

PACKAGES_S, BESIDE_S, EPOCH_S, JUDGE_S = 6.0, 1.0, 0.2, 3.0


def order_of(**settings: object) -> Order:
    node = OmegaConf.to_container(
        compose(["hydra/sweeper=optuna"], return_hydra_config=True).hydra.sweeper, resolve=True
    )
    params = {"optimizer.lr": "interval(0.001,0.002)", "trainer.max_epochs": 50}
    return read_order(["data=simulated"], {**node, "params": params, **settings})


class Runs:
    """Runs of four epochs, the first of which takes three times as long; the first run brings packages in. Time passes in them alone."""

    def __init__(self) -> None:
        self.seen: list[tuple[RunConfig, Path, bool]] = []
        self.now = 0.0

    def __call__(
        self, config: RunConfig, *, folder: Path, follow: object, is_trial: bool
    ) -> SimpleNamespace:
        self.now += PACKAGES_S * (not self.seen) + BESIDE_S + 6 * EPOCH_S + JUDGE_S * (not is_trial)
        self.seen.append((config, folder, is_trial))
        return SimpleNamespace(
            n_parameters=7, history=[{"seconds": EPOCH_S * n} for n in (3, 4, 5, 6)]
        )


def test_an_estimate_holds_start_epochs_what_is_beside_them_and_the_winner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs, order = Runs(), order_of(repeat=2, winner={"top": 3, "seeds": 4}, n_trials=20)
    monkeypatch.setattr(dry, "time", SimpleNamespace(monotonic=lambda: runs.now))
    estimate = dry.dry_run(order, runs, Console(quiet=True), begun=-2)
    beside_s = BESIDE_S + 2 * EPOCH_S  # the first epoch's surplus comes once a run
    assert estimate.start_s == pytest.approx(2 + PACKAGES_S)
    assert estimate.run_s == pytest.approx(50 * EPOCH_S + beside_s)
    assert estimate.winner_s == pytest.approx(50 * EPOCH_S + beside_s + JUDGE_S)
    assert (estimate.n_trials, estimate.n_seeds, estimate.n_refits) == (20, 2, 12)
    assert [is_trial for *_, is_trial in runs.seen] == [True] * dry.N_TRIED + [False]


def test_a_dry_run_is_not_tracked_keeps_nothing_and_leaves_test_closed() -> None:
    runs = Runs()
    dry.dry_run(order_of(), runs, Console(quiet=True))
    for config, folder, _ in runs.seen:
        assert config.tracking.wandb.mode == "disabled"
        assert config.score_on == "val"
        assert not folder.parent.exists()


@pytest.mark.parametrize(
    ("settings", "n_refits"),
    [
        ({"winner": {"top": 0, "seeds": 3}}, 0),
        ({"objectives": ["val/rmse", "n_parameters"]}, 0),
        ({"winner": {"top": 5, "seeds": 3}, "n_trials": 2}, 6),
        ({"winner": {"top": 2, "seeds": 3}, "params": {"model": "choice(linear,mlp)"}}, 12),
        (
            {
                "sampler": {"_target_": "optuna.samplers.GridSampler"},
                "params": {"batch_size": "64,128,256"},
            },
            9,
        ),
    ],
    ids=["none", "two objectives", "few trials", "one of each model", "a grid"],
)
def test_as_many_runs_are_counted_as_choose_the_winner(
    settings: dict[str, object], n_refits: int
) -> None:
    estimate = dry.dry_run(order_of(**settings), Runs(), Console(quiet=True))
    assert estimate.n_refits == n_refits
    assert (estimate.winner_s > 0) == (n_refits > 0)


ESTIMATE = {"start_s": 5.0, "run_s": 2.0, "winner_s": 4.0, "n_seeds": 3, "n_refits": 10}


@pytest.mark.parametrize(
    ("n_trials", "n_workers", "timeout_s", "total_s"),
    [
        (8, 1, None, 5 + 48 + 20 + 4),
        (8, 3, None, 10 + 18 + 20 + 4),
        (8, 1, 12.0, 5 + 18 + 20 + 4),
        (1, 1, 12.0, 5 + 6 + 20 + 4),
    ],
    ids=["alone", "three workers", "a timeout", "a timeout that is not reached"],
)
def test_the_parts_of_a_study_add_up(
    n_trials: int, n_workers: int, timeout_s: float | None, total_s: float
) -> None:
    assert (
        Estimate(**ESTIMATE, n_trials=n_trials, timeout_s=timeout_s).total_s(n_workers) == total_s
    )


def test_the_estimate_says_what_it_holds() -> None:
    console = Console(record=True, width=300, file=io.StringIO())
    order = order_of(winner={"top": 5, "seeds": 2}, n_trials=8)
    dry.show_estimate(Estimate(**ESTIMATE, n_trials=8, timeout_s=None), plan_of(order), console)
    text = console.export_text()
    assert (
        "8 trials on one worker: about 1 min 17 s at most: 5 s to start, 48 s for the trials, "
        in text
    )
    assert (
        "20 s to train 5 candidates again on 2 seeds each, 4 s for the winner's own run and judgement."
        in text
    )
