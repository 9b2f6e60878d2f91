import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from rich.console import Console

from studperf.bundle import Bundle
from studperf.bundle.manifest import verify
from studperf.config.run import RunConfig
from studperf.data.simulate import simulate
from studperf.errors import DataError, DivergedError, Interrupted, StudperfError
from studperf.evaluate import FinishedRun
from studperf.record.files import BEST
from studperf.record.record import RunRecord
from studperf.record.run import Job
from studperf.train import run as chain
from studperf.train.run import run
from studperf.train.runner import Result
from studperf.train.runs import REPEAT, find_jobs, open_repeat, repeat_jobs, run_many
from studperf.train.session import resume
from studperf.train.stack import fit as room

Config = Callable[..., RunConfig]


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def refuse(*given: object, **named: object) -> RunRecord:
    raise AssertionError("nothing was to be trained alone")


def jobs_of(config: RunConfig, parent: Path) -> list[Job]:
    return repeat_jobs(config, [], parent, "seed")


def records_of(results: list[Result]) -> list[RunRecord]:
    assert all(isinstance(result, RunRecord) for result in results), results
    return [result for result in results if isinstance(result, RunRecord)]


def test_stacked_runs_are_judged_as_runs_alone_are(small_config: Config, tmp_path: Path) -> None:
    config = small_config("repeat=3", "engine=stacked", "plots=true")
    console = quiet()
    records = records_of(run_many(jobs_of(config, tmp_path / "together"), refuse, console))
    assert text_of(console).count("SIMULATED") == 4  # the table, and each verdict
    for seed, record in enumerate(records):
        folder = tmp_path / "together" / f"seed{seed}"
        alone = run(
            config.model_copy(update={"seed": seed, "repeat": 1}), folder=tmp_path / f"alone{seed}"
        )
        assert RunRecord.load(folder) == record
        assert (record.status, record.seed, record.n_stacked, alone.n_stacked) == (
            "finished",
            seed,
            3,
            1,
        )
        assert record.judgement is not None
        assert alone.judgement is not None
        assert record.judgement.scores.rmse.value == pytest.approx(
            alone.judgement.scores.rmse.value, rel=1e-5
        )
        assert record.judgement.baselines == alone.judgement.baselines
        assert record.judgement.verdict.kind == alone.judgement.verdict.kind
        assert record.timings_s.keys() == alone.timings_s.keys() == {"fit", "judge", "plots"}
        assert set(alone.files) - set(record.files) == {"checkpoints/last.ckpt"}
        assert torch.load(folder / BEST, weights_only=True)["state_dict"]
        assert FinishedRun.load(folder).record == record


def test_each_member_of_a_stack_leaves_a_bundle_that_predicts_as_the_run_did(
    small_config: Config, tmp_path: Path
) -> None:
    config = small_config(
        "repeat=2", "engine=stacked", "export=true", "data.source.simulate.seed=7"
    )
    console = quiet()
    records = records_of(run_many(jobs_of(config, tmp_path), refuse, console))
    table = simulate(config.data)
    for record in records:
        folder = tmp_path / record.name
        assert f"Bundle in {folder / 'bundle'}" in text_of(console)
        verify(folder / "bundle")
        recorded = pd.read_parquet(folder / "predictions.parquet")
        rows = table.iloc[recorded["row"].to_numpy() - 1]
        columns = {name: rows[name].tolist() for name in config.data.feature_names}
        predicted = Bundle.open(folder / "bundle").predict(columns).predicted
        assert predicted == pytest.approx(recorded["predicted"].to_numpy(), abs=1e-4)
    weights = {record.weights_sha256 for record in records}
    assert len(weights) == 2


def test_a_stack_without_export_leaves_no_bundle(small_config: Config, tmp_path: Path) -> None:
    config = small_config("repeat=2", "engine=stacked", "export=false")
    records_of(run_many(jobs_of(config, tmp_path), refuse, quiet()))
    assert not list(tmp_path.glob("*/bundle"))


def test_scoring_on_val_leaves_the_test_split_closed(small_config: Config, tmp_path: Path) -> None:
    config = small_config("repeat=2", "engine=stacked", "score_on=val")
    for record in records_of(run_many(jobs_of(config, tmp_path), refuse, quiet())):
        assert set(pd.read_parquet(tmp_path / record.name / "predictions.parquet")["split"]) == {
            "val"
        }
        assert "plots" not in record.timings_s
        assert not (tmp_path / record.name / "plots").exists()


def test_runs_that_can_not_be_stacked_are_trained_one_after_another_and_it_is_said_once(
    small_config: Config, tmp_path: Path
) -> None:
    console = quiet()
    trained = []

    def run_one(config: RunConfig, **named: object) -> RunRecord:
        trained.append((config.model_name, config.seed))
        raise DataError("no matter")

    resnets = jobs_of(
        small_config("model=resnet", "repeat=2", "engine=stacked"), tmp_path / "resnet"
    )
    accumulating = jobs_of(
        small_config("trainer.accumulate_grad_batches=2", "repeat=2", "engine=stacked"),
        tmp_path / "mlp",
    )
    again = jobs_of(
        small_config(
            "trainer.accumulate_grad_batches=2", "batch_size=8", "repeat=2", "engine=stacked"
        ),
        tmp_path / "again",
    )
    run_many([*resnets, *accumulating, *again], run_one, console)
    assert trained == [("resnet", 0), ("resnet", 1), ("mlp", 0), ("mlp", 1), ("mlp", 0), ("mlp", 1)]
    lines = [line for line in text_of(console).splitlines() if line.startswith("engine=stacked")]
    assert lines == [
        "engine=stacked: trained one after another instead: model resnet can't be stacked: net.blocks.0.normalization is a BatchNorm1d",
        "engine=stacked: trained one after another instead: it does not follow trainer.accumulate_grad_batches=2",
    ]
    assert not list(tmp_path.glob("*/seed*"))


def test_the_ordinary_engine_says_nothing_of_stacks(small_config: Config, tmp_path: Path) -> None:
    console = quiet()
    records = records_of(run_many(jobs_of(small_config("repeat=2"), tmp_path), run, console))
    assert [record.n_stacked for record in records] == [1, 1]
    assert "stacked" not in text_of(console)


def test_more_runs_than_a_stack_holds_are_trained_stack_after_stack(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "stack_size", lambda *_: 2)
    config = small_config("repeat=5", "engine=stacked")
    records = records_of(run_many(jobs_of(config, tmp_path), refuse, quiet()))
    assert [record.n_stacked for record in records] == [2, 2, 2, 2, 1]
    assert [record.seed for record in records] == [0, 1, 2, 3, 4]


def test_a_member_that_diverges_fails_alone(small_config: Config, tmp_path: Path) -> None:
    config = small_config(
        "model=linear",
        "optimizer.name=sgd",
        "scheduler.warmup=0",
        "batch_size=16",
        "engine=stacked",
    )
    rates = (1e-2, 1e30, 2e-2)
    jobs = [
        Job(
            config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": lr})}),
            (),
            tmp_path / f"{i}",
        )
        for i, lr in enumerate(rates)
    ]
    results = run_many(jobs, refuse, quiet())
    assert [type(result) for result in results] == [RunRecord, DivergedError, RunRecord]
    assert [RunRecord.load(tmp_path / f"{i}").status for i in range(3)] == [
        "finished",
        "failed",
        "finished",
    ]
    assert "diverged" in str(RunRecord.load(tmp_path / "1").error)


def test_a_table_that_is_refused_leaves_no_folder(small_config: Config, tmp_path: Path) -> None:
    config = small_config("repeat=2", "engine=stacked", "data.columns.passed.kind=flag")
    results = run_many(jobs_of(config, tmp_path / "runs"), refuse, quiet())
    assert all(isinstance(result, StudperfError) for result in results)
    assert len(set(map(str, results))) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("during", ["fit", "judge"])
def test_an_interrupted_stack_is_begun_again_to_the_same_numbers(
    during: str, small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config("repeat=3", "engine=stacked", "trainer.max_epochs=4")
    whole = records_of(run_many(jobs_of(config, tmp_path / "whole"), refuse, quiet()))
    folder, jobs = open_repeat(config, ["repeat=3", "seed=0"])
    calls = []

    def interrupt(original: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*given: object, **named: object) -> object:
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return original(*given, **named)

        return wrapped

    with monkeypatch.context() as patch:
        if during == "fit":
            patch.setattr(room, "_validate", interrupt(room._validate))
        else:
            patch.setattr(chain, "judge_run", interrupt(chain.judge_run))
        with pytest.raises(Interrupted, match=rf"resume={folder}$"):
            run_many(jobs, refuse, quiet())
    left = [RunRecord.load(folder / f"seed{seed}") for seed in range(3)]
    assert [record.status for record in left] == (
        ["interrupted"] * 3 if during == "fit" else ["finished", *["interrupted"] * 2]
    )
    assert [len(record.history) for record in left] == ([1] * 3 if during == "fit" else [4] * 3)
    results = records_of(run_many(find_jobs(folder), run, quiet()))
    for resumed, expected in zip(results, whole, strict=True):
        assert resumed.status == "finished"
        assert resumed.overrides == [f"seed={resumed.seed}"]
        assert [row["val/rmse"] for row in resumed.history] == pytest.approx(
            [row["val/rmse"] for row in expected.history], rel=1e-6
        )


def test_one_member_of_an_interrupted_stack_can_be_begun_again_alone(
    small_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = small_config("repeat=2", "engine=stacked", "trainer.max_epochs=4")
    whole = records_of(run_many(jobs_of(config, tmp_path / "whole"), refuse, quiet()))

    def interrupt(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(chain, "judge_run", interrupt)
        with pytest.raises(Interrupted):
            run_many(jobs_of(config, tmp_path / "broken"), refuse, quiet())
    resumed = resume(tmp_path / "broken" / "seed1")
    assert resumed is not None
    assert "Begun again: there is no checkpoint to go on from." in capsys.readouterr().out
    assert (resumed.status, resumed.n_stacked) == ("finished", 1)
    assert [row["val/loss"] for row in resumed.history] == pytest.approx(
        [row["val/loss"] for row in whole[1].history], rel=1e-6
    )


def test_a_repeated_run_goes_on_with_the_seeds_that_were_not_begun(
    small_config: Config, tmp_path: Path
) -> None:
    config = small_config("repeat=3", "seed=7")
    folder, jobs = open_repeat(config, ["repeat=3", "seed=7", "plots=false"])
    assert folder.parent == Path(config.runs)
    assert folder.name.endswith("_mlp_repeat3")
    first = run(jobs[0].config, overrides=jobs[0].overrides, folder=jobs[0].folder)
    found = find_jobs(folder)
    assert [
        (job.config.seed, job.config.repeat, job.folder, list(job.overrides)) for job in found
    ] == [(seed, 1, folder / f"seed{seed}", ["plots=false", f"seed={seed}"]) for seed in (7, 8, 9)]
    records = records_of(run_many(found, run, quiet()))
    assert records[0] == first
    assert [record.seed for record in records] == [7, 8, 9]


@pytest.mark.parametrize("engine", ["ordinary", "stacked"])
def test_runs_that_are_refused_before_they_begin_leave_no_folder(
    tmp_path: Path, engine: str
) -> None:
    process = start(tmp_path, "repeat=2", f"engine={engine}", "model.d_hidden=1000000000000000")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "not enough memory" in output
    assert not list((tmp_path / "runs").iterdir())


def test_a_repeated_runs_folder_may_not_name_foreign_code(small_config: Config) -> None:
    folder, _ = open_repeat(small_config("repeat=2"), [])
    saved = yaml.safe_load((folder / REPEAT).read_text())
    saved["config"]["model"] = {"_target_": "subprocess.Popen", "args": ["true"]}
    (folder / REPEAT).write_text(yaml.safe_dump(saved))
    with pytest.raises(StudperfError, match=r"only studperf\.models\. is taken"):
        find_jobs(folder)


def start(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    given = [
        "data=simulated",
        "data.source.simulate.rows=600",
        "threads=1",
        "plots=false",
        f"runs={tmp_path / 'runs'}",
        *words,
    ]
    command = [sys.executable, "-m", "studperf.train", *given]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
    )


@pytest.mark.slow
def test_a_multirun_whose_runs_can_be_stacked_is_trained_together(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        "-m",
        "seed=0,1",
        "optimizer.lr=1e-3,3e-3",
        "model=mlp,resnet",
        "trainer=smoke",
        "engine=stacked",
    )
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "4 x mlp together" in output
    assert output.count("model resnet can't be stacked") == 1
    assert "8 runs" in output
    (folder,) = (tmp_path / "runs").iterdir()
    records = [RunRecord.load(path.parent) for path in folder.glob("*/record.json")]
    assert sorted(
        (r.model, r.seed, r.config["optimizer"]["lr"], r.n_stacked, r.status) for r in records
    ) == [
        (model, seed, lr, n, "finished")
        for model, n in (("mlp", 4), ("resnet", 1))
        for seed in (0, 1)
        for lr in (1e-3, 3e-3)
    ]


@pytest.mark.slow
def test_a_repeated_run_ends_with_mean_and_spread_over_its_seeds(tmp_path: Path) -> None:
    process = start(tmp_path, "repeat=3", "model=linear", "trainer=smoke", "engine=stacked")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    (folder,) = (tmp_path / "runs").iterdir()
    values = [
        RunRecord.load(folder / f"seed{seed}").judgement.scores.rmse.value for seed in range(3)
    ]  # type: ignore[union-attr]
    assert "3 runs" in output
    assert f"{pd.Series(values).mean():.3f}" in output
    assert f"{pd.Series(values).std():.3f}" in output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_stack_cleanly_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(
        tmp_path,
        "repeat=4",
        "trainer.max_epochs=100000",
        "monitor.patience=100000",
        "engine=stacked",
    )
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if any('"epoch"' in path.read_text() for path in tmp_path.glob("runs/*/seed3/record.json")):
            break
        time.sleep(0.05)
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"resume={folder}" in output
    assert [RunRecord.load(folder / f"seed{seed}").status for seed in range(4)] == [
        "interrupted"
    ] * 4
    assert len(RunRecord.load(folder / "seed0").history) > 1
