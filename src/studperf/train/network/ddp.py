"""A process's share of a batch, so that several processes together do what one alone would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Share(TorchFunctionMode):
    """A context in which a model sees the rows `rank`, `rank + n_ranks`, ... of a batch.

    Within it dropout is drawn for the whole batch, by every process from the same stream, and each
    applies what falls to its own rows; batch normalisation goes by the mean and variance of all
    processes' rows (torch's own SyncBatchNorm needs GPUs).

    Args:
        rank: of this process.
        n_ranks: number of processes.
        n_rows: of the whole batch.

    >>> share = Share(rank=1, n_ranks=2, n_rows=5)
    >>> share.weight
    0.8
    """

    def __init__(self, rank: int, n_ranks: int, n_rows: int) -> None:
        super().__init__()
        self.rank = rank
        self.n_ranks = n_ranks
        self.n_rows = n_rows
        self.n_own = len(range(rank, n_rows, n_ranks))

    @property
    def weight(self) -> float:
        """Factor on this process's mean loss.

        DDP averages the processes' gradients as if each had as many rows.
        """
        return self.n_own * self.n_ranks / self.n_rows

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - what torch's function returns
        """Replace dropout and batch normalisation; torch asks here for each function."""
        own: dict[Callable[..., Any], Callable[..., Any]] = {
            functional.dropout: self._drop,
            functional.batch_norm: _normalise,
        }
        return own.get(func, func)(*args, **(kwargs or {}))

    def _drop(
        self,
        x: Tensor,
        p: float = 0.5,
        training: bool = True,  # noqa: FBT001, FBT002 - as torch calls
        inplace: bool = False,  # noqa: FBT001, FBT002 - as torch calls
    ) -> Tensor:
        """Drop as `torch.nn.functional.dropout` would for the whole batch.

        `x` begins with the rows, or with several places for each.
        """
        n_places, rest = divmod(len(x), self.n_own)
        if not training or p == 0 or rest:
            return functional.dropout(x, p, training, inplace)
        shape = (self.n_rows * n_places, *x.shape[1:])
        # Drawn and scaled as torch's kernel does it, so that the numbers are the same.
        kept = x.new_empty(shape).bernoulli_(1 - p)
        by_row = kept.view(self.n_rows, -1)
        own = by_row[self.rank :: self.n_ranks].reshape(x.shape)
        return x * own.div_(1 - p)


def _normalise(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,  # noqa: FBT001, FBT002 - as torch calls
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise x (B, C, ...) as `torch.nn.functional.batch_norm` would for the whole batch."""
    if not training:
        return functional.batch_norm(
            x, running_mean, running_var, weight, bias, training, momentum, eps
        )

    across = [0, *range(2, x.ndim)]
    places = x.numel() / x.shape[1]
    n_own_places = torch.tensor(places, device=x.device)
    n_places = _sum_over_processes(n_own_places)
    mean = _sum_over_processes(x.sum(across)) / n_places
    wide = [1, -1] + [1] * (x.ndim - 2)
    centred = x - mean.view(wide)
    # In a second pass, as the difference of squares would lose digits.
    variance = _sum_over_processes(centred.square().sum(across)) / n_places
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            # As torch does, with the unbiased variance.
            running_var.lerp_(variance * n_places / (n_places - 1), momentum)

    y = centred * (variance + eps).rsqrt().view(wide)
    if weight is not None:
        y = y * weight.view(wide)
    if bias is not None:
        y = y + bias.view(wide)
    return y


def _sum_over_processes(x: Tensor) -> Tensor:
    """Return the sum over all processes, through which gradients flow back."""
    total: Tensor = all_reduce(x)  # type: ignore[no-untyped-call] # torch leaves it without types
    return total
