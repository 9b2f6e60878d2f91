import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from studperf.compare import compare, main
from studperf.config.load import load_overrides
from studperf.config.run import RunConfig
from studperf.errors import RunError
from studperf.judge.ranking import Found, Ground, find_runs
from studperf.record.record import RunRecord
from studperf.report.summary import show_summary, summary_tables
from studperf.scoring import metrics
from studperf.train.run import run

Config = Callable[..., RunConfig]
SMALL = ("data=simulated", "data.source.simulate.rows=400", "progress=false", "threads=1")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("compared") / "runs"
    for model, seed in (("mean", 0), ("linear", 0), ("linear", 1)):
        overrides = [f"model={model}", f"seed={seed}", "trainer.max_epochs=15"]
        run(
            load_overrides([*SMALL, "optimizer.lr=0.03", f"runs={runs}", *overrides]),
            overrides=overrides,
        )
    return runs


@pytest.fixture
def three_runs(made_once: Path, tmp_path: Path) -> Path:
    """A copy, for a test to spoil."""
    return Path(shutil.copytree(made_once, tmp_path / "runs"))


def recorder() -> Console:
    return Console(width=300, record=True, file=io.StringIO())


def text_of(table: object) -> str:
    console = recorder()
    console.print(table)
    return console.export_text()


def compared(*folders: Path) -> str:
    console = recorder()
    compare(find_runs(folders), console)
    return console.export_text()


def summary_of(folder: Path) -> str:
    console = recorder()
    show_summary(folder, console)
    return console.export_text()


def titles_in(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("Runs, best first")]


def test_runs_stand_best_first_with_paired_intervals(three_runs: Path) -> None:
    runs = find_runs([three_runs]).runs
    lines = [line for line in compared(three_runs).splitlines() if "runs/" in line]
    assert len(lines) == 3
    assert "best" in lines[0]
    assert "noise" in lines[1] or "worse" in lines[1]
    assert "mean" in lines[2]
    assert "worse" in lines[2]
    frames = {
        record.model: pd.read_parquet(folder / "predictions.parquet") for folder, record in runs
    }
    best_folder = next(folder for folder, record in runs if f"{record.name}" in lines[0])
    best = pd.read_parquet(best_folder / "predictions.parquet").query("split == 'test'")
    mean = frames["mean"].query("split == 'test'")
    expected = metrics.paired_difference(
        mean["predicted"].to_numpy(), best["predicted"].to_numpy(), mean["actual"].to_numpy()
    )
    assert f"{expected.value:+.3f} [{expected.low:+.3f}, {expected.high:+.3f}]" in lines[2]


def test_a_run_against_itself_is_noise(three_runs: Path) -> None:
    (first, *_) = find_runs([three_runs]).runs
    console = recorder()
    compare(Found([first, first]), console)
    assert "+0.000 [+0.000, +0.000]" in console.export_text()


def test_a_run_that_is_named_twice_is_ranked_once(three_runs: Path) -> None:
    (first, _), *_ = find_runs([three_runs]).runs
    assert compared(first, three_runs, first).count(f"{first}") == 1


def test_the_summary_groups_by_model_and_settings(three_runs: Path) -> None:
    runs = find_runs([three_runs]).runs
    text = summary_of(three_runs)
    linear = [
        record.judgement.scores.rmse.value
        for _, record in runs
        if record.model == "linear" and record.judgement
    ]
    assert f"{sum(linear) / 2:.3f}" in text
    assert "trainer.max_epochs" not in text
    assert "no better than the mean" in text


def test_an_unscored_run_is_listed_apart_with_the_way_to_score_it(three_runs: Path) -> None:
    folder, record = find_runs([three_runs]).runs[0]
    record.judgement, record.status = None, "interrupted"
    record.save(folder)
    text = compared(three_runs)
    (line,) = (line for line in text.splitlines() if "interrupted" in line)
    assert line.startswith(f"{folder} ({record.model}): interrupted")
    assert line.endswith(f"python -m studperf.train resume={folder}")
    assert len([line for line in text.splitlines() if "│" in line and "runs/" in line]) == 2
    summary = summary_of(three_runs)
    assert "2 of 3 runs" in summary
    assert f"Interrupted: {folder.name}\n" in summary
    assert f"Go on with: python -m studperf.train resume={three_runs}" in summary


def test_runs_of_which_none_was_scored_are_refused_with_the_way_to_score_each(
    three_runs: Path,
) -> None:
    for folder, record in find_runs([three_runs]).runs:
        record.judgement, record.status = None, "interrupted"
        record.save(folder)
    with pytest.raises(RunError, match="none of these runs was scored") as caught:
        compared(three_runs)
    assert str(caught.value).count("python -m studperf.train resume=") == 3


Change = Callable[[RunRecord], object]


def predict_height(record: RunRecord) -> None:
    record.data.target = "height"


def measure_in_feet(record: RunRecord) -> None:
    record.data.unit = "feet"


def see_a_file(record: RunRecord) -> None:
    record.data.is_simulated, record.data.md5 = False, "a" * 32
    record.data.path = "some/where/[bold]table.csv"


def draw_other_rows(record: RunRecord) -> None:
    record.config["data"]["source"]["simulate"]["seed"] = 99


def split_otherwise(record: RunRecord) -> None:
    record.data.split_sha256 = "0" * 64


def score_on_val(record: RunRecord) -> None:
    assert record.judgement is not None
    record.judgement.scored_on = "val"
    record.config["score_on"] = "val"


def score_values_of_others(record: RunRecord) -> None:
    """Nothing in the record says it; the rows' own values do."""


APART: dict[str, tuple[Change, str]] = {
    "another target": (predict_height, "they predict another target, not"),
    "another unit": (measure_in_feet, "their target is in"),
    "real data": (see_a_file, "their data are SIMULATED, not real"),
    "other rows drawn": (draw_other_rows, "their data are others"),
    "another split": (split_otherwise, "their rows are split otherwise"),
    "scored on val": (score_on_val, "they were scored on val, not on test"),
    "other values": (score_values_of_others, "their targets have other values in the same rows"),
}


@pytest.mark.parametrize("case", APART)
def test_runs_that_can_not_be_compared_stand_apart_and_are_never_called_noise(
    case: str, three_runs: Path
) -> None:
    change, why = APART[case]
    runs = find_runs([three_runs]).runs
    folder, record = next((f, r) for f, r in runs if r.seed == 1)
    change(record)
    record.save(folder)
    if case == "other values":
        frame = pd.read_parquet(folder / "predictions.parquet")
        frame["actual"] += 1e-9
        frame.to_parquet(folder / "predictions.parquet")
    text = compared(three_runs)
    first, second = titles_in(text)
    assert "Apart" not in first
    assert f"Apart from the runs above: {why}" in second
    alone, pair = "best", "worse"
    rows = {
        name: line
        for line in text.splitlines()
        for name in [f.name for f, _ in runs]
        if name in line
    }
    assert alone in rows[folder.name]
    assert sum(pair in line or "noise" in line for line in rows.values()) == 1
    for line in text.splitlines():
        assert "unpaired" not in line
    if case != "other values":
        tables = summary_tables(find_runs([three_runs]).runs)
        assert len(tables) == 2
        assert why in str(tables[1].title)
        assert [table.row_count for table in tables] in ([2, 1], [1, 2])


def test_real_data_lead_and_simulated_ones_follow(three_runs: Path) -> None:
    folder, record = find_runs([three_runs]).runs[-1]
    see_a_file(record)
    record.save(folder)
    first, second = titles_in(compared(three_runs))
    assert "rows of [bold]table.csv (md5 aaaaaaaa)" in first
    assert "SIMULATED data (400 rows" in second


def test_the_same_rows_at_another_path_are_the_same_ground(three_runs: Path) -> None:
    grounds = set()
    for i, (_, record) in enumerate(find_runs([three_runs]).runs):
        see_a_file(record)
        record.data.path, record.data.name = f"copies/{i}.csv", f"name{i}"
        grounds.add(Ground.of(record))
    assert len(grounds) == 1


def test_runs_of_multiruns_below_a_folder_are_taken_in_and_deeper_ones_are_named(
    three_runs: Path,
) -> None:
    (first, _), (second, _), (third, _) = find_runs([three_runs]).runs
    (three_runs / "a_multirun").mkdir()
    second.rename(three_runs / "a_multirun" / "0_linear_seed0")
    (three_runs / "sweeps" / "a_study").mkdir(parents=True)
    third.rename(three_runs / "sweeps" / "a_study" / "trial_0")
    text = compared(three_runs)
    assert str(first) in text
    assert "a_multirun/0_linear_seed0" in text
    study = three_runs / "sweeps" / "a_study"
    assert f"left out: {study}: trials of a study" in text
    assert "python -m studperf.sweeps show a_study" in text
    assert f"{study / 'trial_0'}" not in text
    assert f"{study / 'trial_0'}" in compared(three_runs, study)


def test_the_settings_that_set_runs_apart_are_shown(three_runs: Path) -> None:
    folder, record = find_runs([three_runs]).runs[0]
    record.overrides.append("optimizer.lr=[0.5]")
    record.save(folder)
    (line,) = (line for line in compared(three_runs).splitlines() if folder.name in line)
    assert "optimizer.lr=[0.5]" in line


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        find_runs([tmp_path, tmp_path / "nowhere"])
    assert f"{tmp_path}: holds no run" in str(caught.value)
    assert f"{tmp_path / 'nowhere'}: there is no such folder" in str(caught.value)


def test_the_command_prints_the_table(
    three_runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare", str(three_runs)])
    main()
    assert "Runs, best first" in capsys.readouterr().out


def test_the_command_wants_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare"])
    with pytest.raises(RunError, match="name the runs"):
        main()
    monkeypatch.setattr(sys, "argv", ["compare", "-h"])
    main()
    assert "runs/A runs/B" in capsys.readouterr().out


def test_records_of_runs_survive_the_round_trip(three_runs: Path) -> None:
    for folder, record in find_runs([three_runs]).runs:
        assert RunRecord.load(folder) == record


def test_lost_predictions_and_records_are_told_and_stop_nothing(three_runs: Path) -> None:
    (first, _), (second, _), (third, _) = find_runs([three_runs]).runs
    (first / "predictions.parquet").unlink()
    (second / "record.json").write_text("{")
    text = compared(three_runs)
    assert f"{first / 'predictions.parquet'}: can't be read" in text
    assert f"{second / 'record.json'}: is not a record" in text
    assert f"{third}" in text


def test_one_run_is_told_as_one(three_runs: Path) -> None:
    runs = find_runs([three_runs]).runs
    titles = [str(summary_tables(runs[:n])[0].title) for n in (1, 2)]
    assert titles == ["1 run", "2 runs"]
