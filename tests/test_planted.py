"""A table that asks for an environment variable in every place it can: no command may publish the variable's value."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from studperf.config.load import load_overrides
from studperf.data.infer import infer, to_yaml

VALUE = "planted-6f1c0b7e-value"
TEXT = "${oc.env:PLANTED}"
LEVELS = (TEXT, "${oc.decode:${oc.env:PLANTED}}", "${runs}", "???", "1e3", "\\${x}")
SMALL = ("trainer=smoke", "trainer.accelerator=cpu", "threads=1", "progress=false")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The text as a level, a cell among numbers, a cell among dates, a column's name, a constant and a leak's level."""
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "tool", TEXT, "mixed", "constant", "gone", "label", "y"])
        for i in range(240):
            level = i % len(LEVELS)
            mixed = TEXT if i % 60 == 0 else i * 7 % 89
            y = round((i * 37 % 101) / 10 + level + (i * i * 53 % 29) / 7, 3)
            label = TEXT if y > 7 else "low"
            cells = [i * 37 % 101, LEVELS[level], i * 13 % 7, mixed, TEXT]
            writer.writerow([*cells, "" if i % 9 else TEXT, label, y])
    return path


def test_what_is_inferred_says_what_the_table_says(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", VALUE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    text = to_yaml(infer(table, "y"))
    (tmp_path / "conf" / "data" / "own.yaml").write_text(text)
    dataset = load_overrides(["data=own"]).data
    assert VALUE not in dataset.model_dump_json()
    assert set(dataset.columns["tool"].levels or ()) == set(LEVELS)
    assert TEXT in dataset.columns
    assert TEXT in (dataset.columns["mixed"].why or "")


@pytest.mark.slow
def test_no_command_publishes_a_variable_that_a_table_asks_for(table: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PLANTED": VALUE, "WANDB_MODE": "offline", "COLUMNS": "200"}
    environment.pop("WANDB_API_KEY", None)
    screens: list[str] = []

    def call(*words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        screens.append(done.stdout + done.stderr)
        assert done.returncode == code, done.stderr
        return done.stdout

    (tmp_path / "conf" / "data").mkdir(parents=True)
    call("studperf.data", "infer", table.name, "target=y", "out=conf/data/own.yaml")
    call("studperf.data", "check", "data=own")
    call("studperf.data", "report", "data=own")
    call("studperf.train", *SMALL, "data=own", "export=true", "tracking.wandb.mode=offline")
    call("studperf.train", "-m", *SMALL, "data=own", "model=linear,mean", "plots=false")
    (folder,) = (path.parent for path in (tmp_path / "runs").glob("*/record.json"))
    name = f"runs/{folder.name}"
    call("studperf.evaluate", f"run={name}")
    call("studperf.report", f"run={name}")
    call("studperf.reproduce", f"run={name}")
    call("studperf.export", f"run={name}")
    call("studperf.bundle", "verify", name)
    shown = call("studperf.bundle", "show", name)
    predicted = call("studperf.bundle", "predict", name, table.name)
    study = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "score_on=val")
    last = ("hydra.sweeper.winner.top=1", "hydra.sweeper.winner.seeds=1", "plots=false")
    call("studperf.train", *study, *last, *SMALL, "data=own", "optimizer.lr=interval(1e-3,1e-2)")
    call("studperf.train", *SMALL, "data=own", f"data.name='{TEXT}'", code=2)
    call("studperf.train", *SMALL, "data=own", "--cfg", "job", "--resolve")

    assert TEXT in shown
    assert len(predicted.splitlines()) == 241
    assert TEXT in (folder / "bundle" / "schema.json").read_text()
    assert [screen for screen in screens if VALUE in screen] == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert [path for path in files if VALUE.encode() in path.read_bytes()] == []
