"""The parameters of K models in one vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from studperf.module import ScoreModule
from studperf.stacked.plan import NotStackableError


class Layout:
    """Where the parameters of K models lie in a vector: layer after layer, and within a layer member after member.

    So each layer is one contiguous (K, I, O) for the products, and an optimizer works on one vector. Matrices lie transposed.

    Args:
        shapes: of one model's parameters by name, as they lie here.
        n_members: K.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], n_members: int) -> None:
        self.n_members = n_members
        self.shapes = shapes
        self.sizes = [n_members * prod(shape) for shape in shapes.values()]

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """The vector as a view (K, ...) for each parameter."""
        parts = torch.split(flat, self.sizes)
        return {
            name: part.view(self.n_members, *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def read(self, modules: Sequence[ScoreModule]) -> Tensor:
        """A new vector with the models' parameters.

        Raises:
            NotStackableError: they differ in names or shapes.
        """
        flat = torch.empty(sum(self.sizes))
        views = self.split(flat)
        for k, module in enumerate(modules):
            if shapes_of(module) != self.shapes:
                raise NotStackableError("the models' parameters differ in names or shapes")
            for name, parameter in module.named_parameters():
                views[name][k] = parameter.detach().t()
        return flat

    def write(self, flat: Tensor, k: int, module: ScoreModule) -> None:
        """Puts one member's parameters into its model."""
        views = self.split(flat)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(views[name][k].t())

    def spread(self, values: Sequence[float], *, matrices_only: bool = False) -> Tensor:
        """A vector that holds each member's value at each of its parameters, or at those of matrices, and 0 at the others."""
        flat = torch.zeros(sum(self.sizes))
        column = torch.tensor(values, dtype=torch.float64).float()
        for view in self.split(flat).values():
            if view.ndim > 2 or not matrices_only:  # noqa: PLR2004 - (K, I, O)
                view.copy_(column.view(-1, *[1] * (view.ndim - 1)))
        return flat

    def keep(self, flat: Tensor, members: Tensor) -> Tensor:
        """A new vector with these members alone, in the layout of that many."""
        return torch.cat([view[members].reshape(-1) for view in self.split(flat).values()])


def shapes_of(module: ScoreModule) -> dict[str, torch.Size]:
    """Of a model's parameters as a stack lays them: matrices transposed."""
    return {name: parameter.t().shape for name, parameter in module.named_parameters()}
