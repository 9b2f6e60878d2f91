"""The Python door: `import studperf` for notebooks and scripts."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import studperf
from kit.small_run import SMALL
from studperf.data.simulate import simulate
from studperf.errors import ConfigError, DataError, RunError, StudperfError

ROOT = Path(__file__).resolve().parents[1]
WORDS = (*SMALL, "model=linear", "tracking.wandb.mode=disabled")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> studperf.Run:
    runs = tmp_path_factory.mktemp("door") / "runs"
    return studperf.fit(*WORDS, f"runs={runs}")


@pytest.fixture
def frame(fitted: studperf.Run) -> pd.DataFrame:
    config = studperf.compose(*WORDS)
    return simulate(config.data).drop(columns="final_score").head(20)


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = (
        "import sys, studperf; print({'torch', 'pandas', 'pydantic', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_no_name_of_the_door_is_a_module_that_would_replace_it() -> None:
    folder = Path(studperf.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")}
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert not set(studperf.__all__) & (modules | rooms)


def test_a_fitted_run_says_what_its_record_says(
    fitted: studperf.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    judgement = fitted.record.judgement
    assert judgement is not None
    assert fitted.verdict == judgement.verdict.line
    assert fitted.scores["rmse"] == judgement.scores.rmse
    assert (fitted.folder / "record.json").is_file()
    assert "\n" not in repr(fitted)
    assert capsys.readouterr().out == ""


def test_nothing_is_printed_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studperf.fit(*WORDS, f"runs={tmp_path / 'quiet'}")
    quiet = capsys.readouterr()
    assert (quiet.out, quiet.err) == ("", "")

    studperf.fit(*WORDS, f"runs={tmp_path / 'loud'}", verbose=True)
    assert "Verdict:" in capsys.readouterr().out


def test_a_loaded_run_predicts_a_frame_with_its_index(
    fitted: studperf.Run, frame: pd.DataFrame
) -> None:
    frame.index = pd.Index([f"row {i}" for i in range(len(frame))])
    predicted = studperf.load(str(fitted.folder)).predict(frame)

    assert list(predicted.columns) == ["prediction", "low", "high"]
    assert predicted.index.equals(frame.index)
    assert (predicted["low"] < predicted["prediction"]).all()
    assert (predicted["prediction"] < predicted["high"]).all()


def test_a_frame_may_hold_numbers_or_their_texts(fitted: studperf.Run, frame: pd.DataFrame) -> None:
    by_text = fitted.predict(frame.astype(str))
    pd.testing.assert_frame_equal(fitted.predict(frame), by_text)


def test_a_frame_that_the_model_was_not_made_for_is_refused_in_words(
    fitted: studperf.Run, frame: pd.DataFrame
) -> None:
    with pytest.raises(DataError, match="age"):
        fitted.predict(frame.drop(columns="age"))


def test_runs_are_ranked_best_first(fitted: studperf.Run, tmp_path: Path) -> None:
    other = studperf.fit(*WORDS, "seed=1", f"runs={tmp_path / 'runs'}")
    ranked = studperf.rank(fitted.folder, other.folder)
    assert set(ranked["folder"]) == {str(fitted.folder), str(other.folder)}
    assert ranked["rmse"].is_monotonic_increasing
    assert ranked["place"].iloc[0] == "best"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sead=1"], "nearest valid name is 'seed'"),
        ([{"seed": 1}], "must be text of the form key=value"),
        (["repeat=3"], "trains one run here"),
        (["resume=runs/X"], "trains one run here"),
    ],
)
def test_what_the_command_line_refuses_is_refused_in_its_words(
    words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        studperf.fit(*WORDS, *words)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run|not a run|no such folder"):
        studperf.load(tmp_path)
    assert issubclass(RunError, StudperfError)
