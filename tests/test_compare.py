import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from studperf import metrics
from studperf.compare import compare, main
from studperf.config import load_overrides
from studperf.config.shape import RunConfig
from studperf.errors import RunError
from studperf.record import RunRecord
from studperf.summary import find_runs, summary_table
from studperf.train import run

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


def text_of(table: object) -> str:
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_runs_stand_best_first_with_paired_intervals(three_runs: Path) -> None:
    runs = find_runs([three_runs])
    lines = [line for line in text_of(compare(runs)).splitlines() if "runs/" in line]
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
    assert f"{expected.value:.3f} [{expected.low:.3f}, {expected.high:.3f}]" in lines[2]


def test_a_run_against_itself_is_noise(three_runs: Path) -> None:
    (first, *_) = find_runs([three_runs])
    assert "0.000 [0.000, 0.000]" in text_of(compare([first, first]))


def test_runs_on_other_rows_are_compared_unpaired_and_marked(small_config: Config) -> None:
    for seed in (1, 2):
        config = small_config("model=linear", f"data.split.seed={seed}")
        run(config)
    assert "other rows, unpaired" in text_of(compare(find_runs([Path(config.runs)])))


def test_the_summary_groups_by_model_and_settings(three_runs: Path) -> None:
    runs = find_runs([three_runs])
    text = text_of(summary_table(runs))
    linear = [
        record.judgement.scores.rmse.value
        for _, record in runs
        if record.model == "linear" and record.judgement
    ]
    assert f"{sum(linear) / 2:.3f}" in text
    assert "trainer.max_epochs" not in text
    assert "no better than the mean" in text


def test_an_unscored_run_is_refused_with_the_way_to_score_it(three_runs: Path) -> None:
    folder, record = find_runs([three_runs])[0]
    record.judgement, record.status = None, "interrupted"
    record.save(folder)
    with pytest.raises(RunError, match=r"is interrupted and was not scored.*resume="):
        compare(find_runs([three_runs]))
    assert "interrupted" in text_of(summary_table(find_runs([three_runs])))


def test_runs_of_different_targets_are_refused(three_runs: Path) -> None:
    folder, record = find_runs([three_runs])[0]
    record.data.target = "height"
    record.save(folder)
    with pytest.raises(RunError, match="different targets: final_score, height"):
        compare(find_runs([three_runs]))


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
    for folder, record in find_runs([three_runs]):
        assert RunRecord.load(folder) == record


def test_lost_predictions_are_told(three_runs: Path) -> None:
    (folder, _) = find_runs([three_runs])[0]
    (folder / "predictions.parquet").unlink()
    with pytest.raises(RunError, match=r"predictions\.parquet: can't be read"):
        compare(find_runs([three_runs]))


def test_one_run_is_told_as_one(three_runs: Path) -> None:
    runs = find_runs([three_runs])
    assert [summary_table(runs[:n]).title for n in (1, 2)] == ["1 run", "2 runs"]
