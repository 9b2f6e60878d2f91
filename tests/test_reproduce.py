import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from studperf.config.run import RunConfig
from studperf.errors import RunError
from studperf.record import surroundings
from studperf.record.record import RunRecord
from studperf.record.shape import Git
from studperf.reproduce import _prediction_differences, reproduce
from studperf.train.run import run

Config = Callable[..., RunConfig]
WIDE = {"width": 500, "force_terminal": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a file, and the file."""
    from studperf.config.load import load_overrides
    from studperf.data.simulate import simulate

    place = tmp_path_factory.mktemp("made")
    words = [
        "data=students",
        "data.source.simulate.rows=300",
        "trainer=smoke",
        "progress=false",
        "threads=1",
        "plots=false",
        "tracking.wandb.mode=disabled",
    ]
    simulate(load_overrides(words).data).to_csv(place / "table.csv", index=False)
    config = load_overrides(
        [
            *words,
            "model=mlp",
            "seed=3",
            f"runs={place / 'runs'}",
            f"data.source.path={place / 'table.csv'}",
        ]
    )
    record = run(config, overrides=["model=mlp", "seed=3"])
    return place / "runs" / record.name


def say(folder: Path, **options: object) -> tuple[bool, str]:
    console = Console(**WIDE)
    with console.capture() as captured:
        is_same = reproduce(folder, console, **options)
    return is_same, captured.get()


def test_a_run_made_here_is_identical(made: Path, tmp_path: Path) -> None:
    is_same, text = say(made, runs=tmp_path / "again")
    assert is_same, text
    assert "IDENTICAL" in text
    (again,) = (tmp_path / "again").iterdir()
    assert RunRecord.load(again).weights_sha256 == RunRecord.load(made).weights_sha256
    assert not (again / "wandb").exists()


def test_another_commit_is_named_and_stops(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then = RunRecord.load(made).git
    assert then is not None
    monkeypatch.setattr(surroundings, "read_git", lambda: Git(commit="f" * 40, is_dirty=False))
    monkeypatch.setattr("studperf.train.run.run", lambda *_, **__: pytest.fail("it was run"))
    is_same, text = say(made)
    assert not is_same
    assert f"commit: recorded {then.commit}, now {'f' * 40} (git checkout {then.commit})" in text
    assert "NOT run again" in text


def test_another_lock_is_named(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "read_lock_hash", lambda: "0" * 64)
    is_same, text = say(made)
    assert not is_same
    assert (
        f"packages in uv.lock: recorded {RunRecord.load(made).lock_sha256}, now {'0' * 64}" in text
    )


def test_another_version_is_named(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {**surroundings.read_versions(), "torch": "1.0"}
    monkeypatch.setattr(surroundings, "read_versions", lambda: versions)
    is_same, text = say(made)
    assert not is_same
    assert "version of torch: recorded" in text
    assert text.count(": recorded ") == 1


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """The run and its table, to be changed; the record names the copy."""
    place = tmp_path / "copied"
    shutil.copytree(made.parents[1], place)
    folder = place / "runs" / made.name
    record = RunRecord.load(folder)
    record.config["data"]["source"]["path"] = str(place / "table.csv")
    record.save(folder)
    return folder


def test_one_changed_row_is_named_and_can_be_forced(copied: Path) -> None:
    table = copied.parents[1] / "table.csv"
    frame = pd.read_csv(table, keep_default_na=False)
    frame.loc[7, "last_exam_score"] += 1
    frame.to_csv(table, index=False)
    is_same, text = say(copied)
    assert not is_same
    assert f"data md5: recorded {RunRecord.load(copied).data.md5}, now " in text
    assert "DIFFERENT" not in text
    is_same, text = say(copied, is_forced=True)
    assert not is_same
    assert "DIFFERENT, first in" in text


def test_a_table_that_is_gone_is_named(copied: Path) -> None:
    (copied.parents[1] / "table.csv").unlink()
    record = RunRecord.load(copied)
    record.config["data"]["source"]["otherwise"] = "simulate"
    record.save(copied)
    is_same, text = say(copied)
    assert not is_same
    assert "data: recorded a table from a file, now a simulated table" in text


def test_a_changed_record_is_told_by_its_first_difference(copied: Path) -> None:
    record = RunRecord.load(copied)
    record.history[1]["val/rmse"] += 1e-9
    record.weights_sha256 = "0" * 64
    record.save(copied)
    is_same, text = say(copied)
    assert not is_same
    assert "DIFFERENT, first in history, epoch 1, val/rmse" in text


def test_changed_predictions_are_told_by_row(copied: Path) -> None:
    frame = pd.read_parquet(copied / "predictions.parquet")
    frame.loc[frame.index[4], "predicted"] += 1e-9
    frame.to_parquet(copied / "predictions.parquet", index=False)
    is_same, text = say(copied)
    assert not is_same
    assert f"DIFFERENT, first in predictions, predicted, row {frame['row'].iloc[4]}" in text


def test_a_run_that_did_not_finish_is_refused(copied: Path) -> None:
    record = RunRecord.load(copied)
    record.status = "interrupted"
    record.save(copied)
    with pytest.raises(RunError, match="is interrupted; only a finished run"):
        say(copied)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        pytest.param(["run={}"], 0, "IDENTICAL", id="the same"),
        pytest.param(["run={}", "forse=true"], 2, "nearest valid name is 'force'", id="a typo"),
        pytest.param([], 2, "name the run", id="no run"),
        pytest.param(["run=/nowhere"], 2, "is not a run folder", id="no such run"),
        pytest.param(
            ["run={}", "force=maybe"], 2, "must be true or false", id="neither true nor false"
        ),
        pytest.param(["--help"], 0, "Exit codes", id="help"),
    ],
)
def test_the_command(words: list[str], code: int, text: str, made: Path) -> None:
    command = [sys.executable, "-m", "studperf.reproduce", *(word.format(made) for word in words)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
    )
    assert (done.returncode, text in done.stdout + done.stderr) == (code, True), (
        done.stdout + done.stderr
    )


@pytest.mark.parametrize(("leaves_rows_out", "n_differences"), [(True, 0), (False, 1)])
def test_rows_that_an_earlier_version_numbered_without_those_left_out_are_the_same(
    tmp_path: Path, *, leaves_rows_out: bool, n_differences: int
) -> None:
    rows = pd.DataFrame({"row": [2, 3], "split": "test", "actual": [5.0, 7.0], "predicted": 6.0})
    folders = [tmp_path / name for name in ("then", "now")]
    for folder, n_left_out in zip(folders, (0, 4), strict=True):
        folder.mkdir()
        numbered = rows.assign(row=rows["row"] + n_left_out)
        numbered.to_parquet(folder / "predictions.parquet", index=False)
    found = [
        str(difference.what)
        for difference in _prediction_differences(*folders, leaves_rows_out=leaves_rows_out)
    ]
    assert len([what for what in found if what == "rows predicted"]) == n_differences
    assert bool(found) == bool(n_differences)
