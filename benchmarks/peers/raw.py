"""The raw torch loop: what someone who knows torch writes by hand for one network on one table, with nothing around it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

Matrix = tuple[Tensor, Tensor]
"""x (N, D) float32 with one-hot categories, target (N,) in its own unit."""


class Net(nn.Module):
    """The network of conf/model/mlp.yaml: 64-32, SiLU, dropout 0.3, a linear path around them. (B, D) -> (B,).

    Args:
        d_in: columns.
        is_plain: 64-32 with ReLU and nothing else instead.
    """

    def __init__(self, d_in: int, *, is_plain: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for d_before, d_hidden in ((d_in, 64), (64, 32)):
            layers += [
                nn.Linear(d_before, d_hidden),
                *([nn.ReLU()] if is_plain else [nn.SiLU(), nn.Dropout(0.3)]),
            ]
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(32, 1)
        self.skip = None if is_plain else nn.Linear(d_in, 1, bias=False)
        if self.skip is not None:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.skip.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B,)."""
        y: Tensor = self.output(self.hidden(x))
        if self.skip is not None:
            y = y + self.skip(x)
        return y.squeeze(1)


@dataclass
class Fitted:
    """The network with its best weights, and how it got there."""

    net: Net
    mean: Tensor
    std: Tensor
    best_rmse: float = math.inf
    epoch_ends: list[float] = field(default_factory=list)
    train_s: float = 0.0

    def predict(self, x: Tensor) -> Tensor:
        """(N, D) -> (N,) in the target's unit."""
        self.net.eval()
        with torch.inference_mode():
            y: Tensor = self.net(x) * self.std + self.mean
        return y


def scores(predicted: Tensor, target: Tensor) -> tuple[float, float, float]:
    """RMSE, MAE and R2."""
    error = predicted - target
    mse = error.square().mean()
    return mse.sqrt().item(), error.abs().mean().item(), (1 - mse / target.var(correction=0)).item()


def fit(
    train: Matrix,
    val: Matrix,
    *,
    batch_size: int,
    n_epochs: int,
    is_plain: bool = False,
    seed_of: Callable[[int], int] = lambda epoch: epoch,
) -> Fitted:
    """Fused AdamW with decay on matrices, warm-up and cosine, one permutation an epoch, val in one batch, best weights in memory.

    Args:
        train: rows to learn from.
        val: rows to choose the epoch by.
        batch_size: rows a step.
        n_epochs: passes over the rows.
        is_plain: of the network.
        seed_of: epoch -> seed of its batch order and dropout.
    """
    torch.manual_seed(0)
    x, target = train
    fitted = Fitted(
        Net(x.shape[1], is_plain=is_plain).to(x.device), target.mean(), target.std(correction=0)
    )
    net, z = fitted.net, (target - fitted.mean) / fitted.std
    optimizer = make_optimizer(net)
    n_rows, step, best = len(x), 0, net.state_dict()
    n_steps = n_epochs * math.ceil(n_rows / batch_size)
    for epoch in range(n_epochs):
        started = time.perf_counter()
        net.train()
        torch.manual_seed(seed_of(epoch))
        order = torch.randperm(n_rows, generator=torch.Generator().manual_seed(seed_of(epoch))).to(
            x.device
        )
        shuffled_x, shuffled_z = x[order], z[order]
        total = torch.zeros((), device=x.device)
        for start in range(0, n_rows, batch_size):
            set_rate(optimizer, step, n_steps)
            loss = functional.mse_loss(
                net(shuffled_x[start : start + batch_size]), shuffled_z[start : start + batch_size]
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach()
            step += 1
        total.item()
        fitted.train_s += time.perf_counter() - started
        rmse, _, _ = scores(fitted.predict(val[0]), val[1])
        if rmse < fitted.best_rmse:
            fitted.best_rmse, best = (
                rmse,
                {name: value.clone() for name, value in net.state_dict().items()},
            )
        fitted.epoch_ends.append(time.perf_counter())
    net.load_state_dict(best)
    return fitted


def make_optimizer(net: nn.Module) -> torch.optim.Optimizer:
    """Fused AdamW; weight decay on matrices only."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 1e-2}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=2e-3, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, step: int, n_steps: int) -> None:
    """Linear warm-up over a tenth of the steps, then cosine to zero."""
    n_warmup = int(0.1 * n_steps)
    if step < n_warmup:
        factor = (step + 1) / (n_warmup + 1)
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_steps - n_warmup)))
    for group in optimizer.param_groups:
        group["lr"] = 2e-3 * factor
