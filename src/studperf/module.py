"""The one LightningModule: loss, target scaling, optimizer and metrics around any model."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from studperf.config.own_code import is_raised_on_purpose
from studperf.config.shape import Loss, Optimizer, RunConfig, Scheduler
from studperf.data.batches import Batch, Batches, Chunk, epoch_seed, split_chunk
from studperf.data.encode import FeatureSpec
from studperf.data.memory import enough_memory
from studperf.errors import ConfigError
from studperf.metrics import FloatArray
from studperf.models.flat import FlatInput
from studperf.shares import Share

_MIN_STD = 1e-12
_SCORING_BATCH_SIZE = 8192
_N_SUMS = 6


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

    def __init__(
        self, model: nn.Module, config: RunConfig, *, target_mean: float, target_std: float
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.criterion = build_loss(config.loss)
        self.register_buffer("target_mean", torch.tensor(target_mean, dtype=torch.float32))
        self.register_buffer(
            "target_std", torch.tensor(max(target_std, _MIN_STD), dtype=torch.float32)
        )
        self._train_loss: list[Tensor] = []
        self._val: list[Tensor] = []
        self._n_batches: int | None = None
        self._n_steps = 1

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
        return self._loss(y, self._scale(target))

    def _scale(self, target: Tensor) -> Tensor:
        return (target - self.target_mean) / self.target_std

    def _loss(self, y: Tensor, z: Tensor) -> Tensor:
        value: Tensor = self.criterion(y, z.unsqueeze(1).expand_as(y) if y.ndim == 2 else z)  # noqa: PLR2004 - an ensemble
        return value

    @torch.inference_mode()
    def predict_rows(self, rows: Batch) -> FloatArray:
        """(N,) float64 in the target's unit, on the CPU; the same rows in the same order give the same bits."""
        self.eval()
        starts = range(0, max(1, len(rows[0])), _SCORING_BATCH_SIZE)
        parts = [
            self(rows[0][i : i + _SCORING_BATCH_SIZE], rows[1][i : i + _SCORING_BATCH_SIZE].long())
            for i in starts
        ]
        return np.asarray(torch.cat(parts).double().numpy())

    def take_chunks(self, n_batches: int) -> None:
        """From now on a step gets chunks, and makes the optimizer's steps itself; `n_batches` an epoch."""
        self.automatic_optimization = False
        self._n_batches = n_batches

    def flatten(self, x_num: Tensor, x_cat: Tensor) -> tuple[Tensor, Tensor]:
        """One-hot categories for many rows at once, where the model begins with them: there is nothing to learn in that step."""
        flat = getattr(self.model, "input", None)
        if isinstance(flat, FlatInput) and flat.offsets.device == x_cat.device:
            return flat(x_num, x_cat), x_cat[:, :0]
        return x_num, x_cat

    def transfer_batch_to_device(
        self,
        batch: Chunk | Batch,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002
    ) -> Chunk | Batch:
        """Moves what does not lie there already; lightning's own way walks through every number of a chunk."""
        x_num, x_cat, target = (tensor.to(device, non_blocking=True) for tensor in batch[:3])
        return (
            Chunk(x_num, x_cat, target, batch.sizes)
            if isinstance(batch, Chunk)
            else (x_num, x_cat, target)
        )

    def on_train_epoch_start(self) -> None:
        """Dropout depends on (seed, epoch) alone, so that a resumed run draws what the unbroken one would have drawn."""
        seed = epoch_seed(self.config.seed, self.current_epoch)
        # torch.manual_seed notes a stack trace for a GPU that is not in use yet: 1.3 ms an epoch on a machine without one.
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        self._train_loss.clear()

    def training_step(self, batch: Chunk | Batch, batch_idx: int) -> Tensor | None:
        """One step, or as many as the chunk has batches. Losses are kept, not logged: `self.log` alone costs more than a small model."""
        if isinstance(batch, Chunk):
            self._train_chunk(batch)
            return None
        self._set_lr(self.trainer.optimizers[0], self.trainer.global_step)
        x_num, x_cat, target = batch
        share = self._share(batch_idx)
        with share or nullcontext():
            y = self.model(x_num, x_cat)
        loss = self.loss(y, target)
        loss = loss if share is None else loss * share.weight
        self._train_loss.append(loss.detach())
        return loss

    def _share(self, batch_idx: int) -> Share | None:
        """Of a batch, where several processes train."""
        batches = self.trainer.train_dataloader if self.trainer.world_size > 1 else None
        return (
            Share(batches.rank, batches.n_ranks, batches.size(batch_idx))
            if isinstance(batches, Batches)
            else None
        )

    def _train_chunk(self, chunk: Chunk) -> None:
        """What lightning does in a step, for each batch: the same arithmetic in the same order, without its 0.2 ms around each."""
        (optimizer,) = self.trainer.optimizers
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        take_step = lean_step(optimizer)
        step = self.trainer.global_step
        for x_num, x_cat, z in split_chunk(chunk._replace(target=self._scale(chunk.target))):
            self._set_lr(optimizer, step)
            loss = self._loss(self.model(x_num, x_cat), z)
            for parameter in parameters:
                parameter.grad = None
            loss.backward()  # type: ignore[no-untyped-call]
            self._clip(parameters)
            take_step()
            self._train_loss.append(loss.detach())
            step += 1
        self._count_steps(len(chunk.sizes))

    def _set_lr(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """The learning rate follows from the step alone, so that there is no scheduler whose state could differ."""
        lr = self.config.optimizer.lr * lr_factor(step, self._n_steps, self.config.scheduler)
        for group in optimizer.param_groups:
            group["lr"] = lr

    def _clip(self, parameters: list[nn.Parameter]) -> None:
        """As lightning clips, which refuses to when the module makes its steps itself."""
        value = self.config.trainer.get("gradient_clip_val")
        if not value:
            return
        if self.config.trainer.get("gradient_clip_algorithm") == "value":
            nn.utils.clip_grad_value_(parameters, value)
        else:
            nn.utils.clip_grad_norm_(parameters, value)

    def _count_steps(self, n_steps: int) -> None:
        """Lightning counts the steps that its own wrapper of the optimizer makes; `global_step` is to be right all the same."""
        total = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        total.ready += n_steps
        total.completed += n_steps

    def validation_step(self, batch: Batch) -> None:
        """Keeps the sums that the epoch's metrics need."""
        x_num, x_cat, target = batch
        y = self.model(x_num, x_cat)
        error = (self.unscale(y) - target).double()
        spread = (target - self.target_mean).double()
        n_rows = torch.full((), len(target), dtype=torch.float64, device=target.device)
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
        """Metrics over the whole split, of all processes together, not a mean of batch means.

        They go where callbacks look for them (`trainer.callback_metrics`); `self.log` would add 1.1 ms to each epoch.
        """
        sums = (
            torch.stack(self._val).sum(dim=0)
            if self._val
            else torch.zeros(_N_SUMS, device=self.device)
        )
        self._val.clear()
        loss, squares, absolute, spread_squares, spread, n_rows = self.trainer.strategy.reduce(
            sums, reduce_op="sum"
        )
        # Validation closes the epoch's training, so the training loss is known here and every callback of the epoch's end sees it.
        train_loss = (
            torch.stack(self._train_loss).mean() if self._train_loss else torch.tensor(float("nan"))
        )
        self.trainer.callback_metrics.update(
            {
                "train/loss": self.trainer.strategy.reduce(train_loss),
                "val/loss": loss / n_rows,
                "val/rmse": (squares / n_rows).sqrt(),
                "val/mae": absolute / n_rows,
                "val/r2": 1 - squares / (spread_squares - spread.square() / n_rows),
            }
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer; `_set_lr` moves its learning rate."""
        is_chunked, epochs = self._n_batches is not None, self.trainer.max_epochs or 1
        self._n_steps = (
            (self._n_batches or 0) * epochs
            if is_chunked
            else int(self.trainer.estimated_stepping_batches)
        )
        return build_optimizer(self.config.optimizer, self, on_cuda=self.device.type == "cuda")


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


def build_optimizer(
    optimizer: Optimizer, module: nn.Module, *, on_cuda: bool = False
) -> torch.optim.Optimizer:
    """Weight decay for matrices only: shrinking a bias or a norm's scale only biases the prediction."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = (
        [{"params": matrices, "weight_decay": optimizer.weight_decay}] if matrices else []
    )
    groups.append({"params": others, "weight_decay": 0.0})
    is_cpu_or_cuda = on_cuda or all(p.device.type == "cpu" for p in module.parameters())
    match optimizer.name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=optimizer.lr, fused=is_cpu_or_cuda)
        case "adam":
            return torch.optim.Adam(groups, lr=optimizer.lr, fused=is_cpu_or_cuda)
        case "sgd":
            return torch.optim.SGD(groups, lr=optimizer.lr, momentum=optimizer.momentum)


def lean_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """The optimizer's step; on the CPU without what torch 2.15 does around its one fused kernel: 12 us a step instead of 90, the same bits.

    Before its first step, with hooks, or for an optimizer without such a kernel, this is `optimizer.step` itself.
    """
    kernel = {torch.optim.AdamW: "_fused_adamw_", torch.optim.Adam: "_fused_adam_"}.get(
        type(optimizer), ""
    )
    has_hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks  # noqa: SLF001 - torch has no other way to ask
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    is_begun = all(p.device.type == "cpu" and optimizer.state[p] for p in parameters)
    if has_hooks or not is_begun or not hasattr(torch, kernel):
        return optimizer.step
    run = getattr(torch, kernel)
    with torch.no_grad():
        all_counts = torch.stack([optimizer.state[p]["step"] for p in parameters])
        for i, parameter in enumerate(parameters):
            optimizer.state[parameter]["step"] = all_counts[
                i
            ]  # a view, so that one addition counts for all
    groups = [
        (
            group,
            [
                [optimizer.state[p][name] for p in group["params"]]
                for name in ("exp_avg", "exp_avg_sq", "step")
            ],
        )
        for group in optimizer.param_groups
        if group["params"]
    ]

    @torch.no_grad()
    def step() -> None:
        if any(
            p.grad is None for p in parameters
        ):  # one that the loss did not reach is left as it is
            optimizer.step()
            return
        all_counts.add_(1)
        for group, (means, squares, counts) in groups:
            beta1, beta2 = group["betas"]
            fixed = {
                "amsgrad": False,
                "beta1": beta1,
                "beta2": beta2,
                "eps": group["eps"],
                "maximize": False,
            }
            gradients = [p.grad for p in group["params"]]
            run(
                group["params"],
                gradients,
                means,
                squares,
                [],
                counts,
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                **fixed,
            )

    return step


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


def build_model(node: dict[str, Any], features: FeatureSpec) -> nn.Module:
    """The model that a checked node names."""
    module, _, name = str(node["_target_"]).rpartition(".")
    arguments = {
        key: tuple(v) if isinstance(v, list) else v for key, v in node.items() if key != "_target_"
    }
    model: nn.Module = getattr(importlib.import_module(module), name)(features, **arguments)
    return model
