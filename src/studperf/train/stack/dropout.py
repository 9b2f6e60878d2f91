"""Dropout for a stack: each member drops what it would have dropped alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from studperf.data.batches import epoch_generator

# Numbers a member and call: 64 KB of double precision.
_DRAWN_AHEAD = 1 << 13


class Masks:
    """One epoch's dropout masks, layer after layer, step after step.

    A member alone seeds torch by (seed, epoch) and draws one Bernoulli number for each value that
    passes a dropout layer, in the order of layers and steps; here each member has that stream for
    itself. Members of one seed and rates draw once.

    Args:
        seeds: of the members.
        rates: (K,) for each dropout layer, in order: the probability to drop a value. A layer with
            rate 0 draws nothing.
        epoch: the epoch's number.
    """

    def __init__(self, seeds: Sequence[int], rates: Sequence[Sequence[float]], epoch: int) -> None:
        self.rates = rates
        together: dict[tuple[float, ...], list[int]] = {}
        for k, seed in enumerate(seeds):
            own_rates = [layer[k] for layer in rates]
            together.setdefault((seed, *own_rates), []).append(k)
        self.streams = []
        for members in together.values():
            self.streams.append((members, epoch_generator(seeds[members[0]], epoch)))

        self.scales = []
        for layer in rates:
            kept = 1 - torch.tensor(layer, dtype=torch.float64)
            self.scales.append(1 / kept.float().view(-1, 1, 1))

        # Once for each layer and batch size: fresh tensors in each step cost more than filling
        # them.
        self._masks: dict[tuple[int, torch.Size], Tensor] = {}
        self._layers: dict[tuple[int, torch.Size], _Buffers] = {}
        is_alike = bool(rates) and all(layer == rates[0] for layer in rates)
        self._ahead: _Ahead | None = None
        if is_alike and is_bernoulli_a_comparison():
            self._ahead = _Ahead(rates[0], self.streams)

    def draw(self, layer: int, shape: torch.Size) -> Tensor | None:
        """Return a layer's mask (K, B, F) for the next step; None where no member drops any.

        It holds 0 for dropped values and 1 / (1 - rate) for kept ones, and is valid until the next
        step.
        """
        if not any(self.rates[layer]):
            return None
        mask = self._masks.get((layer, shape))
        if mask is None:
            mask = torch.empty(shape)
            self._masks[layer, shape] = mask
        if self._ahead is None:
            kept = self._draw_alone(layer, shape)
        else:
            kept = self._ahead.take(shape[1:].numel()).view(shape)
        return torch.mul(mask.copy_(kept), self.scales[layer], out=mask)

    def _draw_alone(self, layer: int, shape: torch.Size) -> Tensor:
        """Draw what one layer keeps in one step."""
        buffers = self._layers.get((layer, shape))
        if buffers is None:
            buffers = _Buffers(shape)
            self._layers[layer, shape] = buffers
        for members, generator in self.streams:
            buffers.fill(members, 1 - self.rates[layer][members[0]], generator)
        return buffers.kept


class _Ahead:
    """Masks drawn for the steps to come as well: few calls for many numbers.

    That needs members that have one rate in all layers.

    Args:
        rates: (K,) rate of each member.
        streams: the members that draw together, and the generator that they draw from.
    """

    def __init__(
        self, rates: Sequence[float], streams: Sequence[tuple[list[int], torch.Generator]]
    ) -> None:
        self.rates = rates
        self.streams = streams
        self.buffer = torch.ones((len(rates), 0), dtype=torch.uint8)
        self.kept = self.buffer
        self.uniform = torch.empty(0, dtype=torch.float64)

    def take(self, n_values: int) -> Tensor:
        """Return the next of each stream, (K, n_values) uint8, valid until the next call."""
        n_missing = n_values - self.kept.shape[1]
        if n_missing > 0:
            self._draw(max(n_missing, _DRAWN_AHEAD))
        taken = self.kept[:, :n_values]
        self.kept = self.kept[:, n_values:]
        return taken

    def _draw(self, n_values: int) -> None:
        """Draw more of each stream, behind what is left of it."""
        left = self.kept.clone()
        start = left.shape[1]
        stop = start + n_values
        if stop > self.buffer.shape[1]:
            self.buffer = torch.ones((len(self.rates), stop), dtype=torch.uint8)
            self.uniform = torch.empty(stop, dtype=torch.float64)
        self.buffer[:, :start] = left
        self.kept = self.buffer[:, :stop]

        rows = self.kept.numpy()[:, start:].view(np.bool_)
        uniform = self.uniform[:n_values]
        uniform_array = uniform.numpy()
        for (first, *others), generator in self.streams:
            rate = self.rates[first]
            if not rate:
                continue
            uniform.uniform_(generator=generator)
            np.less(uniform_array, 1 - rate, out=rows[first])
            for k in others:
                rows[k] = rows[first]


class _Buffers:
    """Memory in which one layer's masks are made."""

    def __init__(self, shape: torch.Size) -> None:
        # uint8 becomes float five times as fast as bool does.
        self.kept = torch.ones(shape, dtype=torch.uint8)
        by_member = self.kept.view(shape[0], -1)
        self.rows = list(by_member.numpy().view(np.bool_))
        self.uniform = torch.empty(self.rows[0].size, dtype=torch.float64)
        self.uniform_array = self.uniform.numpy()

    def fill(self, members: Sequence[int], keep: float, generator: torch.Generator) -> None:
        """Draw once for these members; draw nothing where all is kept."""
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
    """Return True if `bernoulli_(p)` gives the same as comparing uniform numbers with p.

    As many uniform numbers of double precision, that is. It does with torch's own sampler, where
    the comparison takes half the time (3.4 against 7.1 ns a number; half of a stack's time is
    dropout). On Intel processors MKL samples, from another stream, and faster.
    """
    generator = torch.Generator().manual_seed(0)
    kept = torch.empty(1000).bernoulli_(0.7, generator=generator)
    again = torch.Generator().manual_seed(0)
    uniform = torch.empty(1000, dtype=torch.float64).uniform_(generator=again)
    return torch.equal(kept, (uniform < 0.7).float())  # noqa: PLR2004 - the p drawn with
