"""A plain multilayer perceptron."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from studperf.config.types import Probability, Widths
from studperf.data.encode import FeatureSpec
from studperf.models.flat import FlatInput

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class MLP(nn.Module):
    """Hidden layers with dropout and, with `linear_skip`, a linear path around them.

    The skip lets the hidden layers learn only what is not linear: on data that is nearly linear the
    model then starts from the right answer instead of approximating it.

    Args:
        features: sizes of the input.
        d_hidden: widths of the hidden layers.
        dropout: share of each hidden layer's outputs that a training step leaves out.
        activation: after each hidden layer.
        linear_skip: True for the linear path.

    Shape:
        (B, F), (B, C) -> (B,)

    Source:
        Gorishniy et al. 2021, "Revisiting Deep Learning Models for Tabular Data", section 3.1. The
        linear skip is ours (as in Cheng et al. 2016, "Wide & Deep Learning"); with it the deep part
        starts at zero.

    >>> import torch
    >>> spec = FeatureSpec(n_numbers=2, cardinalities=(3,))
    >>> model = MLP(spec, d_hidden=(8,), dropout=0.1, activation="relu", linear_skip=True)
    >>> model(torch.zeros(4, 2), torch.zeros(4, 1, dtype=torch.int64)).shape
    torch.Size([4])
    """

    def __init__(
        self,
        features: FeatureSpec,
        *,
        d_hidden: Widths,
        dropout: Probability,
        activation: Literal["relu", "gelu", "silu"],
        linear_skip: bool,
    ) -> None:
        super().__init__()
        self.input = FlatInput(features)
        layers: list[nn.Module] = []
        widths = [self.input.d_out, *d_hidden]
        for d_in, d_out in pairwise(widths):
            layers.append(nn.Linear(d_in, d_out))
            layers.append(_ACTIVATIONS[activation]())
            layers.append(nn.Dropout(dropout))
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(widths[-1], 1)
        self.skip: nn.Linear | None = None
        if linear_skip:
            self.skip = nn.Linear(self.input.d_out, 1, bias=False)
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.skip.weight)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Map (B, F), (B, C) to (B,)."""
        x = self.input(x_num, x_cat)
        y: Tensor = self.output(self.hidden(x))
        if self.skip is not None:
            y = y + self.skip(x)
        return y.squeeze(1)
