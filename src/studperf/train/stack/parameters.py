"""The parameters of K models in one vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from studperf.train.network.module import ScoreModule
from studperf.train.stack.trace import NotStackableError


class Layout:
    """The places of K models' parameters in one vector: layer by layer, then member by member.

    So each layer is one contiguous (K, I, O) for the products, and an optimizer works on one
    vector. Matrices lie transposed.

    Args:
        shapes: of one model's parameters by name, as they lie here.
        n_members: K.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], n_members: int) -> None:
        self.n_members = n_members
        self.shapes = shapes
        self.sizes = [n_members * prod(shape) for shape in shapes.values()]

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Return the vector as a view (K, ...) for each parameter."""
        parts = torch.split(flat, self.sizes)
        views = {}
        for (name, shape), part in zip(self.shapes.items(), parts, strict=True):
            views[name] = part.view(self.n_members, *shape)
        return views

    def read(self, modules: Sequence[ScoreModule]) -> Tensor:
        """Return a new vector with the models' parameters.

        Raises:
            NotStackableError: they differ in names or shapes.
        """
        flat = torch.empty(sum(self.sizes))
        views = self.split(flat)
        for k, module in enumerate(modules):
            if shapes_of(module) != self.shapes:
                raise NotStackableError("the models' parameters differ in names or shapes")
            for name, parameter in module.named_parameters():
                # `t` leaves a vector as it is.
                views[name][k] = parameter.detach().t()
        return flat

    def write(self, flat: Tensor, k: int, module: ScoreModule) -> None:
        """Copy one member's parameters into its model."""
        views = self.split(flat)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(views[name][k].t())

    def spread(self, values: Sequence[float], *, matrices_only: bool = False) -> Tensor:
        """Return a vector with each member's value at each of its parameters.

        With `matrices_only`, all that is not of a matrix is 0.
        """
        flat = torch.zeros(sum(self.sizes))
        column = torch.tensor(values, dtype=torch.float64).float()
        for view in self.split(flat).values():
            if view.ndim > 2 or not matrices_only:  # noqa: PLR2004 - (K, I, O)
                view.copy_(column.view(-1, *[1] * (view.ndim - 1)))
        return flat

    def keep(self, flat: Tensor, members: Tensor) -> Tensor:
        """Return a new vector with these members alone, in the layout of that many."""
        views = self.split(flat).values()
        kept = [view[members].reshape(-1) for view in views]
        return torch.cat(kept)


def shapes_of(module: ScoreModule) -> dict[str, torch.Size]:
    """Return the shapes of a model's parameters in a stack: matrices are transposed."""
    return {name: parameter.t().shape for name, parameter in module.named_parameters()}
