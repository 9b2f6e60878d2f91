"""The optimizers of a stack: one formula, with a learning rate and weight decay a member."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from studperf.config.run import Optimizer
from studperf.train.stack.parameters import Layout

# torch's defaults, which the ordinary engine leaves as they are.
_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8


class Update:
    """AdamW, Adam or SGD for all members, written as torch's documentation states them.

    torch's fused kernels take one learning rate a call, so that 32 members of their own rates would
    be 64 calls a step.

    Args:
        optimizers: of the members; alike but for `lr` and `weight_decay`.
        layout: of the parameters.
    """

    def __init__(self, optimizers: Sequence[Optimizer], layout: Layout) -> None:
        self.name = optimizers[0].name
        self.momentum = optimizers[0].momentum
        self.lr = layout.spread([o.lr for o in optimizers])
        # AdamW shrinks by lr * decay, the others add decay * value to the gradient.
        if self.name == "adamw":
            decays = [o.weight_decay * o.lr for o in optimizers]
        else:
            decays = [o.weight_decay for o in optimizers]
        self.decay: Tensor | None = None
        if any(decays):
            self.decay = layout.spread(decays, matrices_only=True)

        self.n_steps = 0
        self.first = torch.zeros_like(self.lr)
        self.second: Tensor | None = None
        if self.name != "sgd":
            self.second = torch.zeros_like(self.lr)

    def keep(self, layout: Layout, members: Tensor) -> None:
        """Go on with these members alone; `layout` is the one up to now."""
        self.lr = layout.keep(self.lr, members)
        self.first = layout.keep(self.first, members)
        if self.second is not None:
            self.second = layout.keep(self.second, members)
        if self.decay is not None:
            self.decay = layout.keep(self.decay, members)

    def step(self, values: Tensor, gradients: Tensor, factor: float) -> None:
        """Do one step at `factor` times the learning rates; the gradients are used up."""
        self.n_steps += 1
        if self.decay is not None:
            if self.name == "adamw":
                # As torch's kernel does, 1 - lr * decay is rounded before it is used: at 2e-5 that
                # is a tenth of a percent of the decay.
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
        direction = torch.div(self.first, divisor, out=divisor)
        scale = -factor * correction / (1 - _BETA1**self.n_steps)
        values.addcmul_(direction, self.lr, value=scale)
