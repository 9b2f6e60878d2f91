"""The layers of a stack, forwards and backwards.

Written by hand, because autograd makes fresh tensors in each step, and products in orders that MKL
is slow at: a stack of 32 at batch 256 takes a fifth less time than by autograd. The tests compare
each gradient of each kind of layer with autograd's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

_ATEN = torch.ops.aten
# Kernels, forwards and backwards, that write into a given tensor. Other activations go through
# autograd, one by one.
_Kernel = Callable[..., Any]
_KERNELS: dict[type[nn.Module], tuple[_Kernel, _Kernel]] = {
    nn.ReLU: (
        lambda x, out: torch.clamp_min(x, 0, out=out),
        lambda gradient, x, out: _ATEN.threshold_backward.grad_input(
            gradient, x, 0, grad_input=out
        ),
    ),
    nn.SiLU: (
        lambda x, out: _ATEN.silu.out(x, out=out),
        lambda gradient, x, out: _ATEN.silu_backward.grad_input(gradient, x, grad_input=out),
    ),
}


class Layer(Protocol):
    """One step of a stack's forward pass.

    `forward` keeps what `backward` needs. What both return is valid until they are called again.
    """

    def forward(self, *inputs: Any, is_training: bool) -> Tensor:  # noqa: ANN401 - tensors and sizes
        """Return the result for these inputs."""

    def backward(self, gradient: Tensor) -> Sequence[Tensor | None]:
        """Given the output's gradient, return the inputs' gradients.

        The parameters' gradients are written into their buffers. The output's gradient may be
        overwritten.
        """


class Buffers:
    """Tensors that are made once for each use and shape."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def get(self, use: str, shape: Sequence[int]) -> Tensor:
        """Return the tensor for this use and shape, with whatever was left in it."""
        key = (use, tuple(shape))
        if key not in self._made:
            self._made[key] = torch.empty(key[1])
        return self._made[key]


class Linear:
    """A batched linear layer: (K, B, I) times (K, I, O) plus (K, O) -> (K, B, O).

    Weights lie (I, O): the gradient by one that lies (O, I), as in `nn.Linear`, takes half as long
    again at 39 inputs. With one output, products of rows take the place of products of columns,
    which take three to nine times as long.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        gradients: tuple[Tensor, Tensor | None],
        *,
        is_first: bool,
    ) -> None:
        self.weight = weight
        self.bias = bias
        self.for_weight, self.for_bias = gradients
        self.is_first = is_first
        self.buffers = Buffers()

    def forward(self, *inputs: Tensor, is_training: bool) -> Tensor:  # noqa: ARG002 - as all layers
        """Map (K, B, I) to (K, B, O)."""
        (self.x,) = inputs
        k, b, _ = self.x.shape
        n_out = self.weight.shape[2]
        y = self.buffers.get("y", (k, b, n_out))
        if n_out == 1:
            row = self.weight.view(k, 1, -1)
            columns = self.x.transpose(1, 2)
            torch.bmm(row, columns, out=y.view(k, 1, b))
            if self.bias is None:
                return y
            return y.add_(self.bias.view(k, 1, 1))
        if self.bias is None:
            return torch.bmm(self.x, self.weight, out=y)
        bias = self.bias.unsqueeze(1)
        return torch.baddbmm(bias, self.x, self.weight, out=y)

    def backward(self, gradient: Tensor) -> Sequence[Tensor | None]:
        """Map the gradient (K, B, O) to (K, B, I); to nothing for the first layer."""
        k, b, n_out = gradient.shape
        if self.for_bias is not None:
            torch.sum(gradient, 1, out=self.for_bias)
        if n_out == 1:
            row = self.for_weight.view(k, 1, -1)
            torch.bmm(gradient.view(k, 1, b), self.x, out=row)
        else:
            torch.bmm(self.x.transpose(1, 2), gradient, out=self.for_weight)

        # Nobody needs the gradient by the rows.
        if self.is_first:
            return (None,)
        for_x = self.buffers.get("x", self.x.shape)
        if n_out == 1:
            torch.mul(gradient, self.weight.view(k, 1, -1), out=for_x)
        else:
            torch.bmm(gradient, self.weight.transpose(1, 2), out=for_x)
        return (for_x,)


class Activation:
    """An activation without parameters, applied value by value."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.kernels = _KERNELS.get(type(module))
        self.needs_y = self.kernels is None
        """True if `backward` reads what `forward` returned."""
        self.buffers = Buffers()
        self.y: Tensor

    def forward(self, *inputs: Tensor, is_training: bool) -> Tensor:
        """Return the activations, in the input's shape."""
        (self.x,) = inputs
        if self.kernels is not None:
            self.y = self.buffers.get("y", self.x.shape)
            self.kernels[0](self.x, self.y)
            return self.y
        if is_training:
            self.x = self.x.detach().requires_grad_()
        with torch.set_grad_enabled(is_training):
            self.y = self.module(self.x)
        return self.y.detach()

    def backward(self, gradient: Tensor) -> Sequence[Tensor | None]:
        """Return the gradient by the input, in its shape."""
        if self.kernels is None:
            return torch.autograd.grad(self.y, self.x, gradient)
        self.kernels[1](gradient, self.x, gradient)
        return (gradient,)


class Dropout:
    """A layer that multiplies by a mask, drawn for each step.

    Args:
        draw: shape -> mask; None where nothing is dropped.
        is_in_place: the input may be overwritten, since nobody else needs it.
    """

    def __init__(self, draw: Callable[[torch.Size], Tensor | None], *, is_in_place: bool) -> None:
        self.draw = draw
        self.is_in_place = is_in_place
        self.buffers = Buffers()

    def forward(self, *inputs: Tensor, is_training: bool) -> Tensor:
        """Return the input times a new mask; while scoring, the input itself."""
        (x,) = inputs
        self.mask = self.draw(x.shape) if is_training else None
        if self.mask is None:
            return x
        if self.is_in_place:
            return x.mul_(self.mask)
        y = self.buffers.get("y", x.shape)
        return torch.mul(x, self.mask, out=y)

    def backward(self, gradient: Tensor) -> Sequence[Tensor | None]:
        """Return the gradient times the same mask."""
        if self.mask is None:
            return (gradient,)
        return (gradient.mul_(self.mask),)


class Add:
    """A layer that adds two values of one shape."""

    def forward(self, *inputs: Tensor, is_training: bool) -> Tensor:  # noqa: ARG002 - as all layers
        """Return the sum, in the inputs' shape."""
        return inputs[0] + inputs[1]

    def backward(self, gradient: Tensor) -> Sequence[Tensor | None]:
        """Return the gradient for both inputs, each with a copy that it may overwrite."""
        return (gradient, gradient.clone())


class Squeeze:
    """A layer that removes a dimension of size 1, counted as one model counts its own."""

    def forward(self, *inputs: Any, is_training: bool) -> Tensor:  # noqa: ANN401, ARG002 - a tensor and a number
        """Map (K, ..., 1, ...) to (K, ...)."""
        x, dim = inputs
        self.shape = x.shape
        # The members' dimension comes before the model's own.
        y: Tensor = x.squeeze(dim + 1 if dim >= 0 else dim)
        return y

    def backward(self, gradient: Tensor) -> Sequence[Tensor | None]:
        """Map the gradient (K, ...) to (K, ..., 1, ...)."""
        return (gradient.reshape(self.shape), None)


class Expand:
    """A layer that gives one parameter to all rows: (K, ...) -> (K, B, ...)."""

    def __init__(self, parameter: Tensor, gradient: Tensor) -> None:
        self.parameter = parameter
        self.for_parameter = gradient

    def forward(self, *inputs: Any, is_training: bool) -> Tensor:  # noqa: ANN401, ARG002 - sizes after the parameter
        """Return the parameter with its own sizes after the number of rows."""
        return self.parameter.unsqueeze(1).expand(-1, *inputs[1:])

    def backward(self, gradient: Tensor) -> Sequence[Tensor | None]:
        """Write the gradient's sum over rows into the parameter's buffer."""
        torch.sum(gradient, 1, out=self.for_parameter)
        return (None,)
