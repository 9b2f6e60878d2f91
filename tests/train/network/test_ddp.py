"""Several processes' shares of a batch against the batch itself."""

import pytest
import torch
from torch import Tensor, nn

from studperf.config.load import load_overrides
from studperf.data.encode import FeatureSpec
from studperf.train.network.ddp import Share
from studperf.train.network.module import build_model

N_ROWS = 11
SPEC = FeatureSpec(5, (3, 4))
DROPPING = {
    "mlp": ["model.dropout=0.3"],
    "tabm": ["model.dropout=0.3", "model.d_block=16"],
    "ft_transformer": [
        "model.attention_dropout=0.3",
        "model.ffn_dropout=0.2",
        "model.residual_dropout=0.1",
    ],
}


def draw_rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N_ROWS, 5, generator=generator), torch.randint(
        0, 3, (N_ROWS, 2), generator=generator
    )


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


@pytest.mark.parametrize("n_ranks", [2, 3])
@pytest.mark.parametrize("name", DROPPING)
def test_shares_are_together_what_the_batch_is(name: str, n_ranks: int) -> None:
    torch.manual_seed(0)
    model = build_model(load_overrides([f"model={name}", *DROPPING[name]]).model, SPEC).train()
    x_num, x_cat = draw_rows()
    torch.manual_seed(7)
    alone = model(x_num, x_cat)
    wanted = gradients(model, alone.square().mean())
    together, sums = torch.empty_like(alone), [torch.zeros_like(gradient) for gradient in wanted]
    for rank in range(n_ranks):
        torch.manual_seed(7)
        own = slice(rank, None, n_ranks)
        with Share(rank, n_ranks, N_ROWS) as share:
            y = model(x_num[own], x_cat[own])
        together[own] = y.detach()
        for total, gradient in zip(
            sums, gradients(model, y.square().mean() * share.weight), strict=True
        ):
            total.add_(gradient / n_ranks)
    torch.testing.assert_close(together, alone.detach(), rtol=1e-5, atol=1e-6)
    for total, gradient in zip(sums, wanted, strict=True):
        torch.testing.assert_close(total, gradient, rtol=1e-4, atol=1e-6)


def test_dropout_is_left_to_torch_where_it_does_not_go_by_rows() -> None:
    layer, x = nn.Dropout(0.5), torch.ones(7, 4)
    torch.manual_seed(0)
    wanted = layer(x)
    torch.manual_seed(0)
    with Share(0, 2, N_ROWS):
        assert torch.equal(layer(x), wanted)


def test_nothing_is_dropped_where_torch_would_drop_nothing() -> None:
    x = torch.ones(6, 4)
    with Share(0, 2, N_ROWS):
        assert torch.equal(nn.Dropout(0.5).eval()(x), x)
        assert torch.equal(nn.Dropout(0.0)(x), x)
