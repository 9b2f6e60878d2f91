"""Shared fixtures: the real table, and small runs that take a second."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kit.postgres_server import postgres  # noqa: F401 - a fixture
from kit.small_run import SMALL
from studperf.config.load import load_overrides
from studperf.config.paths import project_root
from studperf.config.run import RunConfig
from studperf.record.record import RunRecord
from studperf.train.run import run

# Runs and commands of all tests are untracked; tests/tracking/ undoes this for its own.
os.environ["WANDB_MODE"] = "disabled"
# Tables in captured output have the width that they have in a log, whatever terminal the tests were started in.
os.environ.pop("COLUMNS", None)
# What a shell starts in the background ignores Ctrl-C, and hands that on to the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

REAL = project_root() / "data" / "ai_impact_student_performance_dataset.csv"
UNTRACKED = (*SMALL, "tracking.wandb.mode=disabled")


@pytest.fixture(scope="session")
def real_csv() -> Path:
    """The real table; it is not committed."""
    if not REAL.is_file():
        pytest.skip(
            f"the real table is not at {REAL.relative_to(project_root())}; bring it with dvc pull"
        )
    return REAL


@pytest.fixture
def small_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """A run of two epochs on 400 simulated rows, recorded below tmp_path."""

    def make(*overrides: str) -> RunConfig:
        return load_overrides([*UNTRACKED, f"runs={tmp_path / 'runs'}", *overrides])

    return make


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """A run sets torch's threads for its process; each test begins with one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs: linear, mlp twice, and mlp in a multirun's folder with another learning rate."""
    runs = tmp_path_factory.mktemp("all") / "runs"
    plan = (["model=linear"], ["model=mlp"], ["model=mlp", "seed=1"])
    for words in plan:
        run(
            load_overrides(
                [
                    *UNTRACKED,
                    "data.source.simulate.rows=600",
                    f"runs={runs}",
                    "trainer.max_epochs=4",
                    *words,
                ]
            ),
            overrides=words,
        )
    words = ["model=mlp", "optimizer.lr=1e-3"]
    nested = load_overrides([*UNTRACKED, "data.source.simulate.rows=600", f"runs={runs}", *words])
    run(nested, overrides=words, folder=runs / "a_multirun" / "0_mlp_seed0")
    return runs


@pytest.fixture(scope="session")
def run_folder(runs_folder: Path) -> Path:
    return next(path for path in sorted(runs_folder.iterdir()) if path.name.endswith("mlp_seed1"))


@pytest.fixture
def record(run_folder: Path) -> RunRecord:
    return RunRecord.load(run_folder)
