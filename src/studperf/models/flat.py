"""The input of models that read a row as one vector."""

import torch
from torch import Tensor, nn

from studperf.data.encode import FeatureSpec


class FlatInput(nn.Module):
    """Numbers beside one-hot categories.

    Shape:
        (B, F), (B, C) -> (B, `d_out`) with `d_out` = F + the sum of the cardinalities. What it gives may be given to it again, with C = 0.
    """

    offsets: Tensor

    def __init__(self, features: FeatureSpec) -> None:
        super().__init__()
        self.n_levels = sum(features.cardinalities)
        self.d_out = features.n_numbers + self.n_levels
        starts = [sum(features.cardinalities[:i]) for i in range(len(features.cardinalities))]
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.int64), persistent=False)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """(B, F), (B, C) -> (B, d_out)."""
        if not x_cat.shape[1]:  # no categories, or one-hot already
            return x_num
        one_hot = x_num.new_zeros(len(x_num), self.n_levels).scatter(1, x_cat + self.offsets, 1.0)
        return torch.cat([x_num, one_hot], dim=1)
