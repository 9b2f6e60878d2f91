from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from studperf.train.stack.layers import Activation, Add, Dropout, Expand, Layer, Linear, Squeeze

K, B, I = 3, 5, 4  # noqa: E741 - as in the docstrings
GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def autograd(
    function: Callable[..., Tensor], inputs: list[Tensor], gradient: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    y = function(*leaves)
    return y.detach(), torch.autograd.grad(y, leaves, gradient)


@pytest.mark.parametrize("n_out", [1, 6])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_linear_layer_has_autograds_gradients(n_out: int, has_bias: bool) -> None:  # noqa: FBT001
    x, weight, gradient = draw(K, B, I), draw(K, I, n_out), draw(K, B, n_out)
    bias = draw(K, n_out) if has_bias else None
    for_weight, for_bias = (
        torch.empty_like(weight),
        None if bias is None else torch.empty_like(bias),
    )
    layer = Linear(weight, bias, (for_weight, for_bias), is_first=False)
    y, (for_x, *others) = autograd(
        lambda x, w, *b: torch.bmm(x, w) + (b[0].unsqueeze(1) if b else 0),
        [x, weight, *([] if bias is None else [bias])],
        gradient,
    )
    with torch.no_grad():
        torch.testing.assert_close(layer.forward(x, is_training=True), y)
        torch.testing.assert_close(layer.backward(gradient)[0], for_x)
    torch.testing.assert_close(for_weight, others[0])
    if for_bias is not None:
        torch.testing.assert_close(for_bias, others[1])


def test_the_first_layer_asks_for_no_gradient_by_the_rows() -> None:
    weight = draw(K, I, 2)
    layer = Linear(weight, None, (torch.empty_like(weight), None), is_first=True)
    layer.forward(draw(K, B, I), is_training=True)
    assert layer.backward(draw(K, B, 2)) == (None,)


MASK = (draw(K, B, I) > 0).float()
UNARY: dict[str, tuple[Layer, Callable[[Tensor], Tensor]]] = {
    "relu": (Activation(nn.ReLU()), torch.relu),
    "silu": (Activation(nn.SiLU()), nn.functional.silu),
    "gelu": (Activation(nn.GELU()), nn.functional.gelu),
    "tanh": (Activation(nn.Tanh()), torch.tanh),
    "dropout": (Dropout(lambda _: MASK, is_in_place=False), lambda x: x * MASK),
    "dropout in place": (Dropout(lambda _: MASK, is_in_place=True), lambda x: x * MASK),
    "no dropout": (Dropout(lambda _: None, is_in_place=True), lambda x: x * 1),
}


@pytest.mark.parametrize(("layer", "function"), UNARY.values(), ids=UNARY.keys())
def test_what_works_value_by_value_has_autograds_gradients(
    layer: Layer, function: Callable[[Tensor], Tensor]
) -> None:
    x, gradient = draw(K, B, I), draw(K, B, I)
    y, (for_x,) = autograd(function, [x], gradient)
    with torch.no_grad():
        torch.testing.assert_close(layer.forward(x, is_training=True), y)
        torch.testing.assert_close(layer.backward(gradient)[0], for_x)


def test_dropout_drops_nothing_outside_of_training() -> None:
    x = draw(K, B, I)
    assert Dropout(lambda _: MASK, is_in_place=True).forward(x, is_training=False) is x


def test_a_sum_hands_its_gradient_to_both() -> None:
    x, y, gradient = draw(K, B, I), draw(K, B, I), draw(K, B, I)
    layer = Add()
    assert torch.equal(layer.forward(x, y, is_training=True), x + y)
    first, second = layer.backward(gradient)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


@pytest.mark.parametrize("dim", [1, -1])
def test_squeeze_counts_dimensions_as_the_model_does(dim: int) -> None:
    layer = Squeeze()
    assert layer.forward(draw(K, B, 1), dim, is_training=True).shape == (K, B)
    found = layer.backward(draw(K, B))[0]
    assert found is not None
    assert found.shape == (K, B, 1)


def test_an_expanded_parameter_gets_the_sum_over_rows() -> None:
    parameter, gradient = draw(K), draw(K, B)
    for_parameter = torch.empty_like(parameter)
    layer = Expand(parameter, for_parameter)
    assert torch.equal(layer.forward(parameter, B, is_training=True)[:, 2], parameter)
    layer.backward(gradient)
    torch.testing.assert_close(for_parameter, gradient.sum(1))
