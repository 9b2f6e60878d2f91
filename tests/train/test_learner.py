"""The contract of a learner: one that knows neither lightning nor torch's modules goes the whole chain."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from studperf.config.run import RunConfig
from studperf.data.batches import Batch
from studperf.data.preparation import Prepared
from studperf.errors import DivergedError, StudperfError
from studperf.record.files import LOG_FILE, read_predictions
from studperf.record.record import RunRecord
from studperf.record.run import Job, Run
from studperf.record.surroundings import read_hardware
from studperf.scoring.metrics import FloatArray
from studperf.train.run import run_jobs

Config = Callable[..., RunConfig]


class Constant:
    """One number for every row."""

    kind = "Constant"
    n_parameters = 1

    def __init__(self) -> None:
        self.value = 0.0

    def predict_rows(self, rows: Batch) -> FloatArray:
        return np.full(len(rows[2]), self.value)

    def state_dict(self) -> Mapping[str, Tensor]:
        return {"value": torch.tensor(self.value)}

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        self.value = float(state["value"])


class ConstantLearner:
    """Learns the mean of the training rows plus the run's seed, two runs at a time."""

    is_first = True

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def n_together(self, ready: Prepared) -> int:
        return 2

    def build(self, configs: Sequence[RunConfig], ready: Prepared) -> list[Constant]:
        return [Constant() for _ in configs]

    def fit(self, runs: Sequence[Run], models: Sequence[Constant], ready: Prepared) -> None:
        self.sizes.append(len(runs))
        for run, model in zip(runs, models, strict=True):
            model.value = float(ready.train_target.mean()) + run.config.seed
            run.record.hardware = read_hardware("cpu", 1)
            names = ("train/loss", "val/loss", "val/rmse", "val/mae", "val/r2")
            run.add_epoch({"epoch": 0, **dict.fromkeys(names, 1.0), "lr": 0.0, "seconds": 0.1})

    def take_best(self, run: Run, model: Constant) -> None:
        if run.config.seed == 1:
            raise DivergedError("seed 1 is unlucky")
        run.record.best_epoch = 0
        run.record.best_value = 1.0


def jobs_of(config: RunConfig, folder: Path, n_runs: int) -> list[Job]:
    seeds = range(n_runs)
    configs = [config.model_copy(update={"seed": seed}) for seed in seeds]
    return [Job(own, (), folder / f"seed{own.seed}") for own in configs]


def test_any_learner_goes_the_whole_chain(small_config: Config, tmp_path: Path) -> None:
    learner = ConstantLearner()
    jobs = jobs_of(small_config("plots=true"), tmp_path, 3)
    first, unlucky, last = run_jobs(jobs, learner, Console(quiet=True), caught=(StudperfError,))
    assert learner.sizes == [2, 1]
    assert isinstance(unlucky, DivergedError)
    failed = RunRecord.load(tmp_path / "seed1")
    assert (failed.status, failed.error) == ("failed", "DivergedError: seed 1 is unlucky")
    for seed, record, n_stacked in ((0, first, 2), (2, last, 1)):
        assert isinstance(record, RunRecord), record
        assert RunRecord.load(tmp_path / f"seed{seed}") == record
        assert (record.status, record.n_stacked) == ("finished", n_stacked)
        assert record.timings_s.keys() == {"fit", "judge", "plots"}
        assert record.judgement is not None
        predictions = read_predictions(tmp_path / f"seed{seed}")
        # The mean baseline predicts the same number, but for the seed.
        assert (predictions["predicted"] - predictions["mean"]).unique() == pytest.approx(seed)


def test_an_error_that_is_not_caught_ends_all_runs_and_their_records_say_so(
    small_config: Config, tmp_path: Path
) -> None:
    jobs = jobs_of(small_config(), tmp_path, 2)
    with pytest.raises(DivergedError):
        run_jobs(jobs[1:], ConstantLearner(), Console(quiet=True))
    assert RunRecord.load(tmp_path / "seed1").status == "failed"

    class Broken(ConstantLearner):
        def fit(self, runs: Sequence[Run], models: Sequence[Constant], ready: Prepared) -> None:
            raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        run_jobs(jobs_of(small_config(), tmp_path / "b", 2), Broken(), Console(quiet=True))
    for seed in (0, 1):
        folder = tmp_path / "b" / f"seed{seed}"
        assert RunRecord.load(folder).error == "RuntimeError: out of paper"
        log = (folder / LOG_FILE).read_text()
        assert log.count("out of paper") >= 1
        assert log.count("failed") == 1


def test_a_trial_of_any_learner_leaves_the_test_split_closed(
    small_config: Config, tmp_path: Path
) -> None:
    jobs = jobs_of(small_config(), tmp_path, 1)
    (record,) = run_jobs(jobs, ConstantLearner(), Console(quiet=True), is_trial=True)
    assert isinstance(record, RunRecord)
    assert (record.status, record.judgement) == ("finished", None)
    assert set(read_predictions(tmp_path / "seed0")["split"]) == {"val"}
