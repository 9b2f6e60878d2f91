import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from studperf.config.load import load_overrides
from studperf.config.run import RunConfig
from studperf.data.guard.leaks import Leak
from studperf.data.schema import Finding, Table, check_table
from studperf.data.simulate import simulate
from studperf.data.source import Provenance
from studperf.data.split import split_table
from studperf.errors import Interrupted, RunError
from studperf.record.files import LAST, RECORD, make_folder, sha256_of
from studperf.record.lifecycle import recorded, reopen
from studperf.record.record import RunRecord, describe_data
from studperf.record.run import Run
from studperf.record.shape import Conformal, DataFacts, Judgement, Process, Scores, Slice, Verdict
from studperf.record.surroundings import read_git
from studperf.scoring.metrics import Interval

FACTS = DataFacts(
    name="students",
    path="data/students.csv",
    md5="0123",
    is_simulated=False,
    n_rows=1000,
    n_train=800,
    n_val=100,
    n_test=100,
    split_sha256="4567",
    target="final_score",
    unit="points",
    noise_floor=4.9,
    features=["age"],
    left_out_signal={"last_exam_score": 0.46},
    allowed_leaks={"passed": "exact"},
    warnings=["age: constant"],
)


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_overrides(["data.source.simulate.rows=200", "model=linear", "seed=3"])


@pytest.fixture
def record(config: RunConfig) -> RunRecord:
    return RunRecord.start("some run", config, ["model=linear", "seed=3"], FACTS, n_parameters=7)


def run_of(record: RunRecord, folder: Path) -> Run:
    return Run(load_overrides([]), record, folder, Console(quiet=True))


def judgement(value: float = 1 / 3) -> Judgement:
    interval = Interval(value, value - 0.1, value + 0.1)
    scores = Scores(rmse=interval, mae=interval, r2=interval, bias=interval)
    return Judgement(
        scored_on="test",
        scores=scores,
        baselines={"mean": scores, "ridge": scores},
        best_baseline="ridge",
        against_best=interval,
        against_mean=interval,
        skill=0.1,
        conformal=Conformal(level=0.9, half_width=value, coverage=0.9),
        slices=[Slice(column="gender", level="Male", n=3, rmse=0.1, mae=interval, bias=interval)],
        verdict=Verdict(kind="beats", line="Beats ridge."),
    )


# Beginning and coming back


def test_record_begins_with_what_was_asked_for(record: RunRecord, config: RunConfig) -> None:
    assert (record.name, record.status, record.model, record.seed) == (
        "some run",
        "running",
        "linear",
        3,
    )
    assert record.overrides == ["model=linear", "seed=3"]
    assert record.monitor == config.monitor.metric
    assert RunConfig.model_validate(record.config) == config
    assert {"python", "torch", "studperf"} <= set(record.versions)


def test_record_comes_back_as_it_was_saved(record: RunRecord, tmp_path: Path) -> None:
    record.judgement = judgement()
    record.history = [{"epoch": 0, "val/rmse": 0.1 + 0.2, "lr": 1e-3}]
    record.save(tmp_path)
    again = RunRecord.load(tmp_path)
    assert again == record
    assert again.judgement is not None
    assert isinstance(again.judgement.scores.rmse, Interval)
    assert again.judgement.scores.rmse == Interval(1 / 3, 1 / 3 - 0.1, 1 / 3 + 0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_record_of_a_run_that_went_astray_comes_back(
    value: float, record: RunRecord, tmp_path: Path
) -> None:
    record.judgement = judgement(value)
    record.history = [{"epoch": 0, "train/loss": value}]
    record.best_value = value
    record.save(tmp_path)
    again = RunRecord.load(tmp_path)
    np.testing.assert_array_equal(again.history[0]["train/loss"], value)
    assert again.judgement is not None
    np.testing.assert_array_equal(again.judgement.scores.r2.value, value)
    np.testing.assert_array_equal(again.best_value, value)


def test_record_is_json_that_any_reader_takes(record: RunRecord, tmp_path: Path) -> None:
    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    record.judgement = judgement(np.nan)
    record.save(tmp_path)
    plain = json.loads((tmp_path / RECORD).read_text(), parse_constant=refuse)
    assert plain["format"] == 1
    assert plain["judgement"]["best_baseline"] == "ridge"


def test_description_of_the_rows_is_that_of_table_and_split(config: RunConfig) -> None:
    checked = check_table(simulate(config.data), config.data)
    table = Table(checked.frame, checked.dataset, (Finding("warning", "age", "is constant"),))
    split = split_table(table)
    origin = Provenance("students", None, None, is_simulated=True, is_tracked=False)
    leak = Leak("passed", "exact", "it is a step function")
    facts = describe_data(table, split, origin, left_out={"age": 0.5}, leaks=[leak])
    assert (facts.n_rows, facts.n_train, facts.n_val, facts.n_test) == (200, 160, 20, 20)
    assert facts.split_sha256 == split.sha256
    assert (facts.target, facts.unit, facts.noise_floor) == ("final_score", "points", 4.9)
    assert facts.features == list(config.data.feature_names)
    assert facts.allowed_leaks == {"passed": "it is a step function"}
    assert facts.warnings == ["age: is constant"]


def test_a_suspect_is_a_warning_and_an_allowed_pair_names_both(config: RunConfig) -> None:
    table = check_table(simulate(config.data), config.data)
    split = split_table(table)
    origin = Provenance("students", None, None, is_simulated=True, is_tracked=False)
    suspect = Leak("age", "copy", "alone it predicts", is_refused=False)
    pair = Leak("hours", "pair", "hours * wage gives the target", ("wage",))
    facts = describe_data(table, split, origin, left_out={}, leaks=[suspect, pair])
    assert facts.warnings[-1] == suspect.warning
    assert "age: may give the target away: alone it predicts" in facts.warnings[-1]
    assert list(facts.allowed_leaks) == ["hours", "wage"]


# Folders that are no runs


def test_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder, it has no record\.json$"):
        RunRecord.load(tmp_path)


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone: is not a run folder, .*there is no such folder"):
        RunRecord.load(tmp_path / "gone")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda text: text[: len(text) // 2], "JSON", id="cut off"),
        pytest.param(lambda _: "", "JSON", id="empty"),
        pytest.param(lambda _: "[]", "record", id="a list"),
        pytest.param(
            lambda text: text.replace('"format": 1', '"format": 2'), "format", id="a later format"
        ),
        pytest.param(
            lambda text: text.replace('"seed": 3,\n "git"', '"git"'), "seed", id="a key missing"
        ),
        pytest.param(lambda text: text.replace('"name"', '"nam"', 1), "nam", id="a key misspelt"),
    ],
)
def test_record_that_can_not_be_read_is_refused_with_the_place(
    change: Any, says: str, record: RunRecord, tmp_path: Path
) -> None:
    record.save(tmp_path)
    path = tmp_path / RECORD
    text = path.read_text()
    path.write_text(change(text))
    assert path.read_text() != text
    with pytest.raises(RunError) as caught:
        RunRecord.load(tmp_path)
    head, _, reason = str(caught.value).partition(
        "is not a record that this version of studperf reads"
    )
    assert head == f"{path}: "
    assert says in (reason if says != "record" else str(caught.value))


# The end


def test_finished_record_hashes_every_other_file(record: RunRecord, tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "a.png").write_bytes(b"picture")
    (tmp_path / "history.csv").write_text("epoch\n0\n")
    record.save(tmp_path)
    record.finish(tmp_path)
    again = RunRecord.load(tmp_path)
    assert (again.status, again.error) == ("finished", None)
    assert again.ended is not None
    assert again.files == {
        "history.csv": hashlib.sha256(b"epoch\n0\n").hexdigest(),
        "plots/a.png": hashlib.sha256(b"picture").hexdigest(),
    }
    assert again.files["history.csv"] == sha256_of(tmp_path / "history.csv")


def test_work_that_ends_well_is_recorded_as_finished(record: RunRecord, tmp_path: Path) -> None:
    with recorded(run_of(record, tmp_path)):
        assert record.status == "running"
    assert RunRecord.load(tmp_path).status == "finished"


@pytest.mark.parametrize(
    "error", [Interrupted("stop"), KeyboardInterrupt()], ids=["SIGTERM", "Ctrl-C"]
)
def test_work_that_is_stopped_is_recorded_as_interrupted(
    error: BaseException, record: RunRecord, tmp_path: Path
) -> None:
    with pytest.raises(type(error)), recorded(run_of(record, tmp_path)):
        raise error
    again = RunRecord.load(tmp_path)
    assert (again.status, again.error) == ("interrupted", "stopped by the user or the system")


@pytest.mark.parametrize(
    "error",
    [ValueError("no such thing"), SystemExit("no such thing"), RunError("no such thing")],
    ids=repr,
)
def test_work_that_breaks_is_recorded_as_failed_with_the_reason(
    error: BaseException, record: RunRecord, tmp_path: Path
) -> None:
    with pytest.raises(type(error)), recorded(run_of(record, tmp_path)):
        raise error
    again = RunRecord.load(tmp_path)
    assert (again.status, again.error) == ("failed", f"{type(error).__name__}: no such thing")
    assert again.ended is not None


# Going on


def test_run_that_is_opened_again_is_running(record: RunRecord, tmp_path: Path) -> None:
    record.history = [{"epoch": 0}, {"epoch": 1}]
    record.leave(tmp_path, "failed", "ValueError: x")
    (tmp_path / LAST).parent.mkdir()
    torch.save(
        {"callbacks": {"another": {"n": 3}, "keeper": {"history": record.history[:1]}}},
        tmp_path / LAST,
    )
    again = reopen(tmp_path, record)
    assert (again.status, again.error, again.ended) == ("running", None, None)
    assert (again.history, again.resumed_at) == (
        [{"epoch": 0}],
        [1],
    )  # the second epoch ended after the checkpoint


# The process that runs a run


def test_a_run_going_on_in_this_process_is_running(record: RunRecord, tmp_path: Path) -> None:
    record.save(tmp_path)
    assert RunRecord.load(tmp_path).status == "running"


@pytest.mark.parametrize(
    "changes",
    [{}, {"started": "an earlier process of this number"}],
    ids=["the process is gone", "its number came back"],
)
def test_a_run_whose_process_was_killed_is_interrupted(
    changes: dict[str, str], record: RunRecord, tmp_path: Path
) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert record.process is not None
    started = Process.this().started
    record.process = Process(
        host=record.process.host, pid=child.pid, started=changes.get("started", started)
    )
    child.kill()
    child.wait()
    if changes:
        record.process = record.process.model_copy(update={"pid": os.getpid()})
    record.save(tmp_path)
    loaded = RunRecord.load(tmp_path)
    assert loaded.status == "interrupted"
    assert loaded.error == f"killed: process {record.process.pid}, which ran it, is gone"


@pytest.mark.parametrize(
    "changes",
    [{"host": "elsewhere"}, {"started": None}],
    ids=["on another machine", "where the system does not say"],
)
def test_what_can_not_be_known_of_a_process_is_not_claimed(
    changes: dict[str, Any], record: RunRecord, tmp_path: Path
) -> None:
    assert record.process is not None
    record.process = record.process.model_copy(update={"pid": 2**22 - 1, **changes})
    record.save(tmp_path)
    assert RunRecord.load(tmp_path).status == "running"


def test_a_run_that_goes_on_elsewhere_is_not_opened_again(
    record: RunRecord, tmp_path: Path
) -> None:
    from studperf.record.shape import _process_start

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert record.process is not None
        record.process = Process(
            host=record.process.host, pid=child.pid, started=_process_start(child.pid)
        )
        record.save(tmp_path)
        with pytest.raises(RunError, match=f"is running, in process {child.pid}; let it end"):
            reopen(tmp_path, record)
    again = reopen(tmp_path, record.model_copy(update={"process": Process.this()}))
    assert again.process == Process.this()


def test_run_without_a_checkpoint_is_begun_again(record: RunRecord, tmp_path: Path) -> None:
    record.history, record.n_stacked = [{"epoch": 0}, {"epoch": 1}], 8
    record.leave(tmp_path, "interrupted", "stopped")
    again = reopen(tmp_path, record)
    assert (again.history, again.n_stacked, again.resumed_at) == ([], 1, [0])


@pytest.mark.parametrize(
    ("key", "what"), [("md5", "data md5 was 0123"), ("split_sha256", "split was 4567")]
)
def test_run_on_other_rows_is_not_opened_again(
    key: str, what: str, record: RunRecord, tmp_path: Path
) -> None:
    record.save(tmp_path)
    fresh = record.model_copy(update={"data": FACTS.model_copy(update={key: "89ab"})})
    with pytest.raises(RunError, match=f"can't go on, the {what} and is now 89ab"):
        reopen(tmp_path, fresh)


# Files and folders


def test_taken_name_gets_a_number(tmp_path: Path) -> None:
    folders = [make_folder(tmp_path / "runs", "run") for _ in range(3)]
    assert [folder.name for folder in folders] == ["run", "run-2", "run-3"]
    assert all(folder.is_dir() for folder in folders)


def test_folder_of_runs_is_made_with_its_parents(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b", "run").is_dir()


@pytest.mark.parametrize(
    "below", ["file", "file/runs"], ids=["runs is a file", "runs lies below a file"]
)
def test_file_in_the_place_of_runs_is_refused(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RunError, match=f"runs={tmp_path / below}: .*([Nn]ot a directory|is a file)"
    ):
        make_folder(tmp_path / below, "run")


@pytest.mark.parametrize(
    ("said", "commit"),
    [("a" * 40, "a" * 40), ("unknown", None), ("", None)],
    ids=["commit", "unknown", "nothing"],
)
def test_an_image_says_what_commit_it_was_built_for(
    said: str, commit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studperf.config.git.project_root", lambda: tmp_path)  # no checkout
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("STUDPERF_COMMIT", said)
    git = read_git()
    assert (git.commit if git is not None else None) == commit
