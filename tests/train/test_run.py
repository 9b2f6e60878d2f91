import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from lightning.pytorch import Callback

from kit.models import NETWORKS
from studperf.config.load import load_overrides
from studperf.config.run import RunConfig
from studperf.data.encode import FeatureSpec
from studperf.errors import (
    ConfigError,
    DataError,
    DivergedError,
    LeakError,
    RunError,
    TooLargeError,
)
from studperf.evaluate import FinishedRun
from studperf.record.files import BEST, LAST, sha256_of
from studperf.record.record import RunRecord
from studperf.scoring import metrics
from studperf.train.best import weights_sha256
from studperf.train.network.fit import choose_threads
from studperf.train.network.module import ScoreModule, build_model
from studperf.train.run import run
from studperf.train.session import resume

Config = Callable[..., RunConfig]
SEVEN_NOISE_COLUMNS = "age,study_hours_per_day,ai_usage_time_minutes,ai_prompts_per_week,sleep_hours,social_media_hours,ai_tools_used"


def folder_of(config: RunConfig) -> Path:
    (folder,) = Path(config.runs).iterdir()
    return folder


def train_process(tmp_path: Path, *overrides: str) -> subprocess.Popen[str]:
    words = [
        "data=simulated",
        "data.source.simulate.rows=600",
        "threads=1",
        "plots=false",
        f"runs={tmp_path / 'runs'}",
        *overrides,
    ]
    command = [sys.executable, "-m", "studperf.train", *words]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        # Wide enough that no cell of a table is broken in two.
        env={**os.environ, "COLUMNS": "160"},
    )


def wait_for_epochs(runs: Path, n_epochs: int, timeout_s: float = 90) -> Path:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        for history in runs.glob("*/history.csv"):
            if len(history.read_text().splitlines()) > n_epochs:
                return history.parent
        time.sleep(0.02)
    raise TimeoutError(f"no run reached epoch {n_epochs}")


def test_a_run_leaves_a_complete_folder(small_config: Config) -> None:
    config = small_config("model=mlp", "plots=true")
    record = run(config, overrides=["model=mlp"])
    folder = folder_of(config)
    expected = {
        "seen_rows.parquet",
        "config.yaml",
        "overrides.yaml",
        "encoder.json",
        "history.csv",
        "predictions.parquet",
        "log.txt",
        BEST,
        LAST,
    }
    expected |= {
        f"plots/{name}.png" for name in ("learning_curve", "parity", "residuals", "slices")
    }
    assert set(record.files) == expected
    assert all(sha256_of(folder / name) == sha256 for name, sha256 in record.files.items())
    assert RunRecord.load(folder) == record
    assert record.status == "finished"
    assert yaml.safe_load((folder / "overrides.yaml").read_text()) == ["model=mlp"]
    assert (
        load_overrides([]).model_name
        == yaml.safe_load((folder / "config.yaml").read_text())["model"]["_target_"].split(".")[-2]
    )
    assert "finished" in (folder / "log.txt").read_text()


def test_the_record_holds_what_the_run_did(small_config: Config) -> None:
    record = run(small_config("model=linear", "seed=4", "data.split.seed=7", "plots=true"))
    assert (record.model, record.seed, record.data.is_simulated) == ("linear", 4, True)
    assert (record.data.n_train, record.data.n_val, record.data.n_test) == (320, 40, 40)
    assert [row["epoch"] for row in record.history] == [0, 1]
    assert record.best_epoch == int(np.argmin([row["val/rmse"] for row in record.history]))
    assert record.hardware is not None
    assert record.hardware.n_threads == 1
    assert set(record.timings_s) == {"fit", "judge", "plots"}
    assert all(seconds > 0 for seconds in record.timings_s.values())
    assert record.timings_s["fit"] >= record.history[-1]["seconds"]
    assert (
        record.versions["torch"] == torch.__version__.split("+")[0]
        or record.versions["torch"] == torch.__version__
    )


def test_scores_are_those_of_the_saved_predictions(small_config: Config) -> None:
    config = small_config("model=mlp")
    record = run(config)
    predictions = pd.read_parquet(folder_of(config) / "predictions.parquet")
    test = predictions[predictions["split"] == "test"]
    assert record.judgement is not None
    assert record.judgement.scores.rmse.value == pytest.approx(
        np.sqrt(((test["predicted"] - test["actual"]) ** 2).mean())
    )
    for name in ("mean", "ridge", "boosting"):
        expected = np.sqrt(((test[name] - test["actual"]) ** 2).mean())
        assert record.judgement.baselines[name].rmse.value == pytest.approx(expected)


def test_predictions_belong_to_their_rows(small_config: Config) -> None:
    """The simulator's law is known: the ridge and the model must follow it row by row, in the target's own unit."""
    config = small_config(
        "model=linear",
        "trainer.max_epochs=40",
        "optimizer.lr=0.02",
        "data.source.simulate.noise_sd=0.01",
    )
    run(config)
    predictions = pd.read_parquet(folder_of(config) / "predictions.parquet")
    assert np.corrcoef(predictions["predicted"], predictions["actual"])[0, 1] > 0.98
    assert (predictions["predicted"] - predictions["actual"]).abs().mean() < 2.0
    from studperf.data.simulate import simulate

    table = simulate(config.data)
    assert predictions["actual"].to_numpy() == pytest.approx(
        table["final_score"].to_numpy()[predictions["row"] - 1]
    )


def test_the_best_epoch_is_scored_and_not_the_last(small_config: Config) -> None:
    """A learning rate that wrecks the model after a while: best and last differ by far."""
    config = small_config(
        "model=linear",
        "trainer.max_epochs=12",
        "optimizer.name=sgd",
        "optimizer.lr=0.9",
        "scheduler.name=none",
    )
    record = run(config)
    folder = folder_of(config)
    assert record.best_epoch != len(record.history) - 1
    best = torch.load(folder / BEST, weights_only=True)["state_dict"]
    last = torch.load(folder / LAST, weights_only=True)["state_dict"]
    assert record.weights_sha256 == weights_sha256(best) != weights_sha256(last)
    predictions = pd.read_parquet(folder / "predictions.parquet")
    val = predictions[predictions["split"] == "val"]
    assert metrics.rmse(val["predicted"].to_numpy(), val["actual"].to_numpy()) == pytest.approx(
        record.best_value, rel=1e-5
    )


def test_checkpoints_load_with_weights_only(small_config: Config) -> None:
    config = small_config()
    run(config)
    for name in (BEST, LAST):
        assert torch.load(folder_of(config) / name, weights_only=True)["state_dict"]


@pytest.mark.parametrize("loss", ["mse", "huber", "gaussian_nll", "quantile"])
def test_every_loss_learns(small_config: Config, loss: str) -> None:
    record = run(
        small_config(
            "model=linear", f"loss.name={loss}", "trainer.max_epochs=20", "optimizer.lr=0.02"
        )
    )
    assert record.judgement is not None
    assert record.judgement.skill > 0.4


def test_a_high_quantile_is_predicted_above_the_middle(small_config: Config) -> None:
    record = run(
        small_config(
            "model=linear",
            "loss.name=quantile",
            "loss.quantile=0.9",
            "trainer.max_epochs=30",
            "optimizer.lr=0.02",
            "batch_size=32",
        )
    )
    assert record.judgement is not None
    assert record.judgement.scores.bias.low > 2


@pytest.mark.parametrize(
    "words",
    [["optimizer.name=adam"], ["optimizer.name=sgd", "optimizer.lr=0.05"], ["scheduler.name=none"]],
)
def test_every_optimizer_learns(small_config: Config, words: list[str]) -> None:
    record = run(small_config("model=linear", "trainer.max_epochs=15", "optimizer.lr=0.02", *words))
    assert record.judgement is not None
    assert record.judgement.skill > 0.3


@pytest.mark.parametrize("words", [["encode.numbers=quantile"], ["encode.categories=onehot"]])
def test_every_encoding_trains(small_config: Config, words: list[str]) -> None:
    record = run(small_config("model=linear", "trainer.max_epochs=20", "optimizer.lr=0.02", *words))
    assert record.judgement is not None
    assert record.judgement.skill > 0.4


def test_scoring_on_val_leaves_the_test_split_closed(small_config: Config) -> None:
    config = small_config("score_on=val")
    record = run(config)
    assert record.judgement is not None
    assert record.judgement.scored_on == "val"
    assert record.judgement.conformal is None
    assert set(pd.read_parquet(folder_of(config) / "predictions.parquet")["split"]) == {"val"}


def test_early_stopping_ends_a_run_that_gets_no_better(small_config: Config) -> None:
    record = run(
        small_config(
            "model=mean", "trainer.max_epochs=40", "monitor.patience=2", "monitor.min_delta=0.5"
        )
    )
    assert record.is_stopped_early
    assert len(record.history) < 40


def test_r2_is_watched_upwards(small_config: Config) -> None:
    record = run(small_config("model=linear", "monitor.metric=val/r2", "trainer.max_epochs=4"))
    assert record.best_value == max(row["val/r2"] for row in record.history)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(small_config: Config) -> None:
    first, again, other = (run(small_config("model=mlp", f"seed={seed}")) for seed in (0, 0, 1))
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256


def test_a_leak_stops_the_run_before_anything_is_written(small_config: Config) -> None:
    config = small_config("data.columns.passed.kind=flag")
    with pytest.raises(LeakError, match="passed: it is an exact step function of the target"):
        run(config)
    assert not Path(config.runs).exists()


def test_an_allowed_leak_is_recorded_and_told_beside_a_verdict_by_the_numbers(
    small_config: Config,
) -> None:
    record = run(small_config("data.columns.passed.kind=flag", "data.allow_leaks=[passed]"))
    assert list(record.data.allowed_leaks) == ["passed"]
    assert record.judgement is not None
    # Two epochs learn nothing: the verdict must not call that suspiciously good.
    assert record.judgement.verdict.kind == "worse"
    assert "A leak was allowed: passed gives the target away." in record.judgement.verdict.line


def test_columns_left_out_are_named_in_the_verdict(small_config: Config) -> None:
    config = small_config(
        "model=linear", f"data.features=[{SEVEN_NOISE_COLUMNS}]", "data.source.simulate.rows=2000"
    )
    record = run(config)
    assert record.judgement is not None
    assert record.judgement.verdict.kind == "no better than the mean"
    assert "last_exam_score" in record.judgement.verdict.line
    assert "last_exam_score" in record.data.left_out_signal


def test_a_finished_run_is_not_trained_again(
    small_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config()
    record = run(config)
    before = sha256_of(folder_of(config) / "record.json")
    assert resume(folder_of(config)) == record
    assert sha256_of(folder_of(config) / "record.json") == before
    assert "finished" in capsys.readouterr().out


def test_resume_refuses_other_rows(small_config: Config, tmp_path: Path) -> None:
    config = small_config()
    run(config)
    folder = folder_of(config)
    record = RunRecord.load(folder)
    record.status = "interrupted"
    record.data.split_sha256 = "0" * 64
    record.save(folder)
    with pytest.raises(RunError, match="can't go on, the split"):
        resume(folder)


def test_a_run_folder_may_not_name_foreign_code(small_config: Config) -> None:
    config = small_config()
    run(config)
    folder = folder_of(config)
    record = RunRecord.load(folder)
    record.config["model"] = {"_target_": "subprocess.Popen", "args": ["true"]}
    record.save(folder)
    with pytest.raises(Exception, match=r"only studperf\.models\. is taken"):
        FinishedRun.load(folder)


def test_a_failing_run_says_so_in_its_record(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config()

    def explode(*args: object) -> None:
        raise RuntimeError("out of paper")

    monkeypatch.setattr(ScoreModule, "predict_rows", explode)
    with pytest.raises(RuntimeError, match="out of paper"):
        run(config)
    record = RunRecord.load(folder_of(config))
    assert record.status == "failed"
    assert record.error == "RuntimeError: out of paper"
    assert "out of paper" in (folder_of(config) / "log.txt").read_text()


def test_a_missing_table_is_refused_when_simulating_is_forbidden(small_config: Config) -> None:
    config = small_config(
        "data=students", "data.source.path=nowhere.csv", "data.source.otherwise=fail"
    )
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file"):
        run(config)
    assert not Path(config.runs).exists()


def test_small_models_get_one_thread_and_large_ones_all_cores() -> None:
    features = FeatureSpec(20, (3, 6))
    rows = (torch.zeros(256, 20), torch.zeros(256, 2, dtype=torch.int64), torch.zeros(256))
    chosen = {}
    for name in ("mlp", "tabm"):
        config = load_overrides([f"model={name}"])
        module = ScoreModule(
            build_model(config.model, features), config, target_mean=0.0, target_std=1.0
        )
        chosen[name] = choose_threads(module, rows, 256)
    assert chosen == {"mlp": 1, "tabm": os.cpu_count()}


@pytest.mark.parametrize("name", NETWORKS)
def test_threads_are_chosen_for_every_network(name: str) -> None:
    config = load_overrides([f"model={name}"])
    module = ScoreModule(
        build_model(config.model, FeatureSpec(3, (2,))), config, target_mean=0.0, target_std=1.0
    )
    assert (
        choose_threads(
            module, (torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.int64), torch.zeros(4)), 4
        )
        == 1
    )


@pytest.mark.parametrize("word", ["trainer.max_steps=1", "trainer.max_time=00:00:00:00"])
@pytest.mark.parametrize("progress", ["true", "false"])
def test_a_run_that_no_epoch_of_came_to_its_end_says_so(
    small_config: Config, word: str, progress: str
) -> None:
    with pytest.raises(RunError, match="No epoch came to its end"):
        run(small_config(word, f"progress={progress}"))


def test_an_epoch_cut_short_by_max_steps_has_no_row(
    small_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run(
        small_config("trainer.max_steps=3", "trainer.max_epochs=5", "progress=true", "plots=false")
    )  # two steps an epoch
    assert len(record.history) == 1
    assert capsys.readouterr().out.count("/5  val/rmse") == 1


@pytest.mark.parametrize(
    "word", ["trainer.precision=fp16", "trainer.devices=x", "trainer.max_time=x"]
)
def test_what_lightning_refuses_leaves_no_folder(small_config: Config, word: str) -> None:
    config = small_config(word)
    with pytest.raises(ConfigError, match="trainer: lightning refused"):
        run(config)
    assert not Path(config.runs).exists()


def test_the_accelerator_asked_for_must_be_there(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="trainer: lightning refused"):
        run(load_overrides(["data=simulated", "trainer=gpu", f"runs={tmp_path}"]))


@pytest.mark.slow
@pytest.mark.parametrize("n_epochs", [2, 6])
def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path, n_epochs: int) -> None:
    words = (
        "model=mlp",
        "trainer.max_epochs=12",
        "monitor.patience=50",
        "batch_size=1",
    )  # slow enough to be killed in time
    whole = train_process(tmp_path / ".", *words, f"runs={tmp_path / 'whole'}")
    killed = train_process(tmp_path, *words)
    folder = wait_for_epochs(tmp_path / "runs", n_epochs)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    broken = RunRecord.load(folder)
    assert broken.status == "interrupted"
    assert broken.judgement is None
    whole.communicate()
    subprocess.run(
        [sys.executable, "-m", "studperf.train", f"resume={folder}"],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    (reference,) = (tmp_path / "whole").iterdir()
    assert RunRecord.load(folder).weights_sha256 == RunRecord.load(reference).weights_sha256
    assert RunRecord.load(folder).judgement == RunRecord.load(reference).judgement


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_cleanly_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = train_process(
        tmp_path, "model=mlp", "trainer.max_epochs=2000", "monitor.patience=2000"
    )
    folder = wait_for_epochs(tmp_path / "runs", 3)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "resume=" in output
    assert "Traceback" not in output
    assert RunRecord.load(folder).status == "interrupted"


@pytest.mark.slow
def test_multirun_trains_each_and_ends_with_a_summary(tmp_path: Path) -> None:
    process = train_process(
        tmp_path, "-m", "model=mean,linear", "seed=0,1", "trainer=smoke", "progress=false"
    )
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert "4 runs" in output
    assert "no better than the mean" in output
    (folder,) = (tmp_path / "runs").iterdir()
    records = [RunRecord.load(path.parent) for path in folder.glob("*/record.json")]
    assert sorted((r.model, r.seed, r.status) for r in records) == [
        (model, seed, "finished") for model in ("linear", "mean") for seed in (0, 1)
    ]


def test_the_encoder_of_a_run_knows_the_training_rows_only(small_config: Config) -> None:
    from studperf.data.encode import Encoder
    from studperf.data.schema import check_table
    from studperf.data.simulate import simulate
    from studperf.data.split import split_rows, split_table

    config = small_config("model=linear")
    run(config)
    table = check_table(simulate(config.data), config.data)
    train = split_rows(table, split_table(table))["train"]
    saved = Encoder.model_validate_json((folder_of(config) / "encoder.json").read_bytes())
    assert saved == Encoder.fit(train, config.encode) != Encoder.fit(table, config.encode)
    assert saved.numbers[0].mean == pytest.approx(train.frame[saved.numbers[0].name].mean())


def test_a_table_on_disk_trains_to_the_same_scores(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studperf.data.large.arrow.N_ROWS", 70)
    runs = [run(small_config("model=mlp", f"data.memory={memory}")) for memory in ("auto", "disk")]
    facts = [record.data.model_dump(exclude={"warnings"}) for record in runs]
    assert facts[0] == facts[1]
    # Batches from disk are drawn in blocks, so that the same rows come in another order.
    values = [[float(row["val/rmse"]) for row in record.history] for record in runs]
    assert values[0] == pytest.approx(values[1], rel=2e-2)
    judgements = [record.judgement for record in runs]
    assert judgements[0] is not None
    assert judgements[1] is not None
    assert judgements[0].scores.rmse.value == pytest.approx(
        judgements[1].scores.rmse.value, rel=2e-2
    )
    assert [(s.column, s.level, s.n) for s in judgements[0].slices] == [
        (s.column, s.level, s.n) for s in judgements[1].slices
    ]
    assert judgements[0].baselines["ridge"].rmse.value == pytest.approx(
        judgements[1].baselines["ridge"].rmse.value, rel=1e-5
    )


def test_the_record_says_that_baselines_saw_a_sample(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studperf.data.rows.N_SAMPLED", 100)
    record = run(small_config("model=linear", "data.memory=disk"))
    assert record.data.n_sampled == 100
    assert "table: leak tests and baselines saw 100 of 320 training rows" in record.data.warnings
    assert RunRecord.load(folder_of(small_config())).data == record.data


def test_a_run_that_diverges_says_so_instead_of_being_judged(small_config: Config) -> None:
    config = small_config(
        "model=linear",
        "optimizer.name=sgd",
        "optimizer.lr=1e30",
        "scheduler.warmup=0",
        "batch_size=16",
    )
    with pytest.raises(DivergedError, match=r"never a finite number\. Lower optimizer\.lr"):
        run(config)
    assert RunRecord.load(folder_of(config)).status == "failed"


def test_a_table_asked_for_by_name_must_be_there(tmp_path: Path) -> None:
    config = load_overrides(
        [f"data.source.path={tmp_path / 'typo.csv'}", f"runs={tmp_path / 'runs'}"]
    )
    with pytest.raises(DataError, match=r"typo\.csv: no such file"):
        run(config)


@pytest.mark.parametrize(
    "width", ["1000000000000000", "100000000000000000", "100000000000000000000"]
)
def test_a_model_that_no_memory_holds_is_refused_by_its_sizes_and_leaves_no_folder(
    small_config: Config, width: str
) -> None:
    config = small_config(f"model.d_hidden=[8,{width}]")
    with pytest.raises(
        TooLargeError,
        match=rf"not enough memory for the model mlp with model\.d_hidden=\[8,{width}\], batch_size=\d+: it",
    ):
        run(config)
    assert not Path(config.runs).exists()


class Greedy(Callback):
    """Asks for more than there is, once an epoch is over."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self.ask = ask

    def on_train_epoch_end(self, *_: object) -> None:
        self.ask()


@pytest.mark.parametrize(
    ("ask", "asked"),
    [
        (lambda: torch.empty(10**15), "4,000,000.0 GB at once"),
        (lambda: np.empty(10**15), r"7\.11 PiB at once"),
        (lambda: bytearray(10**17), "more than there is"),
    ],
    ids=["torch", "numpy", "Python"],
)
def test_memory_that_ends_while_training_is_told_and_recorded(
    small_config: Config, ask: Callable[[], object], asked: str
) -> None:
    config = small_config("model.d_hidden=16")
    with pytest.raises(
        TooLargeError,
        match=rf"mlp with model\.d_hidden=\[16\], batch_size=\d+: it asked for {asked}",
    ):
        run(config, callbacks=[Greedy(ask)])
    record = RunRecord.load(folder_of(config))
    assert (record.status, len(record.history)) == ("failed", 1)
    assert str(record.error).startswith(
        "TooLargeError: There is not enough memory for the model mlp"
    )
