"""A trial's runs: which of them report their epochs, so that they can be pruned."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from kit.small_run import SMALL
from studperf.config.load import compose
from studperf.sweeps.request import read_order
from studperf.sweeps.space import Word
from studperf.sweeps.trial import TrialTask
from studperf.sweeps.workers import plan_of


class Attempted:
    """A trial with its values already drawn, which keeps what it is told."""

    number = 0

    def __init__(self, *words: Word) -> None:
        self.words = list(words)
        self.reports: list[tuple[float, int]] = []

    def note(self, name: str, value: object) -> None:
        pass

    def report(self, value: float, step: int) -> None:
        self.reports.append((value, step))


class Runs:
    """Runs of two epochs, which follow what they are given."""

    def __call__(self, config: Any, *, folder: Path, follow: Any, **named: Any) -> Any:
        history = [{"epoch": epoch, "val/rmse": 5.0 - epoch} for epoch in range(2)]
        for row in history:
            if follow is not None:
                follow(SimpleNamespace(config=config), row)
        timings = {"fit": 1.0}
        return SimpleNamespace(n_parameters=3, history=history, best_epoch=1, timings_s=timings)


def reports_of(params: dict[str, str], *words: Word, repeat: int = 1) -> list[tuple[float, int]]:
    composed = compose(["hydra/sweeper=optuna"], return_hydra_config=True)
    node: Any = OmegaConf.to_container(composed.hydra.sweeper, resolve=True)
    # Rounds are the trees' own here, as an epoch cap of the smoke trainer says nothing of them.
    fixed = [word for word in SMALL if not word.startswith(("trainer=", "trainer."))]
    if "model" not in params:
        fixed.append("model=lightgbm")
    order = read_order(fixed, {**node, "params": params, "repeat": repeat})
    attempt = Attempted(*words)
    runs: Any = Runs()
    trial: Any = attempt
    assert TrialTask(plan_of(order), runs)(trial) == [4.0]
    return attempt.reports


RATE = {"model.learning_rate": "interval(0.1,0.2)"}


def test_a_study_of_trees_alone_can_prune_them() -> None:
    assert reports_of(RATE, Word("model.learning_rate", "0.1")) == [(5.0, 0), (4.0, 1)]


def test_the_first_seed_alone_is_reported() -> None:
    assert reports_of(RATE, Word("model.learning_rate", "0.1"), repeat=3) == [(5.0, 0), (4.0, 1)]


@pytest.mark.parametrize(("model", "n_reports"), [("mlp", 2), ("lightgbm", 0)])
def test_rounds_are_not_held_against_the_epochs_of_networks(model: str, n_reports: int) -> None:
    reports = reports_of({"model": "choice(mlp,lightgbm)"}, Word("model", model))
    assert len(reports) == n_reports
