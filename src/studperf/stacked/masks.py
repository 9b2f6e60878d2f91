"""Dropout for a stack: each member drops what it would have dropped alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from studperf.data.batches import epoch_generator


class Masks:
    """One epoch's dropout masks, layer after layer, step after step.

    A member alone seeds torch by (seed, epoch) and draws one Bernoulli number for each value that passes a dropout layer, in the
    order of layers and steps; here each member has that stream for itself. Members of one seed and rates draw once.

    Args:
        seeds: of the members.
        rates: (K,) for each dropout layer, in order: the probability to drop a value. A layer with rate 0 draws nothing.
        epoch: the epoch's number.
    """

    def __init__(self, seeds: Sequence[int], rates: Sequence[Sequence[float]], epoch: int) -> None:
        self.rates = rates
        together: dict[tuple[float, ...], list[int]] = {}
        for k, seed in enumerate(seeds):
            together.setdefault((seed, *(layer[k] for layer in rates)), []).append(k)
        self.streams = [(members, epoch_generator(seeds[members[0]], epoch)) for members in together.values()]
        self.scales = [1 / (1 - torch.tensor(layer, dtype=torch.float64)).float().view(-1, 1, 1) for layer in rates]
        self._layers: dict[tuple[int, torch.Size], _Buffers] = {}

    def draw(self, layer: int, shape: torch.Size) -> Tensor | None:
        """(K, B, F): 0 for dropped values, 1 / (1 - rate) for kept ones; None where no member drops any. Valid until the next step."""
        rates = self.rates[layer]
        if not any(rates):
            return None
        buffers = self._layers.get((layer, shape))
        if buffers is None:  # once: fresh tensors in each step cost more than filling them
            buffers = self._layers[layer, shape] = _Buffers(shape)
        for members, generator in self.streams:
            buffers.fill(members, 1 - rates[members[0]], generator)
        return torch.mul(buffers.mask.copy_(buffers.kept), self.scales[layer], out=buffers.mask)


class _Buffers:
    """What one layer's masks are made in."""

    def __init__(self, shape: torch.Size) -> None:
        self.mask = torch.empty(shape)
        self.kept = torch.ones(shape, dtype=torch.uint8)  # uint8 becomes float five times as fast as bool does
        self.rows = list(self.kept.view(shape[0], -1).numpy().view(np.bool_))
        self.uniform = torch.empty(self.rows[0].size, dtype=torch.float64)
        self.uniform_array = self.uniform.numpy()

    def fill(self, members: Sequence[int], keep: float, generator: torch.Generator) -> None:
        """Draws once for these members; nothing where all is kept."""
        if keep == 1:
            return
        first = self.rows[members[0]]
        if is_bernoulli_a_comparison():
            self.uniform.uniform_(generator=generator)
            np.less(self.uniform_array, keep, out=first)
        else:
            first[:] = self.uniform.float().bernoulli_(keep, generator=generator).numpy()
        for k in members[1:]:
            self.rows[k][:] = first


@cache
def is_bernoulli_a_comparison() -> bool:
    """Whether `bernoulli_(p)` gives what comparing as many uniform numbers of double precision with p gives.

    It does with torch's own sampler, where the comparison takes half the time (3.4 against 7.1 ns a number; half of a stack's time
    is dropout). On Intel processors MKL samples, from another stream, and faster.
    """
    kept = torch.empty(1000).bernoulli_(0.7, generator=torch.Generator().manual_seed(0))
    uniform = torch.empty(1000, dtype=torch.float64).uniform_(generator=torch.Generator().manual_seed(0))
    return torch.equal(kept, (uniform < 0.7).float())  # noqa: PLR2004 - the p drawn with
