"""ResNet for tables, by the package of its authors."""

import rtdl_revisiting_models as rtdl
from torch import Tensor, nn

from studperf.config.types import PositiveInt, Probability
from studperf.data.encode import FeatureSpec
from studperf.models.flat import FlatInput


class ResNet(nn.Module):
    """Residual blocks with batch normalisation.

    Shape:
        (B, F), (B, C) -> (B,); in training B is at least 2, for the batch statistics.

    Source:
        Gorishniy et al. 2021, "Revisiting Deep Learning Models for Tabular Data", section 3.2, as
        in `rtdl_revisiting_models`. Categories enter one-hot instead of embedded.

    >>> import torch
    >>> sizes = dict(n_blocks=1, d_block=8, d_hidden=16)
    >>> model = ResNet(FeatureSpec(2, (3,)), **sizes, dropout=0.1, residual_dropout=0.0)
    >>> model(torch.zeros(4, 2), torch.zeros(4, 1, dtype=torch.int64)).shape
    torch.Size([4])
    """

    def __init__(
        self,
        features: FeatureSpec,
        *,
        n_blocks: PositiveInt,
        d_block: PositiveInt,
        d_hidden: PositiveInt,
        dropout: Probability,
        residual_dropout: Probability,
    ) -> None:
        super().__init__()
        self.input = FlatInput(features)
        self.net = rtdl.ResNet(
            d_in=self.input.d_out,
            d_out=1,
            n_blocks=n_blocks,
            d_block=d_block,
            d_hidden=d_hidden,
            # The package takes a width or a multiple of d_block, and refuses both.
            d_hidden_multiplier=None,
            dropout1=dropout,
            dropout2=residual_dropout,
        )

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Map (B, F), (B, C) to (B,)."""
        y: Tensor = self.net(self.input(x_num, x_cat))
        return y.squeeze(1)
