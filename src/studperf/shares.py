"""A process's share of a batch, so that several processes together do what one alone would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Share(TorchFunctionMode):
    """The rows `rank`, `rank + n_ranks`, ... of a batch.

    Within it dropout is drawn for the whole batch, by every process from the same stream, and each applies what falls to its own rows.

    Args:
        rank: of this process.
        n_ranks: how many processes there are.
        n_rows: of the whole batch.

    >>> share = Share(rank=1, n_ranks=2, n_rows=5)
    >>> share.weight
    0.8
    """

    def __init__(self, rank: int, n_ranks: int, n_rows: int) -> None:
        super().__init__()
        self.rank, self.n_ranks, self.n_rows = rank, n_ranks, n_rows
        self.n_own = len(range(rank, n_rows, n_ranks))

    @property
    def weight(self) -> float:
        """Factor on this process's mean loss: DDP averages the processes' gradients as if each had as many rows."""
        return self.n_own * self.n_ranks / self.n_rows

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - what torch's function returns
        """Torch asks here for each of its functions."""
        return self._drop(*args, **(kwargs or {})) if func is functional.dropout else func(*args, **(kwargs or {}))

    def _drop(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: FBT001, FBT002 - as torch calls
        """As `torch.nn.functional.dropout` of the whole batch; `x` begins with the rows, or with several places for each."""
        n_places, rest = divmod(len(x), self.n_own)
        if not training or p == 0 or rest:
            return functional.dropout(x, p, training, inplace)
        kept = torch.empty(self.n_rows * n_places, *x.shape[1:], dtype=x.dtype, device=x.device).bernoulli_(1 - p)
        own = kept.view(self.n_rows, -1)[self.rank :: self.n_ranks].reshape(x.shape)
        return x * own.div_(1 - p)
