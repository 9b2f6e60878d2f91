import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from studperf.cli.process import make_console
from studperf.config.run import RunConfig
from studperf.data.simulate import simulate
from studperf.errors import ConfigError, DataError, RunError
from studperf.evaluate import FinishedRun, evaluate, main
from studperf.record.files import BEST
from studperf.record.record import RunRecord
from studperf.train.run import run

Config = Callable[..., RunConfig]


@pytest.fixture
def finished(small_config: Config) -> Path:
    config = small_config("model=mlp")
    run(config)
    (folder,) = Path(config.runs).iterdir()
    return folder


@pytest.fixture
def new_table(small_config: Config) -> pd.DataFrame:
    return simulate(
        small_config("data.source.simulate.seed=9", "data.source.simulate.rows=60").data
    )


def test_the_recorded_scores_are_found_again_to_the_last_bit(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(FinishedRun.load(finished), {}, make_console())
    assert "IDENTICAL" in capsys.readouterr().out


def test_scores_other_than_recorded_are_told(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = RunRecord.load(finished)
    assert record.judgement is not None
    rmse = record.judgement.scores.rmse
    record.judgement.scores.rmse = type(rmse)(rmse.value + 0.001, rmse.low, rmse.high)
    record.save(finished)
    assert not evaluate(FinishedRun.load(finished), {}, make_console())
    assert "NOT the recorded scores" in capsys.readouterr().out


def test_a_table_that_has_changed_since_is_told(
    small_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.csv"
    frame = simulate(small_config("data.source.simulate.rows=300").data)
    frame.to_csv(path, index=False)
    config = small_config("model=linear", f"data.source.path={path}")
    run(config)
    (folder,) = Path(config.runs).iterdir()
    assert evaluate(FinishedRun.load(folder), {}, make_console())
    assert "These are not the rows" not in capsys.readouterr().out
    frame.loc[0, "study_hours_per_day"] += 0.5
    frame.to_csv(path, index=False)
    evaluate(FinishedRun.load(folder), {}, make_console())
    assert (
        "These are not the rows that the run was recorded with: its table has changed since"
        in capsys.readouterr().out
    )
    evaluate(FinishedRun.load(folder), {"data.source.path": str(path)}, make_console())
    assert "These are not the rows" not in capsys.readouterr().out


def test_another_file_is_scored_row_by_row(
    finished: Path, new_table: pd.DataFrame, tmp_path: Path
) -> None:
    new_table.to_csv(tmp_path / "new.csv", index=False)
    evaluate(
        FinishedRun.load(finished), {"data.source.path": str(tmp_path / "new.csv")}, make_console()
    )
    saved = pd.read_parquet(finished / "evaluations" / "new.parquet")
    assert saved["actual"].to_numpy() == pytest.approx(new_table["final_score"].to_numpy())
    assert (saved["low"] < saved["predicted"]).all()
    assert (saved["predicted"] < saved["high"]).all()
    one = new_table.iloc[[7]]
    one.to_csv(tmp_path / "one.csv", index=False)
    evaluate(
        FinishedRun.load(finished), {"data.source.path": str(tmp_path / "one.csv")}, make_console()
    )
    alone = pd.read_parquet(finished / "evaluations" / "one.parquet")
    assert alone["predicted"].iloc[0] == pytest.approx(saved["predicted"].iloc[7], abs=1e-4)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
@pytest.mark.parametrize("words", [[], ["delimiter"], ["data.source.delimiter"]])
def test_a_file_parted_otherwise_is_scored_as_the_same_rows(
    words: list[str],
    mark: str,
    finished: Path,
    new_table: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new_table.to_csv(tmp_path / "commas.csv", index=False)
    new_table.to_csv(tmp_path / "parted.csv.gz", index=False, sep=mark)
    given = [f"{word}={mark}" for word in words]
    for name, more in (("commas.csv", []), ("parted.csv.gz", given)):
        source = f"data.source.path={tmp_path / name}"
        monkeypatch.setattr(sys, "argv", ["evaluate", f"run={finished}", source, *more])
        assert main() is None
    found = [
        pd.read_parquet(finished / "evaluations" / f"{stem}.parquet")
        for stem in ("commas", "parted.csv")
    ]
    pd.testing.assert_frame_equal(*found)
    assert found[0]["row"].tolist() == list(range(1, len(new_table) + 1))


def test_one_key_under_two_names_is_refused(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"run={finished}", "delimiter=tab", "data.source.delimiter=tab"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *words])
    with pytest.raises(ConfigError, match="are the same key"):
        main()


def test_a_file_without_the_target_is_predicted_only(
    finished: Path, new_table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_table.drop(columns=["final_score", "passed", "performance_category", "student_id"]).to_csv(
        tmp_path / "new.csv", index=False
    )
    evaluate(
        FinishedRun.load(finished), {"data.source.path": str(tmp_path / "new.csv")}, make_console()
    )
    assert "no target" in capsys.readouterr().out
    assert np.isfinite(pd.read_parquet(finished / "evaluations" / "new.parquet")["predicted"]).all()


def test_numbers_beyond_training_are_warned_of(
    finished: Path, new_table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_table.loc[3, "study_hours_per_day"] = 20.0
    new_table.to_csv(tmp_path / "new.csv", index=False)
    evaluate(
        FinishedRun.load(finished), {"data.source.path": str(tmp_path / "new.csv")}, make_console()
    )
    assert re.search(
        r"study_hours_per_day: \d+ values? outside of the training range", capsys.readouterr().out
    )


def test_a_file_with_an_unknown_level_is_refused(
    finished: Path, new_table: pd.DataFrame, tmp_path: Path
) -> None:
    new_table.loc[4, "gender"] = "Unknown"
    new_table.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(DataError, match=r"gender: unknown level in 1 row: 'Unknown' \(row 5\)"):
        evaluate(
            FinishedRun.load(finished),
            {"data.source.path": str(tmp_path / "new.csv")},
            make_console(),
        )


def test_changed_weights_are_refused(finished: Path) -> None:
    record = RunRecord.load(finished)
    record.weights_sha256 = "0" * 64
    record.save(finished)
    with pytest.raises(RunError, match="the file was changed"):
        FinishedRun.load(finished)


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_damaged_checkpoint_is_refused(finished: Path, damage: str) -> None:
    path = finished / BEST
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"best\.ckpt"):
        FinishedRun.load(finished)


@pytest.mark.parametrize("text", [None, "{"])
def test_a_damaged_encoder_is_refused(finished: Path, text: str | None) -> None:
    path = finished / "encoder.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(RunError, match=r"encoder\.json: can't be read"):
        FinishedRun.load(finished)


def test_one_row_is_predicted_and_said_to_be_too_few_to_score(
    finished: Path, new_table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_table.head(1).to_csv(tmp_path / "one.csv", index=False)
    evaluate(
        FinishedRun.load(finished), {"data.source.path": str(tmp_path / "one.csv")}, make_console()
    )
    assert "one row with a target is too few" in capsys.readouterr().out


def test_an_unfinished_run_is_refused_with_the_way_to_finish_it(finished: Path) -> None:
    record = RunRecord.load(finished)
    record.status = "interrupted"
    record.save(finished)
    with pytest.raises(RunError, match="resume="):
        FinishedRun.load(finished)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the run"),
        (["runs=x"], "nearest valid name is 'run'"),
        (["run=nowhere"], "there is no such folder"),
        (["run=.", "data.source.pth=x"], "nearest valid name is 'data.source.path'"),
    ],
)
def test_the_command_refuses_what_it_does_not_know(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", *words])
    with pytest.raises((ConfigError, RunError), match=message):
        main()


def test_the_command_ends_with_0_when_the_scores_are_the_same(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", f"run={finished}"])
    assert main() is None


def test_help_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", "--help"])
    assert main() is None
    assert "run=runs/FOLDER" in capsys.readouterr().out


def test_rows_that_the_run_has_seen_are_counted(
    finished: Path, small_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run's own table shuffled: another md5, the same students, 320 + 40 of them in train or val."""
    simulate(small_config().data).sample(frac=1, random_state=0).to_csv(
        tmp_path / "shuffled.csv", index=False
    )
    evaluate(
        FinishedRun.load(finished),
        {"data.source.path": str(tmp_path / "shuffled.csv")},
        make_console(),
    )
    assert "360 of 400 rows were in the run's train or val split" in capsys.readouterr().out


def test_new_rows_are_not_taken_for_seen_ones(
    finished: Path, new_table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_table.to_csv(tmp_path / "new.csv", index=False)
    evaluate(
        FinishedRun.load(finished), {"data.source.path": str(tmp_path / "new.csv")}, make_console()
    )
    assert "train or val split" not in capsys.readouterr().out


def test_the_way_out_for_a_finished_run_is_to_train_again(
    finished: Path, new_table: pd.DataFrame, tmp_path: Path
) -> None:
    new_table["age"] = new_table["age"].astype(object)
    new_table.loc[3, "age"] = ""
    new_table.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(
        DataError, match=r"correct the rows, or train again with data\.columns\.age\.fill=median"
    ):
        evaluate(
            FinishedRun.load(finished),
            {"data.source.path": str(tmp_path / "new.csv")},
            make_console(),
        )


def test_run_on_a_table_that_lies_on_disk_is_found_again_to_the_last_bit(
    small_config: Config, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studperf.data.large.arrow.N_ROWS", 70)
    config = small_config("model=mlp", "data.memory=disk")
    run(config)
    (folder,) = Path(config.runs).iterdir()
    assert evaluate(FinishedRun.load(folder), {}, make_console())
    assert "IDENTICAL" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["new.csv", "new.parquet"])
def test_large_file_is_scored_as_a_small_one(
    name: str,
    finished: Path,
    new_table: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = simulate(FinishedRun.load(finished).config.data).iloc[
        :40
    ]  # 32 or so of them in train and val
    table = pd.concat([new_table.assign(age=[99.0, *new_table["age"][1:]]), seen]).assign(
        student_id=range(100)
    )
    write = table.to_csv if name.endswith("csv") else table.to_parquet
    write(tmp_path / name, index=False)
    said, frames = [], []
    for limit in (1 << 30, 10):
        monkeypatch.setattr("studperf.data.rows.LARGE_CSV_BYTES", limit)
        monkeypatch.setattr("studperf.data.rows.LARGE_N_ROWS", limit)
        monkeypatch.setattr("studperf.data.large.chunks.N_BYTES", 3000)
        monkeypatch.setattr("studperf.data.large.arrow.N_ROWS", 17)
        evaluate(
            FinishedRun.load(finished), {"data.source.path": str(tmp_path / name)}, make_console()
        )
        said.append(capsys.readouterr().out)
        frames.append(pd.read_parquet(finished / "evaluations" / "new.parquet"))
    assert said[0] == said[1]
    assert "1 values outside of the training range" in said[1]
    assert "of 100 rows were in the run's train or val split" in said[1]
    pd.testing.assert_frame_equal(*frames, rtol=1e-5)


def test_large_file_without_a_target_is_predicted_only(
    finished: Path,
    new_table: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("studperf.data.rows.LARGE_CSV_BYTES", 10)
    new_table.drop(columns="final_score").to_csv(tmp_path / "new.csv", index=False)
    evaluate(
        FinishedRun.load(finished), {"data.source.path": str(tmp_path / "new.csv")}, make_console()
    )
    assert "Rows predicted: 60; the file has no target to score by." in capsys.readouterr().out
