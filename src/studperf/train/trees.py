"""The fit of a model that is grown in rounds, such as boosted trees."""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Timer
from torch import Tensor

from studperf.config.code.own_code import is_raised_on_purpose
from studperf.config.files import write_atomically
from studperf.config.run import RunConfig
from studperf.data.batches import Batch
from studperf.data.encode import FeatureSpec
from studperf.data.large.memory import enough_memory
from studperf.data.preparation import Prepared
from studperf.errors import ConfigError
from studperf.models.trees import Array, Columns, Growth, TreeModel, TreesError
from studperf.record.files import BEST
from studperf.record.lifecycle import LOG
from studperf.record.run import Row, Run
from studperf.record.surroundings import read_hardware
from studperf.scoring.metrics import FloatArray
from studperf.train.best import take_best
from studperf.train.interrupt import sigterm_interrupts
from studperf.train.network.checkpoints import WRITE_EVERY_S, write_history
from studperf.train.network.losses import compute_loss
from studperf.train.network.module import build_model
from studperf.train.progress import EpochBar
from studperf.train.watch import Watch

# Below this, a second thread saves less than the CPU it takes from others (measured on two cores:
# on 160,000 cells a round takes 0.94 times as long with two threads, on 1,250,000 0.78 times).
ONE_THREAD_CELLS = 1_000_000
# In place of a constant target's 0, by which nothing can be divided.
_MIN_STD = 1e-12
_N_LOG_LINES = 10


class TreesModel:
    """The grown model of one run, with the scaling of its target.

    Args:
        trees: grow on a standardised target.
        target_mean: of the training rows.
        target_std: of the training rows.
    """

    def __init__(self, trees: TreeModel, *, target_mean: float, target_std: float) -> None:
        self.trees = trees
        self.target_mean = target_mean
        self.target_std = max(target_std, _MIN_STD)
        self.text = ""

    @property
    def kind(self) -> str:
        """Name of the model's class."""
        return type(self.trees).__name__

    @property
    def n_parameters(self) -> int:
        """Number of leaves, each of which is a number that was learnt; 0 before the fit."""
        return len(self.trees.forest().value) if self.text else 0

    def predict_rows(self, rows: Batch) -> FloatArray:
        """Return predictions (N,) in the target's unit."""
        return self.unscale(self.trees.predict(as_columns(rows)))

    def scale(self, target: FloatArray) -> FloatArray:
        """Return the target standardised."""
        return (target - self.target_mean) / self.target_std

    def unscale(self, y: FloatArray) -> FloatArray:
        """Map standardised predictions to the target's unit."""
        return y * self.target_std + self.target_mean

    def state_dict(self) -> dict[str, Tensor]:
        """Return the trees' text as bytes, and the scaling of the target."""
        raw = np.frombuffer(self.text.encode(), dtype=np.uint8)
        return {
            "trees": torch.from_numpy(raw.copy()),
            "target_mean": torch.tensor(self.target_mean, dtype=torch.float64),
            "target_std": torch.tensor(self.target_std, dtype=torch.float64),
        }

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state_dict` gave.

        Raises:
            ValueError: it is not that.
        """
        text = bytes(state["trees"].numpy()).decode()
        try:
            self.trees.read(text)
        except TreesError as error:
            raise ValueError(str(error)) from error
        self.text = text
        self.target_mean = float(state["target_mean"])
        self.target_std = float(state["target_std"])


class TreesLearner:
    """Grows one run's trees at a time, on the CPU.

    Nothing is kept to go on from: a fit that is interrupted begins again, to the same bits.

    Args:
        config: its trainer is read.

    Raises:
        ConfigError: `trainer.max_time` is no time.
    """

    is_first = True

    def __init__(self, config: RunConfig) -> None:
        self.max_s = _read_max_time(config.trainer.get("max_time"))

    def n_together(self, ready: Prepared) -> int:  # noqa: ARG002 - the contract's
        """Return 1: trees are grown run after run."""
        return 1

    def build(self, configs: Sequence[RunConfig], ready: Prepared) -> list[TreesModel]:
        """Return a model without trees for each configuration."""
        features = ready.encoder.features
        return [build_trees(config, features, ready.train_target) for config in configs]

    def fit(self, runs: Sequence[Run], models: Sequence[TreesModel], ready: Prepared) -> None:
        """Grow trees until val gets no better, and keep those of the best round.

        Raises:
            ConfigError: the model can't be grown as it was asked for.
            KeyboardInterrupt: Ctrl-C or SIGTERM; the history is kept, trees are not.
        """
        (run,) = runs
        (model,) = models
        n_threads = choose_threads(run.config, model, len(ready.table.rows["train"]))
        run.record.hardware = read_hardware("cpu", n_threads)
        fit = _Fit(run, model, self.max_s)
        with sigterm_interrupts():
            fit.begin(ready, n_threads)
            fit.grow_all()
        fit.keep_best()

    def take_best(self, run: Run, model: TreesModel) -> None:
        """Load the trees of the best round, and record which they are."""
        take_best(run, model, self._find_longer(run, model))
        run.record.n_parameters = model.n_parameters

    def _find_longer(self, run: Run, model: TreesModel) -> str | None:
        """Return the key that would let it grow on; None where no split was left."""
        n_grown = len(run.record.history)
        if n_grown >= model.trees.n_rounds:
            return f"model.n_rounds={2 * n_grown}"
        if n_grown >= _most_rounds(run.config, model.trees):
            return f"trainer.max_epochs={2 * n_grown}"
        if self.max_s < math.inf:
            return "a larger trainer.max_time"
        return None


class _Fit:
    """The rounds of one run.

    Args:
        run: gets a row of history for each.
        model: is grown.
        max_s: seconds after which no round begins.
    """

    def __init__(self, run: Run, model: TreesModel, max_s: float) -> None:
        self.run = run
        self.model = model
        self.trees = model.trees
        self.max_s = max_s
        patience = self.trees.patience
        self.watch = Watch(run.config.monitor.model_copy(update={"patience": patience}))
        self.n_rounds = _most_rounds(run.config, self.trees)
        self.bar = EpochBar(run.console, is_shown=run.config.progress, unit="round")
        self.lr = float(run.config.model.get("learning_rate", math.nan))

    def begin(self, ready: Prepared, n_threads: int) -> None:
        """Hand the rows to the model.

        Raises:
            ConfigError: it refused them.
        """
        config = self.run.config
        train, self.z_train = self._read(ready.table.part("train"))
        val, self.z_val = self._read(ready.table.part("val"))
        loss = config.loss
        if loss.name == "gaussian_nll":
            raise ConfigError("loss.name: trees are grown for mse, huber or quantile")
        growth = Growth(loss.name, loss.delta, loss.quantile, config.seed, n_threads)
        try:
            self.trees.begin((train, self.z_train), (val, self.z_val), growth)
        except ValueError as error:
            if not is_raised_on_purpose(error):
                raise
            raise ConfigError(f"model: {error}") from error
        self.started = self.written = time.monotonic()

    def _read(self, rows: Batch) -> tuple[Columns, Array]:
        return as_columns(rows), self.model.scale(rows[2].double().numpy())

    def grow_all(self) -> None:
        """Grow round by round, until a limit is met or val gets no better."""
        self.bar.start(self.n_rounds)
        try:
            for number in range(self.n_rounds):
                # The first round has a row even where nothing can be split: it predicts the mean.
                if not self.trees.grow() and number:
                    LOG.info("no split is left after %d rounds", number)
                    break
                self._note_round(number)
                if self.watch.is_over or self.run.is_over or self._seconds() > self.max_s:
                    break
        finally:
            self.bar.close()
            self._write()
        self.run.record.is_stopped_early = self.watch.is_stopped_early

    def _note_round(self, number: int) -> None:
        """Add a round's row to the history, and show it."""
        fitted, predicted = self.trees.fitted()
        row: Row = {
            "epoch": number,
            "train/loss": self._loss(fitted, self.z_train),
            "val/loss": self._loss(predicted, self.z_val),
            **_errors(predicted, self.z_val, self.model.target_std),
            "lr": self.lr,
            "seconds": round(self._seconds(), 4),
        }
        self.run.add_epoch(row)
        self.watch.look(row)

        metric = self.run.config.monitor.metric
        text = f"{metric} {row[metric]:.4g}"
        if self.watch.best_value is not None:
            text += f" (best {self.watch.best_value:.4g})"
        self.bar.move(number + 1, text)
        if (number + 1) % max(1, self.n_rounds // _N_LOG_LINES) == 0:
            LOG.info("round %d of %d: %s", number + 1, self.n_rounds, text)
        # To write a record of hundreds of rounds takes longer than a round.
        if time.monotonic() - self.written >= WRITE_EVERY_S:
            self._write()

    def _loss(self, y: Array, z: Array) -> float:
        """Return the mean loss, as a network's is reckoned."""
        loss = self.run.config.loss
        mean = compute_loss(loss, torch.from_numpy(y), torch.from_numpy(z), None, reduction="mean")
        return float(mean)

    def _seconds(self) -> float:
        return time.monotonic() - self.started

    def _write(self) -> None:
        """Write record and history."""
        self.run.save()
        write_history(self.run)
        self.written = time.monotonic()

    def keep_best(self) -> None:
        """Write the trees up to the best round; none if no round gave a finite value."""
        best = self.watch.best_epoch
        if best is None:
            return
        self.model.text = self.trees.to_text(best + 1)
        state = {
            "epoch": best,
            "value": self.watch.best_value,
            "state_dict": self.model.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        path = self.run.folder / BEST
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, buffer.getvalue())


def _most_rounds(config: RunConfig, trees: TreeModel) -> int:
    """Return the rounds that the model allows, or the epochs that the trainer does, if fewer."""
    max_epochs = config.trainer.get("max_epochs")
    if max_epochs is None:
        return trees.n_rounds
    return min(trees.n_rounds, int(max_epochs))


def _errors(y: Array, z: Array, std: float) -> dict[str, float]:
    """Return the metrics over val in the target's unit, as `ScoreModule` reckons them."""
    spread = (z - z.mean()) * std
    variation = float(np.square(spread).sum())
    # What has diverged is beyond all numbers, which `Watch` takes for the end.
    with np.errstate(over="ignore", invalid="ignore"):
        error = (y - z) * std
        squares = float(np.square(error).sum())
    return {
        "val/rmse": math.sqrt(squares / len(z)),
        "val/mae": float(np.abs(error).mean()),
        "val/r2": 1 - squares / variation if variation else math.nan,
    }


def as_columns(rows: Batch) -> Columns:
    """Return numbers and codes in one matrix, (N, F + C).

    A code is a whole number that float32 holds exactly.
    """
    x_num, x_cat = rows[:2]
    return np.concatenate([x_num.numpy(), x_cat.numpy()], axis=1, dtype=np.float32)


def build_trees(config: RunConfig, features: FeatureSpec, train_target: FloatArray) -> TreesModel:
    """Build the model for these features, without trees.

    Raises:
        ConfigError: it refused its hyperparameters.
    """
    try:
        with enough_memory(config):
            trees = build_model(config.model, features)
    except ValueError as error:
        if not is_raised_on_purpose(error):
            raise
        raise ConfigError(f"model: {error}") from error
    return TreesModel(
        trees, target_mean=float(train_target.mean()), target_std=float(train_target.std())
    )


def choose_threads(config: RunConfig, model: TreesModel, n_rows: int) -> int:
    """Return the threads that are asked for, or by the size of the training rows one or all."""
    if isinstance(config.threads, int):
        return config.threads
    if n_rows * model.trees.n_columns < ONE_THREAD_CELLS:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_max_time(max_time: Any) -> float:  # noqa: ANN401 - of several types in lightning
    """Return the seconds of `trainer.max_time`, as lightning reads it; infinite without one.

    Raises:
        ConfigError: it is no time.
    """
    if max_time is None:
        return math.inf
    try:
        left = Timer(duration=max_time).time_remaining()
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise ConfigError(f"trainer.max_time: {error}") from error
    return math.inf if left is None else left
