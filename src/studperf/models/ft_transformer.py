"""FT-Transformer, by the package of its authors."""

import rtdl_revisiting_models as rtdl
from torch import Tensor, nn

from studperf.config.types import PositiveFloat, PositiveInt, Probability
from studperf.data.encode import FeatureSpec


class FTTransformer(nn.Module):
    """A transformer that turns each column into a token of width D, and mixes a row's tokens.

    Shape:
        (B, F), (B, C) -> (B,)

    Source:
        Gorishniy et al. 2021, "Revisiting Deep Learning Models for Tabular Data", section 3.3, as
        in `rtdl_revisiting_models`.

    Raises:
        ValueError: `d_block` is not a multiple of `n_heads`.

    >>> import torch
    >>> sizes = dict(n_blocks=1, d_block=8, n_heads=2, d_ffn_factor=1.33)
    >>> rates = dict(attention_dropout=0.2, ffn_dropout=0.1, residual_dropout=0.0)
    >>> model = FTTransformer(FeatureSpec(2, (3,)), **sizes, **rates)
    >>> model(torch.zeros(4, 2), torch.zeros(4, 1, dtype=torch.int64)).shape
    torch.Size([4])
    """

    def __init__(
        self,
        features: FeatureSpec,
        *,
        n_blocks: PositiveInt,
        d_block: PositiveInt,
        n_heads: PositiveInt,
        d_ffn_factor: PositiveFloat,
        attention_dropout: Probability,
        ffn_dropout: Probability,
        residual_dropout: Probability,
    ) -> None:
        super().__init__()
        if d_block % n_heads:
            raise ValueError(
                f"model.d_block must be a multiple of model.n_heads, got {d_block} and {n_heads}"
            )
        self.has_numbers = features.n_numbers > 0
        self.has_categories = bool(features.cardinalities)
        self.net = rtdl.FTTransformer(
            n_cont_features=features.n_numbers,
            cat_cardinalities=list(features.cardinalities),
            d_out=1,
            n_blocks=n_blocks,
            d_block=d_block,
            attention_n_heads=n_heads,
            attention_dropout=attention_dropout,
            ffn_d_hidden_multiplier=d_ffn_factor,
            ffn_dropout=ffn_dropout,
            residual_dropout=residual_dropout,
        )

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Map (B, F), (B, C) to (B,)."""
        # The package wants None, not an empty tensor, where there are no such columns.
        numbers = x_num if self.has_numbers else None
        categories = x_cat if self.has_categories else None
        y: Tensor = self.net(numbers, categories)
        return y.squeeze(1)
