"""The mean of the target: what any model must beat."""

import torch
from torch import Tensor, nn

from studperf.data.encode import FeatureSpec


class Mean(nn.Module):
    """The same prediction for everybody, learnt by the same loop as the other models.

    Shape:
        (B, F), (B, C) -> (B,)

    Source:
        None needed. With `loss.name=quantile` it learns the quantile instead.

    >>> model = Mean(FeatureSpec(n_numbers=2, cardinalities=(3,)))
    >>> model(torch.zeros(4, 2), torch.zeros(4, 1, dtype=torch.int64)).shape
    torch.Size([4])
    """

    def __init__(self, features: FeatureSpec) -> None:  # noqa: ARG002 - part of the contract
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:  # noqa: ARG002 - part of the contract
        """Map (B, F), (B, C) to (B,)."""
        return self.bias.expand(x_num.shape[0])
