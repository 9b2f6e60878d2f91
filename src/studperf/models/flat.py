"""The input of models that read a row as one vector."""

import torch
from torch import Tensor, nn

from studperf.data.encode import FeatureSpec


class FlatInput(nn.Module):
    """Numbers beside one-hot categories.

    Shape:
        (B, F), (B, C) -> (B, `d_out`) with `d_out` = F + the sum of the cardinalities. The result
        may be given to it again, with C = 0.
    """

    offsets: Tensor

    def __init__(self, features: FeatureSpec) -> None:
        super().__init__()
        sizes = features.cardinalities
        self.n_levels = sum(sizes)
        self.d_out = features.n_numbers + self.n_levels
        # Where each column's levels begin among all of them. Left out of the weights, since it
        # follows from the data.
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.int64), persistent=False)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Map (B, F), (B, C) to (B, d_out)."""
        # There are no categories, or the caller has made them one-hot already.
        if not x_cat.shape[1]:
            return x_num
        zeros = x_num.new_zeros(len(x_num), self.n_levels)
        one_hot = zeros.scatter(1, x_cat + self.offsets, 1.0)
        return torch.cat([x_num, one_hot], dim=1)
