"""Linear regression on numbers and one-hot categories."""

from torch import Tensor, nn

from studperf.data.encode import FeatureSpec
from studperf.models.flat import FlatInput


class Linear(nn.Module):
    """Linear regression: one weight per number and per level.

    Shape:
        (B, F), (B, C) -> (B,)

    Source:
        Ridge regression, with the penalty in `optimizer.weight_decay`. Starts at zero, so that a
        column without signal stays there.

    >>> import torch
    >>> model = Linear(FeatureSpec(n_numbers=2, cardinalities=(3,)))
    >>> model(torch.zeros(4, 2), torch.zeros(4, 1, dtype=torch.int64)).shape
    torch.Size([4])
    """

    def __init__(self, features: FeatureSpec) -> None:
        super().__init__()
        self.input = FlatInput(features)
        self.output = nn.Linear(self.input.d_out, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Map (B, F), (B, C) to (B,)."""
        y: Tensor = self.output(self.input(x_num, x_cat))
        return y.squeeze(1)
