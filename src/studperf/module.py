"""The one LightningModule: loss, target scaling, optimizer and metrics around any model."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from studperf.config.shape import Loss, Optimizer, RunConfig, Scheduler
from studperf.data.batches import Batch, epoch_seed
from studperf.data.encode import FeatureSpec
from studperf.errors import ConfigError
from studperf.metrics import FloatArray

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler

_MIN_STD = 1e-12
_SCORING_BATCH_SIZE = 8192


class ScoreModule(LightningModule):
    """Trains a model on standardised targets and predicts in the target's unit.

    An ensemble's loss is the mean of its members' losses, its prediction the mean of their predictions. Metrics are kept as tensors
    and reduced once an epoch; nothing is logged in a step.

    Args:
        model: forward (B, F), (B, C) -> (B,) or (B, K).
        config: loss, optimizer, scheduler and seed are read.
        target_mean: of the training rows.
        target_std: of the training rows.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(self, model: nn.Module, config: RunConfig, *, target_mean: float, target_std: float) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.criterion = build_loss(config.loss)
        self.register_buffer("target_mean", torch.tensor(target_mean, dtype=torch.float32))
        self.register_buffer("target_std", torch.tensor(max(target_std, _MIN_STD), dtype=torch.float32))
        self._train_loss: list[Tensor] = []
        self._val: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """(B, F), (B, C) -> (B,) in the target's unit."""
        y: Tensor = self.model(x_num, x_cat)
        return self.unscale(y)

    def unscale(self, y: Tensor) -> Tensor:
        """Standardised (B,) or (B, K) -> (B,) in the target's unit."""
        y = y.float()
        y = y.mean(dim=1) if y.ndim == 2 else y  # noqa: PLR2004 - an ensemble
        return y * self.target_std + self.target_mean

    def loss(self, y: Tensor, target: Tensor) -> Tensor:
        """Mean loss over rows and members. `y` standardised (B,) or (B, K), `target` (B,) in its unit."""
        z = (target - self.target_mean) / self.target_std
        value: Tensor = self.criterion(y, z.unsqueeze(1).expand_as(y) if y.ndim == 2 else z)  # noqa: PLR2004 - an ensemble
        return value

    @torch.inference_mode()
    def predict_rows(self, rows: Batch) -> FloatArray:
        """(N,) float64 in the target's unit, on the CPU; the same rows in the same order give the same bits."""
        self.eval()
        starts = range(0, max(1, len(rows[0])), _SCORING_BATCH_SIZE)
        parts = [self(rows[0][i : i + _SCORING_BATCH_SIZE], rows[1][i : i + _SCORING_BATCH_SIZE]) for i in starts]
        return np.asarray(torch.cat(parts).double().numpy())

    def on_train_epoch_start(self) -> None:
        """Dropout depends on (seed, epoch) alone, so that a resumed run draws what the unbroken one would have drawn."""
        torch.manual_seed(epoch_seed(self.config.seed, self.current_epoch))
        self._train_loss.clear()

    def training_step(self, batch: Batch) -> Tensor:
        """One step; the loss is kept, not logged: `self.log` alone costs more than the arithmetic of a small model."""
        x_num, x_cat, target = batch
        loss = self.loss(self.model(x_num, x_cat), target)
        self._train_loss.append(loss.detach())
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Keeps what the epoch's metrics need."""
        x_num, x_cat, target = batch
        y = self.model(x_num, x_cat)
        self._val.append((self.loss(y, target) * len(target), self.unscale(y), target))

    def on_validation_epoch_end(self) -> None:
        """Metrics over the whole split, not a mean of batch means."""
        losses, predictions, targets = zip(*self._val, strict=True)
        self._val.clear()
        predicted, actual = torch.cat(predictions), torch.cat(targets)
        error = predicted - actual
        mse = error.square().mean()
        # Validation closes the epoch's training, so the training loss is known here and every callback of the epoch's end sees it.
        train_loss = torch.stack(self._train_loss).mean() if self._train_loss else torch.tensor(float("nan"))
        self.log_dict(
            {
                "train/loss": train_loss,
                "val/loss": torch.stack(losses).sum() / len(actual),
                "val/rmse": mse.sqrt(),
                "val/mae": error.abs().mean(),
                "val/r2": 1 - mse / actual.var(correction=0),
            }
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and a learning rate that follows from the step alone."""
        optimizer = build_optimizer(self.config.optimizer, self, on_cuda=self.device.type == "cuda")
        n_steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, n_steps, self.config.scheduler))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class GaussianNLL(nn.Module):
    """Negative log-likelihood of a Gaussian whose one variance, for all rows, is learnt beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(()))

    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        """Two equal shapes -> a scalar, without the constant log(2 pi) / 2."""
        return 0.5 * (self.log_variance + (y - target).square() / self.log_variance.exp()).mean()


class QuantileLoss(nn.Module):
    """Pinball loss (Koenker & Bassett 1978): its minimum is the quantile."""

    def __init__(self, quantile: float) -> None:
        super().__init__()
        self.quantile = quantile

    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        """Two equal shapes -> a scalar."""
        error = target - y
        return torch.maximum(self.quantile * error, (self.quantile - 1) * error).mean()


def build_loss(loss: Loss) -> nn.Module:
    """The criterion on standardised targets."""
    match loss.name:
        case "mse":
            return nn.MSELoss()
        case "huber":
            return nn.HuberLoss(delta=loss.delta)
        case "gaussian_nll":
            return GaussianNLL()
        case "quantile":
            return QuantileLoss(loss.quantile)


def build_optimizer(optimizer: Optimizer, module: nn.Module, *, on_cuda: bool = False) -> torch.optim.Optimizer:
    """Weight decay for matrices only: shrinking a bias or a norm's scale only biases the prediction."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": optimizer.weight_decay}] if matrices else []
    groups.append({"params": others, "weight_decay": 0.0})
    is_cpu_or_cuda = on_cuda or all(p.device.type == "cpu" for p in module.parameters())
    match optimizer.name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=optimizer.lr, fused=is_cpu_or_cuda)
        case "adam":
            return torch.optim.Adam(groups, lr=optimizer.lr, fused=is_cpu_or_cuda)
        case "sgd":
            return torch.optim.SGD(groups, lr=optimizer.lr, momentum=optimizer.momentum)


def lr_factor(step: int, n_steps: int, scheduler: Scheduler) -> float:
    """Factor on the learning rate at a step: a linear rise, then constant or half a cosine down to 0."""
    n_warmup = int(scheduler.warmup * n_steps)
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    if scheduler.name == "none":
        return 1.0
    progress = (step - n_warmup) / max(1, n_steps - n_warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def build_module(config: RunConfig, features: FeatureSpec, train_target: FloatArray) -> ScoreModule:
    """The module for these features, with weights drawn from the run's seed.

    Raises:
        ConfigError: the model refused its hyperparameters.
    """
    torch.manual_seed(config.seed)
    try:
        model = build_model(config.model, features)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    return ScoreModule(model, config, target_mean=float(train_target.mean()), target_std=float(train_target.std()))


def build_model(node: dict[str, Any], features: FeatureSpec) -> nn.Module:
    """The model that a checked node names."""
    module, _, name = str(node["_target_"]).rpartition(".")
    arguments = {key: tuple(v) if isinstance(v, list) else v for key, v in node.items() if key != "_target_"}
    model: nn.Module = getattr(importlib.import_module(module), name)(features, **arguments)
    return model
