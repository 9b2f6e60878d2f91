"""The losses, on standardised targets."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from studperf.config.run import Loss


class Criterion(nn.Module):
    """The loss of a model.

    `gaussian_nll` has one variance for all rows, which is learnt beside the model.
    """

    log_variance: nn.Parameter | None

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss
        is_learnt = loss.name == "gaussian_nll"
        self.log_variance = nn.Parameter(torch.zeros(())) if is_learnt else None

    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        """Map two equal shapes to a scalar, the mean."""
        return compute_loss(self.loss, y, target, self.log_variance, reduction="mean")


def compute_loss(
    loss: Loss,
    y: Tensor,
    target: Tensor,
    log_variance: Tensor | None,
    *,
    reduction: Literal["mean", "none"],
) -> Tensor:
    """Return the loss of each value, or their mean.

    Args:
        loss: which one.
        y: predictions.
        target: of the same shape.
        log_variance: a number for all, or of a shape that is broadcast; `gaussian_nll` needs it.
        reduction: `mean` for a scalar.
    """
    match loss.name:
        # torch's own two take one kernel forward and one backward, which a small step notices.
        case "mse":
            return functional.mse_loss(y, target, reduction=reduction)
        case "huber":
            return functional.huber_loss(y, target, delta=loss.delta, reduction=reduction)
        case "gaussian_nll":
            if log_variance is None:
                raise ValueError("gaussian_nll needs a variance")
            # Without the constant log(2 pi) / 2.
            values = 0.5 * (log_variance + (y - target).square() / log_variance.exp())
        case "quantile":
            # The pinball loss (Koenker & Bassett 1978): its minimum is the quantile.
            error = target - y
            values = torch.maximum(loss.quantile * error, (loss.quantile - 1) * error)
    return values.mean() if reduction == "mean" else values
