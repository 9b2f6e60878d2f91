"""K models of one architecture as batched matrices."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from studperf.config.shape import Loss
from studperf.data.batches import Batch
from studperf.module import ScoreModule
from studperf.stacked.layers import Activation, Add, Dropout, Expand, Layer, Linear, Squeeze
from studperf.stacked.masks import Masks
from studperf.stacked.parameters import Layout, shapes_of
from studperf.stacked.plan import NotStackableError, Ref, Step, read_plan
from studperf.stacked.update import Update

_N_TRIED = 4
_TOLERANCE = 1e-4
_CLIP_EPS = 1e-6  # as torch.nn.utils.clip_grad_norm_
_LOG_VARIANCE = "criterion.log_variance"

# Steps without a gradient, which models use to ask for the number of rows. The members' dimension is not the model's own.
_PLAIN: dict[str, Callable[..., Any]] = {
    "shape": lambda x, _: x.shape[1:],
    "item": operator.getitem,
    "result": lambda y: y,
}


class Stack:
    """K models, and what training needs of them.

    Args:
        modules: of one architecture, each with its own initial weights; dropout rates may differ.
        rows: a few, on which the stack's forward pass is compared with the models' own.

    Raises:
        NotStackableError: the model has a step that can't be stacked.
    """

    def __init__(self, modules: Sequence[ScoreModule], rows: Batch) -> None:
        self.plan = read_plan(modules[0].model)
        self.inputs = [
            step.module for step in self.plan if step.kind == "input" and step.module is not None
        ]
        self.seeds = [module.config.seed for module in modules]
        self.loss = modules[0].config.loss
        self.rates = [
            [_rate(module, step) for module in modules]
            for step in self.plan
            if step.kind == "dropout"
        ]
        self.layout = Layout(shapes_of(modules[0]), len(modules))
        self.values = self.layout.read(modules)
        self.update = Update([module.config.optimizer for module in modules], self.layout)
        self._bind()
        self._compare(modules, rows)

    def __len__(self) -> int:
        """Members."""
        return self.layout.n_members

    def read_rows(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """The rows as the models' `FlatInput` makes them, (N, F + levels); a model without one looks at their number alone."""
        with torch.no_grad():
            x: Tensor = self.inputs[0](x_num, x_cat) if self.inputs else x_num
        return x

    def keep(self, members: Sequence[int]) -> None:
        """Goes on with these members alone: a stopped one costs nothing any more."""
        index = torch.tensor(members)
        self.seeds = [self.seeds[k] for k in members]
        self.rates = [[layer[k] for k in members] for layer in self.rates]
        self.update.keep(self.layout, index)
        self.values = self.layout.keep(self.values, index)
        self.layout = Layout(self.layout.shapes, len(members))
        self._bind()

    def start_epoch(self, epoch: int) -> None:
        """Dropout follows from (seed, epoch) alone."""
        self.masks = Masks(self.seeds, self.rates, epoch)

    @torch.no_grad()
    def train_step(self, x: Tensor, z: Tensor, factor: float, clip: float | None) -> Tensor:
        """One step of each member on its own batch.

        Args:
            x: (K, B, F) inputs.
            z: (K, B) standardised targets.
            factor: on the learning rates.
            clip: the largest norm that a member's gradient may have.

        Returns:
            (K,) losses before the step.
        """
        y = self.forward(x, is_training=True)
        losses, gradient = self._loss_gradient(y, z)
        self._backward(gradient)
        if clip is not None:
            self._clip(clip)
        self.update.step(self.values, self.gradients, factor)
        return losses

    @torch.no_grad()
    def forward(self, x: Tensor, *, is_training: bool = False) -> Tensor:
        """(K, B, F), numbers beside one-hot categories -> (K, B), standardised; valid until the next pass."""
        results: list[Any] = []
        for step, layer in zip(self.plan, self.layers, strict=True):
            inputs = [results[i.number] if isinstance(i, Ref) else i for i in step.inputs]
            if layer is not None:
                results.append(layer.forward(*inputs, is_training=is_training))
            else:
                results.append(_PLAIN[step.kind](*inputs) if step.kind in _PLAIN else x)
        y: Tensor = results[-1]
        return y

    def losses(self, y: Tensor, z: Tensor) -> Tensor:
        """(K, B), (K, B) -> (K,); the losses that `module.build_loss` gives for one member."""
        return row_losses(self.loss, y, z, self.views.get(_LOG_VARIANCE)).mean(1)

    def _loss_gradient(self, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (K,) and the gradient (K, B) of their sum, which by a member's values is that of its own loss."""
        if self.loss.name == "mse":  # autograd takes a twentieth of a step at batch 32
            error = y - z
            return error.square().mean(1), error.mul_(2 / error.shape[1])
        leaves = [y.detach().requires_grad_()]
        if learnt := _LOG_VARIANCE in self.views:
            leaves.append(self.views[_LOG_VARIANCE].detach().requires_grad_())
        with torch.enable_grad():
            losses = row_losses(self.loss, leaves[0], z, leaves[1] if learnt else None).mean(1)
            found = torch.autograd.grad(losses.sum(), leaves)
        if learnt:
            self.gradient_views[_LOG_VARIANCE].copy_(found[1])
        return losses.detach(), found[0]

    def _backward(self, gradient: Tensor) -> None:
        """Back along the plan; a value used twice gets the sum of both gradients."""
        gradients: dict[int, Tensor] = {len(self.plan) - 1: gradient}
        for number in range(len(self.plan) - 1, -1, -1):
            step, layer, known = self.plan[number], self.layers[number], gradients.pop(number, None)
            if known is None or step.kind in ("rows", "input", "parameter"):
                continue
            for given, found in zip(
                step.inputs, layer.backward(known) if layer is not None else (known,), strict=False
            ):
                if isinstance(given, Ref) and found is not None:
                    gradients[given.number] = (
                        gradients[given.number] + found if given.number in gradients else found
                    )

    def _clip(self, clip: float) -> None:
        squares = [
            view.reshape(len(self), -1).square().sum(1) for view in self.gradient_views.values()
        ]
        factors = (clip / (torch.stack(squares).sum(0).sqrt() + _CLIP_EPS)).clamp(max=1.0)
        for view in self.gradient_views.values():
            view.mul_(factors.view(-1, *[1] * (view.ndim - 1)))

    def _bind(self) -> None:
        """Layers on the vector as it lies now."""
        self.gradients = torch.zeros_like(self.values)
        self.views, self.gradient_views = (
            self.layout.split(self.values),
            self.layout.split(self.gradients),
        )
        self.start_epoch(0)
        n_dropouts = iter(range(len(self.rates)))
        self.layers: list[Layer | None] = []
        for step in self.plan:
            self.layers.append(self._build_layer(step, n_dropouts))

    def _build_layer(self, step: Step, n_dropouts: Iterator[int]) -> Layer | None:
        match step.kind:
            case "linear":
                names = [f"model.{step.name}.{name}" for name in ("weight", "bias")]
                gradients = (self.gradient_views[names[0]], self.gradient_views.get(names[1]))
                is_first = self.plan[step.inputs[0].number].kind == "input"
                return Linear(
                    self.views[names[0]], self.views.get(names[1]), gradients, is_first=is_first
                )
            case "activation" if step.module is not None:
                return Activation(step.module)
            case "dropout":
                number, given = next(n_dropouts), step.inputs[0].number
                n_uses = sum(i == step.inputs[0] for other in self.plan for i in other.inputs)
                before = self.layers[given]
                is_in_place = n_uses == 1 and (
                    isinstance(before, Linear)
                    or (isinstance(before, Activation) and not before.needs_y)
                )
                return Dropout(
                    lambda shape: self.masks.draw(number, shape), is_in_place=is_in_place
                )
            case "add":
                return Add()
            case "squeeze":
                return Squeeze()
            case "expand":
                name = f"model.{self.plan[step.inputs[0].number].name}"
                return Expand(self.views[name], self.gradient_views[name])
        return None

    def _compare(self, modules: Sequence[ScoreModule], rows: Batch) -> None:
        """A plan that reads a model wrongly is found here, before anything is trained."""
        x_num, x_cat, _ = (tensor[:_N_TRIED] for tensor in rows)
        with torch.no_grad():
            stacked = self.forward(self.read_rows(x_num, x_cat).expand(len(self), -1, -1))
            for module, y in ((modules[0], stacked[0]), (modules[-1], stacked[-1])):
                was_training = module.training
                own = module.eval().model(x_num, x_cat)
                module.train(was_training)
                if own.shape != y.shape or not torch.allclose(
                    own, y, rtol=_TOLERANCE, atol=_TOLERANCE
                ):
                    raise NotStackableError(
                        "its stacked forward pass gives other numbers than its own"
                    )


def row_losses(loss: Loss, y: Tensor, z: Tensor, log_variance: Tensor | None) -> Tensor:
    """(K, B), (K, B) -> (K, B); `log_variance` (K,) is learnt beside the models by gaussian_nll."""
    match loss.name:
        case "mse":
            return (y - z).square()
        case "huber":
            return functional.huber_loss(y, z, delta=loss.delta, reduction="none")
        case "gaussian_nll":
            spread = torch.zeros(len(y)) if log_variance is None else log_variance
            return 0.5 * (spread.unsqueeze(1) + (y - z).square() / spread.exp().unsqueeze(1))
        case "quantile":
            return torch.maximum(loss.quantile * (z - y), (loss.quantile - 1) * (z - y))


def _rate(module: ScoreModule, step: Step) -> float:
    dropout = module.model.get_submodule(step.name)
    return dropout.p if isinstance(dropout, nn.Dropout) else 0.0
