"""The best epoch of a finished fit: its weights, and whether training ended too early."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from studperf.config.code.grown import is_grown
from studperf.config.run import Monitor, RunConfig
from studperf.errors import DivergedError, RunError
from studperf.record.files import BEST
from studperf.record.record import RunRecord
from studperf.record.run import Run
from studperf.record.shape import CutShort
from studperf.train.learner import Model
from studperf.train.watch import Watch

# Training was cut short if the best epoch is among the last twentieth of all (at least the very
# last one), and the error fell by at least these shares over the last fifth, or the last half, of
# the epochs. A learning rate that has come to rest gains less; one that a schedule takes to 0 gains
# little in its last fifth even where training has hardly begun.
_LAST_EPOCHS = 20
_LATE_GAINS = {5: 0.001, 2: 0.003}


def take_best(run: Run, model: Model, longer: str | None) -> None:
    """Load the weights of the best epoch into the model, and record which they are.

    Args:
        run: whose fit has ended.
        model: of the run.
        longer: the key that would let training go on; None where nothing would.

    Raises:
        RunError: no epoch came to its end.
        DivergedError: no epoch gave a finite value.
    """
    record = run.record
    monitor = run.config.monitor
    if not record.history:
        raise RunError(
            "No epoch came to its end, so there is nothing to judge. "
            "Raise trainer.max_steps or trainer.max_time, or drop it."
        )
    watch = Watch.of(record.history, monitor)
    if watch.best_epoch is None:
        way_out = "Lower optimizer.lr, or set trainer.gradient_clip_val."
        if is_grown(run.config.model):
            way_out = "Lower model.learning_rate."
        raise DivergedError(
            f"Training diverged: {monitor.metric} was never a finite number. {way_out}"
        )
    record.best_epoch = watch.best_epoch
    record.best_value = watch.best_value
    record.cut_short = find_cut(record, run.config.monitor, longer)
    record.weights_sha256 = load_best(model, run.folder)


def find_cut(record: RunRecord, monitor: Monitor, longer: str | None) -> CutShort | None:
    """Return the finding that training ended too early, or None if it did not.

    It did if the last epochs were the best, and early stopping did not end it.
    """
    n_epochs, best = len(record.history), record.best_epoch
    if record.is_stopped_early or best is None or longer is None:
        return None
    if best < n_epochs - max(1, n_epochs // _LAST_EPOCHS):
        return None
    metric = monitor.metric
    errors = [float(row.get(metric, math.nan)) for row in record.history]
    if monitor.mode == "max":
        # 1 - R2 is the error as a share of the variance, so that its gains are those of an error.
        errors = [1 - value for value in errors]

    for share, least in _LATE_GAINS.items():
        n_gained = max(1, n_epochs // share)
        gain = _late_gain(errors, best, n_gained)
        if gain >= least:
            return CutShort(
                metric=metric,
                best_epoch=best + 1,
                n_epochs=n_epochs,
                gain=gain,
                n_gained=n_gained,
                way_out=longer,
            )
    return None


def _late_gain(errors: Sequence[float], best: int, n_late: int) -> float:
    """Return the share of the error that the last epochs took away; 0 where that is not known."""
    earlier = [error for error in errors[: len(errors) - n_late] if math.isfinite(error)]
    # A loss such as gaussian_nll may be negative, and has no shares.
    if not earlier or min(earlier) <= 0:
        return 0.0
    return 1 - errors[best] / min(earlier)


def find_longer(config: RunConfig, n_epochs: int) -> str:
    """Return the key that would let the training of a network go on."""
    max_epochs = int(config.trainer["max_epochs"])
    if n_epochs >= max_epochs:
        return f"trainer.max_epochs={2 * max_epochs}"
    # Lightning's two ways to say that there is no limit.
    unlimited = (None, -1)
    limits = ("max_steps", "max_time")
    limiting = [key for key in limits if config.trainer.get(key) not in unlimited]
    names = " or ".join(f"trainer.{key}" for key in limiting)
    return f"a larger {names or 'trainer.max_epochs'}"


def load_best(model: Model, folder: Path) -> str:
    """Load the best epoch's weights into the model and return their sha256.

    Raises:
        RunError: the checkpoint is missing, damaged, or of another model.
    """
    try:
        # Tensors and plain values alone: a whole pickle could run code while it is loaded.
        state = torch.load(folder / BEST, map_location="cpu", weights_only=True)["state_dict"]
        model.load_weights(state)
    except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
        raise RunError(
            f"{folder / BEST}: can't be loaded, it is missing, damaged or of another model: {error}"
        ) from error
    return weights_sha256(state)


def weights_sha256(state: dict[str, Tensor]) -> str:
    """Return the sha256 of names, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        heading = f"{name}{tuple(tensor.shape)}{tensor.dtype}"
        digest.update(heading.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()
