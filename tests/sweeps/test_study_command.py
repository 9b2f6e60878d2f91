"""Whole studies through the command line, on small simulated tables."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from studperf.config.load import load_overrides
from studperf.errors import PrunedError
from studperf.record.record import RunRecord

SMALL = ["data=simulated", "data.source.simulate.rows=400", "trainer.max_epochs=4", "plots=false"]
SPACE = [
    "hydra/sweeper=optuna",
    "optimizer.lr=tag(log,interval(1e-3,1e-1))",
    "model.dropout=choice(0.0,0.2)",
]


def command(tmp_path: Path, *words: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "studperf.train",
        "-m",
        *SMALL,
        f"runs={tmp_path / 'runs'}",
        "hydra.sweeper.study=s",
        *words,
    ]


def train(tmp_path: Path, *words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    tmp_path.mkdir(exist_ok=True)
    return subprocess.run(
        command(tmp_path, *words),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=timeout,
        check=False,
    )


def start(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(tmp_path, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )


def sweeps(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "studperf.sweeps", *words, f"runs={tmp_path / 'runs'}"]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )


@pytest.mark.slow
def test_a_study_keeps_the_test_split_closed_but_for_its_winner(tmp_path: Path) -> None:
    done = train(
        tmp_path, *SPACE, "hydra.sweeper.n_trials=4", "hydra.sweeper.winner={top:2,seeds:2}"
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs/sweeps/s"
    opened = {}
    for path in folder.rglob("predictions.parquet"):
        opened[path.parent.relative_to(folder).parts[0]] = set(pd.read_parquet(path)["split"])
    trials = {name: splits for name, splits in opened.items() if name.isdigit()}
    assert sorted(trials) == ["0000", "0001", "0002", "0003"]
    assert opened["refits"] == {"val"}
    assert all(splits == {"val"} for splits in trials.values())
    (winner,) = [name for name in opened if name.startswith("winner_")]
    assert opened[winner] == {"val", "test"}
    assert all(RunRecord.load(folder / name).judgement is None for name in trials)
    assert "4 complete" in done.stdout
    assert "Verdict of the winner" in done.stdout

    again = train(
        tmp_path, *SPACE, "hydra.sweeper.n_trials=4", "hydra.sweeper.winner={top:2,seeds:2}"
    )
    assert again.returncode == 0
    assert "nothing to go on with" in again.stdout
    assert len([path for path in folder.iterdir() if path.name.isdigit()]) == 4

    changed = train(tmp_path, *SPACE, "batch_size=64", "hydra.sweeper.n_trials=4")
    assert changed.returncode == 2
    assert "it was begun without batch_size, which is now 64" in changed.stderr
    assert "hydra.sweeper.study=s-2" in changed.stderr

    _check_commands(tmp_path, folder)


def _check_commands(tmp_path: Path, folder: Path) -> None:
    assert "4/4" in sweeps(tmp_path, "list").stdout
    assert "complete" in sweeps(tmp_path, "show", "s").stdout
    best = sweeps(tmp_path, "best", "s").stdout.split()
    assert load_overrides([word.strip("'") for word in best[3:]]).trainer["max_epochs"] == 4
    sweeps(tmp_path, "export", "s")
    rows = list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["COMPLETE"] * 4
    assert yaml.safe_load((folder / "best.yaml").read_text())["values"][0] == min(
        float(row["val/rmse"]) for row in rows
    )
    assert sweeps(tmp_path, "report", "s").returncode == 0
    page = (folder / "report.html").read_text()
    for heading in ("Winner", "History", "What mattered", "Workers", "All trials", "Space"):
        assert f">{heading}</h2>" in page
    assert "http" not in page.replace("http-equiv", "")
    unknown = sweeps(tmp_path, "show", "t")
    assert unknown.returncode == 2
    assert "(there: s)" in unknown.stderr
    assert sweeps(tmp_path, "delete", "s").returncode == 0
    assert not folder.exists()


def test_a_refused_table_is_told_once_with_exit_code_2(tmp_path: Path) -> None:
    done = train(tmp_path, *SPACE, "data.features=[age,nothing]")
    assert done.returncode == 2
    assert "nothing" in done.stderr


def test_a_misspelt_key_of_the_sweeper_is_refused_with_its_neighbour(tmp_path: Path) -> None:
    done = train(
        tmp_path,
        *SPACE,
        "hydra.sweeper.n_trial=3",
        "hydra.sweeper.patience=0",
        "optimizer.lr=interval(1,0)",
        "foo=1",
    )
    assert done.returncode == 2
    assert "hydra.sweeper.n_trial: unknown; the nearest valid name is 'n_trials'" in done.stderr
    assert "hydra.sweeper.patience: must be greater than 0" in done.stderr
    assert "optimizer.lr: the lower end must come first" in done.stderr
    assert "foo: unknown" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_a_study_and_the_same_command_goes_on(tmp_path: Path) -> None:
    words = [
        *SPACE,
        "hydra.sweeper.n_trials=3",
        "trainer.max_epochs=100000",
        "monitor.patience=100000",
        "hydra.sweeper.winner={top:0,seeds:1}",
    ]
    process = start(tmp_path, *words)
    end = time.monotonic() + 120
    while not list(tmp_path.glob("runs/sweeps/s/0000/history.csv")) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command goes on with the study s" in output
    states = [
        json.loads(line).get("state")
        for line in (tmp_path / "runs/sweeps/s/study.journal").read_text().splitlines()
    ]
    assert states[-2:] == [4, 3]  # a copy waits, and the trial has failed


def test_a_dry_run_tells_the_duration_and_keeps_nothing(tmp_path: Path) -> None:
    done = train(tmp_path, *SPACE, "hydra.sweeper.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "50 trials on one worker: about" in done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_two_worker_processes_share_a_study_and_a_killed_one_is_replaced(tmp_path: Path) -> None:
    words = [
        *SPACE,
        "hydra.sweeper.n_trials=8",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.repeat=2",
        "hydra.sweeper.winner={top:0,seeds:1}",
    ]
    process = start(
        tmp_path,
        *words,
        "hydra/sweeper/pruner=successive_halving",
        "hydra.sweeper.pruner.min_resource=1",
    )
    folder = tmp_path / "runs/sweeps/s"
    end = time.monotonic() + 120
    pids: list[str] = []
    while not pids and time.monotonic() < end:
        time.sleep(0.05)
        pids = re.findall(
            r'"worker": ?"(\d+)-', "".join(path.read_text() for path in folder.glob("*.journal"))
        )
    os.kill(int(pids[0]), signal.SIGKILL)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "was killed (signal 9); another takes its place" in output
    assert "1 put back of 8 in" in output
    records = {
        path.parent: RunRecord.load(path.parent) for path in folder.glob("0*/seed*/record.json")
    }
    ended = {
        path: record for path, record in records.items() if record.status in ("finished", "pruned")
    }
    assert len({path.parent for path in ended}) == 8
    assert {record.hardware.n_threads for record in ended.values() if record.hardware} == {1}


@pytest.mark.slow
def test_a_stacked_study_has_the_values_of_an_ordinary_one(tmp_path: Path) -> None:
    """Dropout, learning rate and seeds part the members of a stack; the hidden layers part the stacks."""
    values = {}
    for engine in ("ordinary", "stacked"):
        words = [
            *SPACE,
            "model.d_hidden=[8],[16]",
            "hydra/sweeper/sampler=random",
            "hydra.sweeper.repeat=2",
            f"engine={engine}",
        ]
        done = train(
            tmp_path / engine,
            *words,
            "hydra.sweeper.n_trials=6",
            "hydra.sweeper.winner={top:2,seeds:2}",
        )
        assert done.returncode == 0, done.stderr
        folder = tmp_path / engine / "runs/sweeps/s"
        records = [
            RunRecord.load(path.parent) for path in sorted(folder.glob("0*/seed*/record.json"))
        ]
        values[engine] = [record.best_value for record in records]
        assert len(records) == 12
        assert {record.status for record in records} <= {"finished", "pruned"}
        assert (max(record.n_stacked for record in records) > 2) == (engine == "stacked")
        assert all(
            set(pd.read_parquet(path)["split"]) == {"val"}
            for path in folder.glob("0*/seed*/predictions.parquet")
        )
    assert values["stacked"] == pytest.approx(values["ordinary"], abs=1e-5)


@pytest.mark.slow
def test_two_objectives_give_a_pareto_table(tmp_path: Path) -> None:
    words = [
        "hydra/sweeper=optuna",
        "hydra/sweeper/sampler=nsga2",
        "model.d_hidden=[8],[16],[32]",
        "optimizer.lr=1e-2,3e-2",
    ]
    done = train(
        tmp_path,
        *words,
        "hydra.sweeper.n_trials=5",
        "hydra.sweeper.objectives=[val/rmse,n_parameters,latency_ms]",
    )
    assert done.returncode == 0, done.stderr
    assert "Pareto table" in done.stdout


@pytest.mark.slow
def test_trials_go_through_a_launcher_of_hydras_in_batches(tmp_path: Path) -> None:
    words = [
        *SPACE,
        "hydra/launcher=joblib",
        "hydra.sweeper.mode=batch",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.n_trials=3",
    ]
    done = train(tmp_path, *words, "hydra.sweeper.winner={top:0,seeds:1}")
    assert done.returncode == 0, done.stderr
    assert "3 complete" in done.stdout


def test_a_trial_predicts_val_alone_and_a_second_one_reads_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studperf.data import preparation
    from studperf.train.run import run

    for i in range(2):
        config = load_overrides(
            [*SMALL, "score_on=val", "progress=false", f"seed={i}", f"runs={tmp_path}"]
        )
        record = run(config, folder=tmp_path / f"trial{i}", is_trial=True)
        assert set(pd.read_parquet(tmp_path / f"trial{i}" / "predictions.parquet")["split"]) == {
            "val"
        }
        assert (record.status, record.judgement) == ("finished", None)
        monkeypatch.setattr(preparation, "open_good_rows", None)
    alone = run(config, folder=tmp_path / "alone", is_trial=True)
    assert alone.weights_sha256 == record.weights_sha256


def test_a_pruned_run_says_so_in_its_record(tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import Callback

    from studperf.train.run import run

    class Prune(Callback):
        def on_train_epoch_end(self, trainer: object, pl_module: object) -> None:
            if trainer.current_epoch == 1:
                raise PrunedError("others were better")

    config = load_overrides([*SMALL, "score_on=val", "progress=false", f"runs={tmp_path}"])
    with pytest.raises(PrunedError):
        run(config, folder=tmp_path / "trial", callbacks=[Prune()], is_trial=True)
    record = RunRecord.load(tmp_path / "trial")
    assert (record.status, len(record.history)) == ("pruned", 2)
