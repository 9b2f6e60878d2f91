"""A multirun through a launcher of Hydra's: what its processes ended with is shown by the command that started them."""

import subprocess
import sys
from pathlib import Path

import pytest

from kit.small_run import SMALL
from studperf.config.load import accept_command
from studperf.errors import ConfigError

JOBLIB = ("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def train(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "studperf.train", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_run_that_diverges_and_one_that_does_not_end_in_a_table_and_exit_code_2(
    tmp_path: Path,
) -> None:
    done = train(
        tmp_path, *JOBLIB, *SMALL, "model=linear", "optimizer.name=sgd", "optimizer.lr=1e-3,1e30"
    )
    assert done.returncode == 2, done.stderr
    assert "2 runs" in done.stdout
    assert "failed" in done.stdout.split("2 runs")[1]
    assert "error: " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_refusal_in_the_launched_processes_is_told_once_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    words = ("data.source.path=bad.csv", "model=linear", "seed=0,1", "progress=false")
    done = train(tmp_path, *JOBLIB, *words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "age: the column is missing" in done.stderr


@pytest.mark.slow
def test_launched_runs_that_succeed_are_summed_up_and_stack_their_own_seeds(tmp_path: Path) -> None:
    words = ("engine=stacked", "repeat=2", "optimizer.lr=1e-3,1e-2", "hydra.sweep.dir=here")
    done = train(tmp_path, *JOBLIB, *SMALL, *words)
    assert done.returncode == 0, done.stderr
    assert "4 runs" in done.stdout
    assert len(list((tmp_path / "here").glob("*/record.json"))) == 4
    logs = [log.read_text() for log in (tmp_path / "here").glob("*/log.txt")]
    assert all("trained together with 1 other runs" in log for log in logs)


def test_stacking_across_a_launcher_is_refused_with_both_ways_out() -> None:
    with pytest.raises(ConfigError, match=r"drop hydra/launcher, or .* repeat=8"):
        accept_command(["hydra/launcher=joblib", "engine=stacked", "seed=0,1"], is_multirun=True)


def test_a_launcher_that_a_study_would_not_ask_is_refused_with_the_key_that_asks_it() -> None:
    with pytest.raises(ConfigError, match=r"hydra/launcher: .* hydra\.sweeper\.mode=batch"):
        accept_command(["sweeps=mlp", "hydra/launcher=joblib"], is_multirun=True)
    words = ["sweeps=mlp", "hydra/launcher=joblib", "hydra.sweeper.mode=batch"]
    assert len(accept_command(words, is_multirun=True)) == len(words)


def test_a_launcher_for_a_single_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="hydra/launcher: is for several runs; add -m"):
        accept_command(["hydra/launcher=joblib"], is_multirun=False)
