"""A study at W&B, read back from what lies on disk."""

import subprocess
import sys
from pathlib import Path

import pytest

from studperf.tracking.log_file import LoggedRun, read_run

WORDS = [
    "data=simulated",
    "data.source.simulate.rows=400",
    "trainer.max_epochs=3",
    "plots=false",
    "hydra/sweeper=optuna",
    "optimizer.lr=interval(1e-3,1e-1)",
]


def study(folder: Path, n_trials: int, *words: str) -> str:
    words = (
        *WORDS,
        "tracking.wandb.mode=offline",
        "hydra.sweeper.study=s",
        f"hydra.sweeper.n_trials={n_trials}",
        *words,
    )
    command = [sys.executable, "-m", "studperf.train", "-m", *words, "runs=runs"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def logs(folder: Path) -> list[LoggedRun]:
    return [read_run(log) for log in sorted((folder / "wandb").glob("*run-*"))]


@pytest.mark.slow
def test_each_trial_is_a_run_of_the_studys_group_and_one_run_sums_it_up(tmp_path: Path) -> None:
    output = study(tmp_path, 3, "hydra.sweeper.winner={top:1,seeds:1}")
    folder = tmp_path / "runs/sweeps/s"
    assert "Report: " in output
    assert (folder / "report.html").is_file()
    ids = set()
    for number in range(3):
        (trial,) = logs(folder / f"{number:04d}")
        ids.add(trial.id)
        assert (trial.group, trial.job_type, trial.name, trial.exit_code) == (
            "s",
            "trial",
            f"s-{number:04d}",
            0,
        )
        assert [row["epoch"] for row in trial.rows] == [0, 1, 2]
    assert len(ids) == 3
    (refit,) = logs(next((folder / "refits").iterdir()))
    assert (refit.group, refit.job_type) == ("s", "trial")
    (winner,) = logs(next(folder.glob("winner_*")))
    assert (winner.group, winner.job_type) == ("s", "train")
    assert "test/rmse" in winner.summary

    (told,) = logs(folder)
    assert (told.group, told.job_type) == ("s", "sweep-summary")
    assert [row["trial"] for row in told.rows if "trial" in row] == [0, 1, 2]
    values = [row["trial/value"] for row in told.rows if "trial" in row]
    assert [row["study/best"] for row in told.rows if "trial" in row] == [
        min(values[: i + 1]) for i in range(3)
    ]
    assert told.summary["best/value"] == min(values)
    assert told.summary["study/complete"] == 3
    assert told.summary["winner/command"].startswith("python -m studperf.train")
    assert told.config["space"] == {
        "optimizer.lr": "interval(0.001,0.1)",
        "data": "simulated",
        **told.config["space"],
    }

    study(tmp_path, 3, "hydra.sweeper.winner={top:1,seeds:1}")
    assert len(logs(folder)) == 1  # nothing new to say
    study(tmp_path, 4, "hydra.sweeper.winner={top:1,seeds:1}")
    first, second = logs(folder)
    assert first.id == second.id
    assert second.summary["study/complete"] == 4


@pytest.mark.slow
def test_two_workers_leave_every_trial_on_disk(tmp_path: Path) -> None:
    study(tmp_path, 4, "hydra.sweeper.n_jobs=2", "hydra.sweeper.winner={top:0,seeds:1}")
    ended = [run for number in range(4) for run in logs(tmp_path / f"runs/sweeps/s/{number:04d}")]
    assert [run.exit_code for run in ended] == [0] * 4
    assert len({run.id for run in ended}) == 4
