"""The one LightningModule: loss, target scaling, optimizer and metrics around any model."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from studperf.config.code.own_code import is_raised_on_purpose
from studperf.config.run import RunConfig
from studperf.data.batches import Batch, Batches, Chunk, epoch_seed, split_chunk
from studperf.data.encode import FeatureSpec
from studperf.data.large.memory import enough_memory
from studperf.data.preparation import Prepared
from studperf.errors import ConfigError
from studperf.models.flat import FlatInput
from studperf.scoring.metrics import FloatArray
from studperf.train.network.ddp import Share
from studperf.train.network.fast import lean_step
from studperf.train.network.losses import Criterion
from studperf.train.network.optimizer import build_optimizer, lr_factor

# In place of a constant target's 0, by which nothing can be divided.
_MIN_STD = 1e-12
SCORING_BATCH_SIZE = 8192
"""Rows predicted at a time. `judge.BLOCK` is a multiple of it, so that batches are cut alike."""
# Sums that `validation_step` keeps of a batch.
_N_SUMS = 6


class ScoreModule(LightningModule):
    """A model's training on standardised targets, and its predictions in the target's unit.

    An ensemble's loss is the mean of its members' losses, its prediction the mean of their
    predictions. Metrics are kept as tensors and reduced once an epoch; nothing is logged in a step.

    Args:
        model: forward (B, F), (B, C) -> (B,) or (B, K).
        config: loss, optimizer, scheduler and seed are read.
        target_mean: of the training rows.
        target_std: of the training rows.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self, model: nn.Module, config: RunConfig, *, target_mean: float, target_std: float
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.criterion = Criterion(config.loss)
        self.register_buffer("target_mean", torch.tensor(target_mean, dtype=torch.float32))
        std = max(target_std, _MIN_STD)
        self.register_buffer("target_std", torch.tensor(std, dtype=torch.float32))
        self._train_loss: list[Tensor] = []
        self._val: list[Tensor] = []
        self._n_batches: int | None = None
        self._n_steps = 1

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Map (B, F), (B, C) to (B,) in the target's unit."""
        y: Tensor = self.model(x_num, x_cat)
        return self.unscale(y)

    @property
    def kind(self) -> str:
        """Name of the model's class."""
        return type(self.model).__name__

    @property
    def n_parameters(self) -> int:
        """Number of the model's parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def unscale(self, y: Tensor) -> Tensor:
        """Map standardised predictions (B,) or (B, K) to (B,) in the target's unit."""
        y = y.float()
        if y.ndim == 2:  # noqa: PLR2004 - an ensemble
            y = y.mean(dim=1)
        return y * self.target_std + self.target_mean

    def loss(self, y: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over rows and members.

        Args:
            y: (B,) or (B, K), standardised.
            target: (B,) in its unit.
        """
        return self._loss(y, self._scale(target))

    def _scale(self, target: Tensor) -> Tensor:
        """Return the target standardised."""
        return (target - self.target_mean) / self.target_std

    def _loss(self, y: Tensor, z: Tensor) -> Tensor:
        """Return the mean loss for a standardised target z (B,)."""
        if y.ndim == 2:  # noqa: PLR2004 - an ensemble
            z = z.unsqueeze(1).expand_as(y)
        value: Tensor = self.criterion(y, z)
        return value

    @torch.inference_mode()
    def predict_rows(self, rows: Batch) -> FloatArray:
        """Return predictions (N,) in the target's unit, as float64 on the CPU.

        The same rows in the same order give the same bits.
        """
        self.eval()
        x_num, x_cat = rows[:2]
        parts = []
        # No rows give one empty batch, and so an empty result of the right shape.
        for start in range(0, max(1, len(x_num)), SCORING_BATCH_SIZE):
            stop = start + SCORING_BATCH_SIZE
            parts.append(self(x_num[start:stop], x_cat[start:stop].long()))
        return np.asarray(torch.cat(parts).double().numpy())

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Take weights, and end on the CPU, in single precision, ready to predict."""
        self.cpu().float().load_state_dict(state)
        self.eval()

    def take_chunks(self, n_batches: int) -> None:
        """Let a training step take chunks, and make the optimizer's steps itself.

        Args:
            n_batches: batches in an epoch.
        """
        self.automatic_optimization = False
        self._n_batches = n_batches

    def flatten(self, x_num: Tensor, x_cat: Tensor) -> tuple[Tensor, Tensor]:
        """Make categories one-hot for many rows at once, where the model begins with that.

        There is nothing to learn in that step. Other models get the rows as they are.
        """
        flat = getattr(self.model, "input", None)
        if isinstance(flat, FlatInput) and flat.offsets.device == x_cat.device:
            return flat(x_num, x_cat), x_cat[:, :0]
        return x_num, x_cat

    def transfer_batch_to_device(
        self,
        batch: Chunk | Batch,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002 - lightning's signature
    ) -> Chunk | Batch:
        """Move the tensors that are not on the device already.

        Lightning's own way walks through every number of a chunk.
        """
        moved = [tensor.to(device, non_blocking=True) for tensor in batch[:3]]
        x_num, x_cat, target = moved
        if isinstance(batch, Chunk):
            return Chunk(x_num, x_cat, target, batch.sizes)
        return x_num, x_cat, target

    def on_train_epoch_start(self) -> None:
        """Seed dropout by (seed, epoch) alone.

        So a resumed run draws what the unbroken one would have drawn.
        """
        seed = epoch_seed(self.config.seed, self.current_epoch)
        # torch.manual_seed notes a stack trace for a GPU that is not in use yet: 1.3 ms an epoch on
        # a machine without one.
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        self._train_loss.clear()

    def training_step(self, batch: Chunk | Batch, batch_idx: int) -> Tensor | None:
        """Train on a batch, or on all batches of a chunk.

        Losses are kept, not logged: `self.log` alone costs more than a small model.
        """
        if isinstance(batch, Chunk):
            self._train_chunk(batch)
            return None
        self._set_lr(self.trainer.optimizers[0], self.trainer.global_step)
        x_num, x_cat, target = batch
        share = self._share(batch_idx)
        with share or nullcontext():
            y = self.model(x_num, x_cat)
        loss = self.loss(y, target)
        if share is not None:
            loss = loss * share.weight
        self._train_loss.append(loss.detach())
        return loss

    def _share(self, batch_idx: int) -> Share | None:
        """Return this process's share of a batch; None where one process trains alone."""
        if self.trainer.world_size == 1:
            return None
        batches = self.trainer.train_dataloader
        if not isinstance(batches, Batches):
            return None
        return Share(batches.rank, batches.n_ranks, batches.size(batch_idx))

    def _train_chunk(self, chunk: Chunk) -> None:
        """Train on each batch of a chunk, as lightning does in a step.

        The arithmetic is the same in the same order, without lightning's 0.2 ms around each step.
        """
        (optimizer,) = self.trainer.optimizers
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        take_step = lean_step(optimizer)
        step = self.trainer.global_step
        # Once for the chunk: it works value by value, so that the bits are the same.
        scaled = chunk._replace(target=self._scale(chunk.target))
        for x_num, x_cat, z in split_chunk(scaled):
            self._set_lr(optimizer, step)
            loss = self._loss(self.model(x_num, x_cat), z)
            for parameter in parameters:
                parameter.grad = None
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without types
            self._clip(parameters)
            take_step()
            self._train_loss.append(loss.detach())
            step += 1
        self._count_steps(len(chunk.sizes))

    def _set_lr(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the learning rate of a step.

        It follows from the step alone, so that there is no scheduler whose state could differ.
        """
        lr = self.config.optimizer.lr * lr_factor(step, self._n_steps, self.config.scheduler)
        for group in optimizer.param_groups:
            group["lr"] = lr

    def _clip(self, parameters: list[nn.Parameter]) -> None:
        """Clip as lightning does, which refuses to when the module makes its steps itself."""
        value = self.config.trainer.get("gradient_clip_val")
        if not value:
            return
        if self.config.trainer.get("gradient_clip_algorithm") == "value":
            nn.utils.clip_grad_value_(parameters, value)
        else:
            nn.utils.clip_grad_norm_(parameters, value)

    def _count_steps(self, n_steps: int) -> None:
        """Add to lightning's count of steps, so that `global_step` is right.

        Lightning counts only the steps that its own wrapper of the optimizer makes.
        """
        total = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        total.ready += n_steps
        total.completed += n_steps

    def validation_step(self, batch: Batch) -> None:
        """Keep a batch's sums, from which the epoch's metrics are made."""
        x_num, x_cat, target = batch
        y = self.model(x_num, x_cat)
        # In double precision, and about the training rows' mean: R2's denominator is a difference
        # of two sums, which would lose digits.
        error = (self.unscale(y) - target).double()
        spread = (target - self.target_mean).double()
        n_rows = error.new_full((), len(target))
        sums = [
            self.loss(y, target).double() * n_rows,
            error.square().sum(),
            error.abs().sum(),
            spread.square().sum(),
            spread.sum(),
            n_rows,
        ]
        self._val.append(torch.stack(sums))

    def on_validation_epoch_end(self) -> None:
        """Write metrics over the whole split, of all processes together, not a mean of batch means.

        They go where callbacks look for them (`trainer.callback_metrics`); `self.log` would add 1.1
        ms to each epoch.
        """
        # A process may have no rows of val, and yet has to take part in the sum.
        sums = torch.zeros(_N_SUMS, device=self.device)
        if self._val:
            sums = torch.stack(self._val).sum(dim=0)
        self._val.clear()
        total = self.trainer.strategy.reduce(sums, reduce_op="sum")
        loss, squares, absolute, spread_squares, spread, n_rows = total

        # Validation closes the epoch's training, so the training loss is known here and every
        # callback of the epoch's end sees it.
        train_loss = torch.tensor(float("nan"))
        if self._train_loss:
            train_loss = torch.stack(self._train_loss).mean()

        variation = spread_squares - spread.square() / n_rows
        metrics = {
            "train/loss": self.trainer.strategy.reduce(train_loss),
            "val/loss": loss / n_rows,
            "val/rmse": (squares / n_rows).sqrt(),
            "val/mae": absolute / n_rows,
            "val/r2": 1 - squares / variation,
        }
        self.trainer.callback_metrics.update(metrics)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimizer, whose learning rate `_set_lr` moves."""
        if self._n_batches is None:
            self._n_steps = int(self.trainer.estimated_stepping_batches)
        else:
            # Lightning would count chunks, not batches.
            self._n_steps = self._n_batches * (self.trainer.max_epochs or 1)
        return build_optimizer(self.config.optimizer, self, on_cuda=self.device.type == "cuda")


def build_modules(configs: Sequence[RunConfig], ready: Prepared) -> list[ScoreModule]:
    """Build a module for each configuration, on the same rows.

    Raises:
        ConfigError: a model refused its hyperparameters.
        TooLargeError: they do not fit into memory.
    """
    features = ready.encoder.features
    target = ready.train_target
    return [build_module(config, features, target) for config in configs]


def build_module(config: RunConfig, features: FeatureSpec, train_target: FloatArray) -> ScoreModule:
    """Build the module for these features, with weights drawn from the run's seed.

    Raises:
        ConfigError: the model refused its hyperparameters.
        TooLargeError: it does not fit into memory.
    """
    torch.manual_seed(config.seed)
    try:
        with enough_memory(config):
            model = build_model(config.model, features)
    except ValueError as error:
        if not is_raised_on_purpose(error):
            raise
        raise ConfigError(f"model: {error}") from error
    return ScoreModule(
        model, config, target_mean=float(train_target.mean()), target_std=float(train_target.std())
    )


def build_model(node: dict[str, Any], features: FeatureSpec) -> Any:  # noqa: ANN401 - what it names
    """Build the model that a checked node names: a network, or one that is grown."""
    module, _, name = str(node["_target_"]).rpartition(".")
    arguments = {}
    for key, value in node.items():
        if key != "_target_":
            arguments[key] = tuple(value) if isinstance(value, list) else value
    model_class = getattr(importlib.import_module(module), name)
    return model_class(features, **arguments)
