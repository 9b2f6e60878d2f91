import base64
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import pandas as pd
import pytest
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from studperf.config.load import load_overrides
from studperf.config.run import RunConfig
from studperf.errors import Interrupted
from studperf.record.files import sha256_of
from studperf.record.record import RunRecord
from studperf.record.run import Run
from studperf.tracking import keys
from studperf.tracking.client import Scribe, close_scribe
from studperf.tracking.log_file import LoggedRun, read_run
from studperf.tracking.tracker import Tracker
from studperf.train.run import run
from studperf.train.runs import repeat_jobs, run_many
from studperf.train.session import resume

Config = Callable[..., RunConfig]


OFFLINE = "tracking.wandb.mode=offline"
WORDS = (
    "data=simulated",
    "data.source.simulate.rows=400",
    "trainer=smoke",
    "progress=false",
    "threads=1",
)
TABLES = {keys.SLICES, keys.PREDICTIONS, keys.BASELINES}


def only_log(folder: Path) -> LoggedRun:
    (log,) = folder.glob("wandb/offline-run-*")
    return read_run(log)


def folders_of(config: RunConfig) -> list[Path]:
    return sorted(Path(config.runs).iterdir())


@dataclass(frozen=True)
class Made:
    """A run of four epochs, and its log."""

    folder: Path
    record: RunRecord
    log: LoggedRun


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    runs = tmp_path_factory.mktemp("made")
    own = [
        "trainer.max_epochs=4",
        "tracking.wandb.tags=[first]",
        "tracking.wandb.predictions=25",
        "data.source.simulate.noise_sd=7.5",
    ]
    record = run(load_overrides([*WORDS, OFFLINE, *own, f"runs={runs}"]), overrides=["model=mlp"])
    close_scribe(20)
    return Made(runs / record.name, record, only_log(runs / record.name))


def test_each_run_of_a_stack_has_all_of_its_epochs(tmp_path: Path) -> None:
    words = [*WORDS, OFFLINE, "trainer.max_epochs=3", "repeat=3", "engine=stacked", "plots=false"]
    config = load_overrides([*words, f"runs={tmp_path}"])
    jobs = repeat_jobs(config, [], tmp_path / "together", "seed")
    results = run_many(jobs, run, Console(quiet=True))
    close_scribe(20)
    for seed, record in enumerate(results):
        assert isinstance(record, RunRecord), record
        assert (record.status, record.n_stacked) == ("finished", 3)
        logged = only_log(tmp_path / "together" / f"seed{seed}")
        assert (logged.name, logged.exit_code) == (f"seed{seed}", 0)
        rows = [row for row in logged.history if "val/rmse" in row]
        assert [row["val/rmse"] for row in rows] == [row["val/rmse"] for row in record.history]


class StopAt(Callback):
    """Ends a run in its second epoch."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise self.error


def test_an_offline_run_holds_all_that_the_record_holds(made: Made) -> None:
    record, folder, logged = made.record, made.folder, made.log

    assert record.tracking is not None
    assert (record.tracking.mode, record.tracking.id, record.tracking.url) == (
        "offline",
        logged.id,
        None,
    )
    assert RunRecord.load(folder) == record
    assert (logged.name, logged.project, logged.group, logged.exit_code) == (
        folder.name,
        "studperf",
        "",
        0,
    )
    assert logged.tags == ["first", "mlp", "simulated"]

    assert logged.config["optimizer"] == record.config["optimizer"]
    assert logged.config["data"]["columns"]["age"]["range"] == [5, 100]
    assert None not in logged.config["data"]["columns"]["age"].values()
    facts = logged.config[keys.RECORD]
    assert record.git is not None
    assert facts["git"] == {"commit": record.git.commit, "is_dirty": record.git.is_dirty}
    assert (facts["lock_sha256"], facts["overrides"], facts["model"]) == (
        record.lock_sha256,
        ["model=mlp"],
        "mlp",
    )
    assert (facts["data"]["split_sha256"], facts["versions"]) == (
        record.data.split_sha256,
        record.versions,
    )

    epochs = [row for row in logged.rows if keys.EPOCH in row]
    assert [
        {k: v for k, v in row.items() if k != keys.BEST_VALUE} for row in epochs
    ] == record.history
    best = [row[keys.BEST_VALUE] for row in epochs]
    assert best == [min(row["val/rmse"] for row in record.history[: i + 1]) for i in range(4)]

    judgement = record.judgement
    assert judgement is not None
    summary = logged.summary
    assert summary["test/rmse"] == judgement.scores.rmse.value
    assert (summary["test/rmse_low"], summary["test/rmse_high"]) == (
        judgement.scores.rmse.low,
        judgement.scores.rmse.high,
    )
    assert summary["baseline/ridge_rmse"] == judgement.baselines["ridge"].rmse.value
    assert (summary[keys.SKILL], summary[keys.VERDICT]) == (judgement.skill, judgement.verdict.kind)
    assert summary[keys.VERDICT_LINE] == judgement.verdict.line
    assert (summary[keys.STATUS], summary[keys.BEST_VALUE]) == ("finished", record.best_value)
    assert summary[keys.duration("fit")] == record.timings_s["fit"]


def test_plots_and_tables_are_logged_once_and_tell_no_row_from_another(made: Made) -> None:
    record, folder, logged = made.record, made.folder, made.log
    media = [row for row in logged.rows if keys.EPOCH not in row]
    assert len(media) == 1
    assert set(media[0]) == {
        *(keys.plot(n) for n in ("learning_curve", "parity", "residuals", "slices")),
        *TABLES,
    }
    assert media[0]["plots/parity"]["sha256"] == sha256_of(folder / "plots" / "parity.png")

    files = logged.path.parent / "files"
    predictions = json.loads((files / media[0][keys.PREDICTIONS]["path"]).read_text())
    assert predictions["columns"] == ["actual", "predicted", "error", "mean", "ridge", "boosting"]
    assert len(predictions["data"]) == 25
    saved = pd.read_parquet(folder / "predictions.parquet")
    known = set(saved[saved["split"] == "test"]["actual"].round(4))
    assert {row[0] for row in predictions["data"]} <= known
    assert all(row[2] == pytest.approx(row[1] - row[0], abs=1e-3) for row in predictions["data"])

    slices = json.loads((files / media[0][keys.SLICES]["path"]).read_text())
    assert record.judgement is not None
    assert [row[:3] for row in slices["data"]] == [
        [s.column, s.level, s.n] for s in record.judgement.slices if s.n >= 20
    ]


def test_the_table_is_used_by_reference_with_its_md5(
    offline_config: Config, real_csv: Path
) -> None:
    config = offline_config("data=students", f"data.source.path={real_csv}", "model=linear")
    record = run(config)
    (artifact,) = [a for a in only_log(folders_of(config)[0]).artifacts if a.type == "dataset"]
    assert artifact.is_used
    assert (artifact.name, artifact.metadata["md5"], artifact.metadata["rows"]) == (
        "students",
        record.data.md5,
        8000,
    )
    assert artifact.files == {real_csv.name: real_csv.resolve().as_uri()}
    assert base64.b64decode(artifact.digests[real_csv.name]).hex() == record.data.md5


def test_a_simulated_table_is_known_by_its_law(made: Made) -> None:
    (artifact,) = [a for a in made.log.artifacts if a.type == "dataset"]
    content = json.loads(Path(artifact.files["dataset.json"]).read_text())
    assert content["simulate"]["noise_sd"] == 7.5
    assert content == artifact.metadata


@pytest.mark.slow
def test_a_bundle_is_the_run_s_one_model_artifact(
    offline_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle's room writes it before the judgement is told; here a folder with a manifest stands in for it."""
    told = Tracker.log_judgement

    def with_bundle(self: Tracker) -> None:
        (self.folder / "bundle").mkdir()
        (self.folder / "bundle" / "manifest.json").write_text("{}")
        (self.folder / "bundle" / "model.safetensors").write_bytes(bytes([config.seed]))
        told(self)

    monkeypatch.setattr(Tracker, "log_judgement", with_bundle)
    values = {}
    aliases = {}
    for seed in range(3):
        config = offline_config(f"seed={seed}", "model=linear")
        record = run(config)
        folder = next(f for f in folders_of(config) if f.name == record.name)
        (artifact,) = [a for a in only_log(folder).artifacts if a.type == "model"]
        assert artifact.name == "studperf-linear"
        assert artifact.files.keys() == {"manifest.json", "model.safetensors"}
        assert artifact.files["model.safetensors"] == str(
            folder / "bundle" / "model.safetensors"
        ), "as it lies, not a copy"
        assert artifact.metadata["best_value"] == record.best_value
        values[seed], aliases[seed] = record.best_value, set(artifact.aliases)
        assert not [
            a for a in only_log(folder).artifacts if a.type not in ("model", "dataset", "run_table")
        ]
    best = [min(list(values.values())[: i + 1]) for i in range(3)]
    assert aliases == {
        i: {"latest", "best"} if values[i] == best[i] else {"latest"} for i in range(3)
    }
    assert "best" in aliases[0]


@pytest.mark.slow
def test_ten_runs_in_one_process_are_ten_runs(offline_config: Config) -> None:
    records = [run(offline_config(f"seed={seed}", "model=linear")) for seed in range(9)]
    with pytest.raises(ValueError, match="on purpose"):
        run(offline_config("seed=9", "model=linear"), callbacks=[StopAt(ValueError("on purpose"))])
    logs = {log.config["seed"]: log for log in map(only_log, folders_of(offline_config()))}
    assert logs.keys() == set(range(10))
    assert len({log.id for log in logs.values()}) == 10
    for record in records:
        log = logs[record.seed]
        assert record.tracking is not None
        assert (log.id, log.exit_code) == (record.tracking.id, 0)
        assert [row["val/rmse"] for row in log.rows if keys.EPOCH in row] == [
            row["val/rmse"] for row in record.history
        ]
    assert (logs[9].exit_code, logs[9].summary[keys.STATUS]) == (1, "failed")
    assert [row[keys.EPOCH] for row in logs[9].rows] == [0, 1]


def test_a_multirun_s_runs_are_a_group(offline_config: Config, tmp_path: Path) -> None:
    run(offline_config(), folder=tmp_path / "runs" / "monday" / "0_mlp_seed0")
    assert only_log(tmp_path / "runs" / "monday" / "0_mlp_seed0").group == "monday"


def test_a_resumed_run_goes_on_under_its_id(offline_config: Config) -> None:
    config = offline_config("trainer.max_epochs=5")
    with pytest.raises(Interrupted):
        run(config, callbacks=[StopAt(KeyboardInterrupt())])
    (folder,) = folders_of(config)
    first = only_log(folder)
    assert first.exit_code == 130
    assert first.summary[keys.STATUS] == "interrupted"
    record = resume(folder)
    second = read_run(
        max(folder.glob("wandb/offline-run-*"), key=lambda log: log.stat().st_mtime_ns)
    )
    assert second.path != first.path
    assert second.id == first.id == (record.tracking.id if record.tracking else None)
    epochs = [row[keys.EPOCH] for log in (first, second) for row in log.rows if keys.EPOCH in row]
    assert sorted(set(epochs)) == [0, 1, 2, 3, 4]
    assert second.exit_code == 0
    last = [row for row in second.rows if keys.EPOCH in row][-1]
    assert last[keys.BEST_VALUE] == record.best_value


def test_a_disabled_run_starts_no_process_and_leaves_no_folder(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scribe, "__init__", lambda *_: pytest.fail("a process was started"))
    config = small_config("tracking.wandb.mode=disabled")
    record = run(config)
    assert record.tracking is not None
    assert record.tracking.mode == "disabled"
    assert not (folders_of(config)[0] / "wandb").exists()


def test_the_id_is_in_the_record_before_the_fit(offline_config: Config) -> None:
    seen = []

    class Look(Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append(RunRecord.load(Path(trainer.default_root_dir)).tracking)

    record = run(offline_config(), callbacks=[Look()])
    assert seen[0] is not None
    assert record.tracking is not None
    assert seen[0].id == record.tracking.id


def test_a_process_that_dies_costs_one_warning(
    offline_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    class Kill(Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            from studperf.tracking import client as pipe

            assert pipe._current is not None
            pipe._current.kill()

    record = run(offline_config("trainer.max_epochs=3"), callbacks=[Kill()])
    assert record.status == "finished"
    assert record.tracking is not None
    assert "its process died" in str(record.tracking.note)
    assert capsys.readouterr().out.count("warning: W&B") == 1
    again = run(offline_config("seed=1"))
    assert again.tracking is not None
    assert again.tracking.note is None, "the next run has a process of its own"


def test_a_process_that_hangs_is_given_up(
    offline_config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("studperf.tracking.tracker._OFFLINE_S", 0.5)
    monkeypatch.setattr(Scribe, "receive", lambda self, timeout_s=None: None)
    record = run(offline_config())
    assert record.status == "finished"
    assert "not done 0.5 s after the end" in str(record.tracking and record.tracking.note)
    assert capsys.readouterr().out.count("warning: W&B") == 1


def test_of_two_processes_only_the_first_is_tracked(
    offline_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    record = run(offline_config())
    assert record.tracking is not None
    assert record.tracking.mode == "disabled"
    assert not (folders_of(offline_config())[0] / "wandb").exists()


def test_a_tracked_run_s_folder_can_be_copied(made: Made, tmp_path: Path) -> None:
    """wandb would leave links to what is no longer there."""
    assert not [path for path in made.folder.rglob("*") if path.is_symlink()]
    copied = shutil.copytree(made.folder, tmp_path / "copied")
    assert RunRecord.load(copied) == made.record


def test_what_wandb_writes_is_not_hashed(made: Made) -> None:
    assert (made.folder / "wandb").is_dir()
    assert not [name for name in made.record.files if name.startswith("wandb")]


def test_a_value_that_is_no_number_is_not_the_best(made: Made, small_config: Config) -> None:
    record = made.record.model_copy(deep=True)
    tracker = Tracker(Run(small_config(), record, made.folder, Console(quiet=True)))
    before = tracker.best
    tracker.log_epoch({"epoch": 2, "val/rmse": float("nan")})
    assert tracker.best == before == min(row["val/rmse"] for row in record.history)
