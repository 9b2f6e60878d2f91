"""Runs of a model that is grown in rounds: the same chain, record and commands as a network's."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch
from lightgbm import LGBMRegressor, early_stopping
from rich.console import Console

import studperf
from kit.small_run import SMALL
from studperf.config.load import load_overrides
from studperf.config.run import RunConfig
from studperf.data.rows import open_good_rows
from studperf.data.simulate import simulate
from studperf.data.tensors import encode_table
from studperf.errors import ConfigError, DivergedError, Interrupted, PrunedError, RunError
from studperf.record.files import BEST, LAST
from studperf.record.record import RunRecord
from studperf.record.run import Row, Run
from studperf.reproduce import reproduce
from studperf.train.choice import read_model
from studperf.train.finished import FinishedRun
from studperf.train.run import run
from studperf.train.runs import repeat_jobs, run_many
from studperf.train.session import resume
from studperf.train.trees import as_columns

Config = Callable[..., RunConfig]
# Without the cap of trainer=smoke.
WORDS = [word for word in SMALL if not word.startswith(("trainer=", "trainer."))]


@pytest.fixture
def trees_config(tmp_path: Path) -> Config:
    def make(*words: str) -> RunConfig:
        own = ["tracking.wandb.mode=disabled", f"runs={tmp_path / 'runs'}", "model=lightgbm"]
        return load_overrides([*WORDS, *own, *words])

    return make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run at defaults."""
    runs = tmp_path_factory.mktemp("trees") / "runs"
    words = ["tracking.wandb.mode=disabled", f"runs={runs}", "model=lightgbm", "export=true"]
    run(load_overrides([*WORDS, *words]))
    (made,) = runs.iterdir()
    return made


def test_a_run_is_recorded_as_a_networks_is(folder: Path) -> None:
    record = RunRecord.load(folder)
    assert record.status == "finished"
    assert record.model == "lightgbm"
    assert record.judgement is not None
    names = ["epoch", "train/loss", "val/loss", "val/rmse", "val/mae", "val/r2", "lr", "seconds"]
    assert all(list(row) == names for row in record.history)
    assert [row["epoch"] for row in record.history] == list(range(len(record.history)))
    best = min(record.history, key=lambda row: row["val/rmse"])
    assert record.best_epoch == best["epoch"]
    assert record.best_value == best["val/rmse"]
    # Early stopping waits for as many rounds as the model's patience, not the monitor's 20.
    assert record.is_stopped_early
    assert len(record.history) == record.best_epoch + 1 + 50
    assert record.cut_short is None
    assert len(pd.read_csv(folder / "history.csv")) == len(record.history)
    assert not (folder / LAST).exists()


def test_what_is_scored_are_the_trees_up_to_the_best_round(folder: Path) -> None:
    record = RunRecord.load(folder)
    predictions = pd.read_parquet(folder / "predictions.parquet")
    val = predictions[predictions["split"] == "val"]
    rmse = math.sqrt(((val["predicted"] - val["actual"]) ** 2).mean())
    assert rmse == pytest.approx(record.best_value, rel=1e-5)
    config = load_overrides([*WORDS, "model=lightgbm"])
    model, sha256 = read_model(config, FinishedRun.load(folder).encoder.features, folder)
    assert sha256 == record.weights_sha256
    assert model.n_parameters == record.n_parameters > 100


def test_the_defaults_are_those_of_the_package(folder: Path) -> None:
    """LightGBM by its own class, on the same encoded rows and early stopping."""
    finished = FinishedRun.load(folder)
    with open_good_rows(finished.config.data) as rows:
        tables = [rows.table(part) for part in (rows.split.train, rows.split.val)]
    train, val = (encode_table(table, finished.encoder) for table in tables)
    categories = list(range(train[0].shape[1], train[0].shape[1] + train[1].shape[1]))
    theirs = LGBMRegressor(
        n_estimators=1000, n_jobs=1, verbosity=-1, deterministic=True, force_row_wise=True
    )
    theirs.fit(
        as_columns(train),
        train[2].numpy(),
        eval_X=as_columns(val),
        eval_y=val[2].numpy(),
        categorical_feature=categories,
        callbacks=[early_stopping(50, verbose=False)],
    )
    error = theirs.predict(as_columns(val)) - val[2].numpy()
    assert finished.record.best_epoch is not None
    assert theirs.best_iteration_ == finished.record.best_epoch + 1
    assert math.sqrt(np.square(error).mean()) == pytest.approx(finished.record.best_value, rel=1e-5)


def test_it_is_reproduced_to_the_last_bit(folder: Path, tmp_path: Path) -> None:
    assert reproduce(folder, Console(quiet=True), is_forced=True, runs=tmp_path)


def test_run_and_bundle_predict_alike_from_a_frame(folder: Path) -> None:
    rows = simulate(load_overrides([*WORDS, "data.source.simulate.rows=50"]).data)
    by_bundle = studperf.load(folder).predict(rows)
    finished = FinishedRun.load(folder)
    columns = finished.read_scored()[1]
    assert len(by_bundle) == 50
    assert np.isfinite(by_bundle["prediction"]).all()
    metrics = json.loads((folder / "bundle" / "metrics.json").read_text())
    assert metrics["parity"]["max_difference"] < 1e-9
    assert finished.predict(columns).std() > 1


@pytest.mark.parametrize(
    ("words", "n_rounds", "way_out"),
    [
        (["trainer.max_epochs=6"], 6, "trainer.max_epochs=12"),
        (["model.n_rounds=6"], 6, "model.n_rounds=12"),
        (["model.n_rounds=6", "trainer.max_epochs=30"], 6, "model.n_rounds=12"),
        (["trainer=smoke"], 2, "trainer.max_epochs=4"),
    ],
    ids=["max_epochs", "n_rounds", "both", "smoke"],
)
def test_rounds_are_capped_by_either_key_and_the_record_says_which_to_raise(
    trees_config: Config, words: list[str], n_rounds: int, way_out: str
) -> None:
    record = run(trees_config(*words, "score_on=val"))
    assert len(record.history) == n_rounds
    assert record.cut_short is not None
    assert record.cut_short.way_out == way_out


def test_time_is_respected(trees_config: Config) -> None:
    words = ["model.n_rounds=100000", "model.patience=100000", "+trainer.max_time=00:00:00:01"]
    started = time.monotonic()
    record = run(trees_config(*words, "score_on=val"))
    assert time.monotonic() - started < 60
    assert 1 <= float(record.history[-1]["seconds"]) < 20
    assert not record.is_stopped_early


def test_a_time_that_is_none_is_refused_before_there_is_a_folder(trees_config: Config) -> None:
    config = trees_config("+trainer.max_time=soon")
    with pytest.raises(ConfigError, match=r"trainer\.max_time"):
        run(config)
    assert not Path(config.runs).exists()


def test_rows_that_can_not_be_split_give_the_mean_and_no_finding(trees_config: Config) -> None:
    record = run(trees_config("model.min_rows_leaf=400"))
    assert record.n_parameters == 1
    assert len(record.history) == 1
    assert record.cut_short is None
    assert record.history[0]["train/loss"] == pytest.approx(1.0)
    assert record.judgement is not None
    assert record.judgement.verdict.kind == "no better than the mean"


@pytest.mark.parametrize("loss", ["huber", "quantile"])
def test_other_losses_are_grown_for(trees_config: Config, loss: str) -> None:
    words = [f"loss.name={loss}", "loss.quantile=0.9", "model.n_rounds=80", "plots=false"]
    config = trees_config(*words, "monitor.metric=val/loss")
    run(config)
    (made,) = Path(config.runs).iterdir()
    predictions = pd.read_parquet(made / "predictions.parquet")
    above = (predictions["predicted"] > predictions["actual"]).mean()
    assert (above > 0.7) if loss == "quantile" else (0.3 < above < 0.7)


def test_an_interrupted_run_begins_again_to_the_same_bits(
    trees_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["model.n_rounds=20", "model.row_share=0.7", "score_on=val"]

    def stop(ended: Run, row: Row) -> None:
        if row["epoch"] == 9:
            raise KeyboardInterrupt

    whole = run(trees_config(*words))
    config = trees_config(*words, "seed=0")
    with pytest.raises(Interrupted, match="resume="):
        run(config, follow=stop)
    first, second = sorted(Path(config.runs).iterdir())
    left = RunRecord.load(second)
    assert left.status == "interrupted"
    assert len(left.history) == 10
    capsys.readouterr()
    again = resume(second)
    assert "Begun again" in capsys.readouterr().out
    assert again.status == "finished"
    assert again.weights_sha256 == whole.weights_sha256 == RunRecord.load(first).weights_sha256


def test_sigterm_is_recorded(trees_config: Config) -> None:
    def stop(ended: Run, row: Row) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    config = trees_config("model.n_rounds=20")
    with pytest.raises(Interrupted):
        run(config, follow=stop)
    (made,) = Path(config.runs).iterdir()
    assert RunRecord.load(made).status == "interrupted"


def test_a_follower_ends_the_fit_with_its_round_or_prunes_it(trees_config: Config) -> None:
    def end(followed: Run, row: Row) -> None:
        followed.is_over = row["epoch"] == 4

    record = run(trees_config(), follow=end, is_trial=True)
    assert len(record.history) == 5

    def prune(followed: Run, row: Row) -> None:
        raise PrunedError(f"others were better than {row['val/rmse']}")

    config = trees_config("seed=5")
    with pytest.raises(PrunedError):
        run(config, follow=prune, is_trial=True)
    assert {RunRecord.load(path).status for path in Path(config.runs).iterdir()} == {
        "finished",
        "pruned",
    }


def test_trees_that_diverge_name_their_own_key(trees_config: Config) -> None:
    with pytest.raises(DivergedError, match=r"Lower model\.learning_rate\."):
        run(trees_config("model.learning_rate=1e300", "model.n_rounds=5"))


def test_callbacks_of_lightnings_are_refused(trees_config: Config) -> None:
    with pytest.raises(TypeError, match="follow="):
        run(trees_config(), callbacks=[pl.Callback()])


def test_several_are_grown_one_after_another_and_it_is_said_once(
    trees_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = trees_config("repeat=3", "engine=stacked", "model.n_rounds=3", "model.row_share=0.5")
    jobs = repeat_jobs(config, [], tmp_path / "several", "seed")
    console = Console(width=500)
    records = run_many(jobs, run, console)
    shas = {record.weights_sha256 for record in records if isinstance(record, RunRecord)}
    assert len(shas) == 3
    assert capsys.readouterr().out.count("trees are grown run after run") == 1


def test_weights_that_are_no_trees_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    state = torch.load(copy / BEST, weights_only=True)
    text = bytes(state["state_dict"]["trees"].numpy()).replace(b"left_child=1", b"left_child=9", 1)
    state["state_dict"]["trees"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    torch.save(state, copy / BEST)
    with pytest.raises(RunError, match="can't be loaded"):
        FinishedRun.load(copy)


OWN = '''
from studperf.config.types import PositiveInt
from studperf.data.encode import FeatureSpec
from studperf.models.lightgbm import LightGBM


class Stumps(LightGBM):
    """Trees of one split."""

    def __init__(self, features: FeatureSpec, *, n_rounds: PositiveInt) -> None:
        super().__init__(
            features, learning_rate=0.3, n_rounds=n_rounds, patience=9, n_leaves=2,
            min_rows_leaf=5, l2=0.0, row_share=1.0, column_share=1.0,
        )
'''


def test_somebodys_own_trees_are_two_files(tmp_path: Path) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "stumps.py").write_text(OWN)
    (tmp_path / "conf" / "model" / "stumps.yaml").write_text(
        "defaults:\n  - override /trainer@_global_.trainer: trees\n_target_: stumps.Stumps\nn_rounds: 30\n"
    )
    command = [sys.executable, "-m", "studperf.train", "model=stumps", *WORDS]
    command += ["tracking.wandb.mode=disabled", "runs=runs", "export=true"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (made,) = (tmp_path / "runs").iterdir()
    record = RunRecord.load(made)
    assert record.model == "stumps"
    assert len(record.history) <= 30
    assert record.n_parameters <= 60
    assert (made / "bundle" / "model.onnx").is_file()

    refused = subprocess.run(
        [*command, "optimizer.lr=1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "optimizer.lr: means nothing to model=stumps: its own keys are" in refused.stderr
