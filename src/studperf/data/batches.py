"""Batches as slices of tensors that lie in memory: 4 times faster than a DataLoader that fetches row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor, Tensor]
"""x_num (B, F), x_cat (B, C), target (B,)."""


class Batches:
    """An epoch's batches. The last one may be smaller; a last one of a single row joins the one before it.

    Args:
        tensors: x_num (N, F), x_cat (N, C), target (N,).
        batch_size: rows a batch.
        rows: (n,) int64, the rows that take part, in this order; all of them by default. Categories become int64.
        seed: shuffles when given.
        epoch: tells the current epoch. The order is drawn from (seed, epoch) and never from how often an iterator was asked for:
            lightning 2.6 asks twice for epoch 0, and a resumed run asks less often than one that was not killed.
    """

    def __init__(
        self,
        tensors: Batch,
        batch_size: int,
        *,
        rows: Tensor | None = None,
        seed: int | None = None,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        self.tensors = tensors
        self.batch_size = batch_size
        self.rows = rows
        self.seed = seed
        self.epoch = epoch

    @property
    def n_rows(self) -> int:
        """Rows an epoch."""
        return len(self.tensors[2] if self.rows is None else self.rows)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._starts())

    def __iter__(self) -> Iterator[Batch]:
        """One epoch."""
        order = self.rows
        if self.seed is not None:
            order = torch.randperm(self.n_rows, generator=epoch_generator(self.seed, self.epoch()))
            order = order if self.rows is None else self.rows[order]
        x_num, x_cat, target = self.tensors
        for start, stop in pairwise([*self._starts(), self.n_rows]):
            rows = slice(start, stop) if order is None else order[start:stop]
            yield x_num[rows], x_cat[rows].long(), target[rows]

    def _starts(self) -> list[int]:
        starts = list(range(0, self.n_rows, self.batch_size))
        # Batch normalisation refuses a single row in training.
        if len(starts) > 1 and self.n_rows - starts[-1] == 1:
            starts.pop()
        return starts


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """A generator of its own for each epoch of each seed."""
    return torch.Generator().manual_seed(epoch_seed(seed, epoch))


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch, well mixed: seed 0, epoch 1 and seed 1, epoch 0 have nothing in common."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, dtype=np.uint64)[0])
