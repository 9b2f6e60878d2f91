"""The optimizers of a stack: one formula for all members, with a learning rate and a weight decay for each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from studperf.config.shape import Optimizer
from studperf.stacked.parameters import Layout

# torch's defaults, which the ordinary engine leaves as they are.
_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8


class Update:
    """Steps of AdamW, Adam or SGD, written as torch's documentation states them.

    torch's fused kernels take one learning rate a call, so that 32 members of their own rates would be 64 calls a step.

    Args:
        optimizers: of the members; alike but for `lr` and `weight_decay`.
        layout: of the parameters.
    """

    def __init__(self, optimizers: Sequence[Optimizer], layout: Layout) -> None:
        self.name, self.momentum = optimizers[0].name, optimizers[0].momentum
        self.lr = layout.spread([o.lr for o in optimizers])
        # AdamW shrinks by lr * decay, the others add decay * value to the gradient.
        decays = [o.weight_decay * (o.lr if self.name == "adamw" else 1) for o in optimizers]
        self.decay = layout.spread(decays, matrices_only=True) if any(decays) else None
        self.n_steps = 0
        self.first = torch.zeros_like(self.lr)
        self.second = torch.zeros_like(self.lr) if self.name != "sgd" else None

    def keep(self, layout: Layout, members: Tensor) -> None:
        """Goes on with these members alone; `layout` is the one up to now."""
        self.lr, self.first = (layout.keep(flat, members) for flat in (self.lr, self.first))
        self.second = None if self.second is None else layout.keep(self.second, members)
        self.decay = None if self.decay is None else layout.keep(self.decay, members)

    def step(self, values: Tensor, gradients: Tensor, factor: float) -> None:
        """One step at `factor` times the learning rates; the gradients are used up."""
        self.n_steps += 1
        if self.decay is not None:
            if self.name == "adamw":
                # As torch's kernel does, 1 - lr * decay is rounded before it is used: at 2e-5 that is a tenth of a percent of the decay.
                values.mul_(torch.mul(self.decay, -factor).add_(1))
            else:
                gradients.addcmul_(values, self.decay)
        if self.second is None:
            self.first.mul_(self.momentum).add_(gradients)
            values.addcmul_(self.first, self.lr, value=-factor)
            return
        self.first.lerp_(gradients, 1 - _BETA1)
        self.second.mul_(_BETA2).addcmul_(gradients, gradients, value=1 - _BETA2)
        # Both bias corrections go into the step and eps, which saves a pass over all parameters.
        correction = math.sqrt(1 - _BETA2**self.n_steps)
        divisor = torch.sqrt(self.second, out=gradients).add_(_EPS * correction)
        values.addcmul_(
            torch.div(self.first, divisor, out=divisor),
            self.lr,
            value=-factor * correction / (1 - _BETA1**self.n_steps),
        )
