"""TabM, by the package of its authors."""

import rtdl_num_embeddings as rtdl
import tabm
from torch import Tensor, nn

from studperf.config.types import PositiveInt, Probability
from studperf.data.encode import FeatureSpec


class TabM(nn.Module):
    """K multilayer perceptrons that share most of their weights.

    Shape:
        (B, F), (B, C) -> (B, K)

    Source:
        Gorishniy et al. 2025, "TabM: Advancing Tabular Deep Learning with Parameter-Efficient
        Ensembling", as in `tabm`. With `d_embedding`, numbers pass through linear-ReLU embeddings
        of that width (Gorishniy et al. 2022, "On Embeddings for Numerical Features", section 3.3).

    >>> import torch
    >>> sizes = dict(n_members=4, n_blocks=1, d_block=8, d_embedding=None)
    >>> model = TabM(FeatureSpec(2, (3,)), **sizes, dropout=0.1)
    >>> model(torch.zeros(5, 2), torch.zeros(5, 1, dtype=torch.int64)).shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        features: FeatureSpec,
        *,
        n_members: PositiveInt,
        n_blocks: PositiveInt,
        d_block: PositiveInt,
        dropout: Probability,
        d_embedding: PositiveInt | None,
    ) -> None:
        super().__init__()
        self.has_numbers = features.n_numbers > 0
        self.has_categories = bool(features.cardinalities)
        embeddings = None
        if d_embedding is not None and self.has_numbers:
            embeddings = rtdl.LinearReLUEmbeddings(features.n_numbers, d_embedding)
        self.net = tabm.TabM.make(
            n_num_features=features.n_numbers,
            cat_cardinalities=list(features.cardinalities),
            num_embeddings=embeddings,
            d_out=1,
            k=n_members,
            n_blocks=n_blocks,
            d_block=d_block,
            dropout=dropout,
        )

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Map (B, F), (B, C) to (B, K)."""
        # The package wants None, not an empty tensor, where there are no such columns.
        numbers = x_num if self.has_numbers else None
        categories = x_cat if self.has_categories else None
        y: Tensor = self.net(numbers, categories)
        return y.squeeze(2)
