"""K models of one architecture as batched matrices."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from studperf.data.batches import Batch
from studperf.train.network.losses import compute_loss
from studperf.train.network.module import ScoreModule
from studperf.train.stack.dropout import Masks
from studperf.train.stack.layers import Activation, Add, Dropout, Expand, Layer, Linear, Squeeze
from studperf.train.stack.optimizer import Update
from studperf.train.stack.parameters import Layout, shapes_of
from studperf.train.stack.trace import NotStackableError, Ref, Step, read_plan

# Rows on which the stacked forward pass is compared with the models' own.
_N_TRIED = 4
_TOLERANCE = 1e-4
# As in torch.nn.utils.clip_grad_norm_.
_CLIP_EPS = 1e-6
_LOG_VARIANCE = "criterion.log_variance"

# Steps without a gradient, which models use to ask for the number of rows. The members' dimension
# is not the model's own.
_PLAIN: dict[str, Callable[..., Any]] = {
    "shape": lambda x, _: x.shape[1:],
    "item": operator.getitem,
    "result": lambda y: y,
}


class Stack:
    """K models, and all that their training needs.

    Args:
        modules: of one architecture, each with its own initial weights; dropout rates may differ.
        rows: a few, on which the stack's forward pass is compared with the models' own.

    Raises:
        NotStackableError: the model has a step that can't be stacked.
    """

    def __init__(self, modules: Sequence[ScoreModule], rows: Batch) -> None:
        self.plan = read_plan(modules[0].model)
        self.inputs: list[nn.Module] = []
        self.rates: list[list[float]] = []
        for step in self.plan:
            if step.kind == "input" and step.module is not None:
                self.inputs.append(step.module)
            elif step.kind == "dropout":
                self.rates.append([_rate(module, step) for module in modules])
        self.seeds = [module.config.seed for module in modules]
        self.loss = modules[0].config.loss
        self.layout = Layout(shapes_of(modules[0]), len(modules))
        self.values = self.layout.read(modules)
        self.update = Update([module.config.optimizer for module in modules], self.layout)
        self._bind()
        self._compare(modules, rows)

    def __len__(self) -> int:
        """Return the number of members."""
        return self.layout.n_members

    def read_rows(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Return the rows as the models' `FlatInput` makes them, (N, F + levels).

        A model without one looks at their number alone.
        """
        if not self.inputs:
            return x_num
        with torch.no_grad():
            x: Tensor = self.inputs[0](x_num, x_cat)
        return x

    def keep(self, members: Sequence[int]) -> None:
        """Go on with these members alone: a stopped one costs nothing any more."""
        index = torch.tensor(members)
        self.seeds = [self.seeds[k] for k in members]
        self.rates = [[layer[k] for k in members] for layer in self.rates]
        self.update.keep(self.layout, index)
        self.values = self.layout.keep(self.values, index)
        self.layout = Layout(self.layout.shapes, len(members))
        self._bind()

    def start_epoch(self, epoch: int) -> None:
        """Start an epoch's dropout, which follows from (seed, epoch) alone."""
        self.masks = Masks(self.seeds, self.rates, epoch)

    @torch.no_grad()
    def train_step(self, x: Tensor, z: Tensor, factor: float, clip: float | None) -> Tensor:
        """Train each member for one step, on its own batch.

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
        """Return the standardised predictions (K, B) for rows (K, B, F), valid until the next pass.

        Rows hold numbers beside one-hot categories.
        """
        results: list[Any] = []
        for step, layer in zip(self.plan, self.layers, strict=True):
            inputs = [results[i.number] if isinstance(i, Ref) else i for i in step.inputs]
            if layer is not None:
                results.append(layer.forward(*inputs, is_training=is_training))
            elif step.kind in _PLAIN:
                results.append(_PLAIN[step.kind](*inputs))
            else:  # the rows, or the input made of them
                results.append(x)
        y: Tensor = results[-1]
        return y

    def losses(self, y: Tensor, z: Tensor) -> Tensor:
        """Return each member's loss (K,) for predictions and targets (K, B)."""
        return self._losses(y, z, self.views.get(_LOG_VARIANCE))

    def _losses(self, y: Tensor, z: Tensor, log_variance: Tensor | None) -> Tensor:
        """Return each member's loss (K,), given the variances (K,) that some losses learn."""
        if log_variance is not None:
            log_variance = log_variance.unsqueeze(1)
        return compute_loss(self.loss, y, z, log_variance, reduction="none").mean(1)

    def _loss_gradient(self, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses (K,) and the gradient (K, B) of their sum.

        By a member's values it is the gradient of that member's own loss.
        """
        # Autograd takes a twentieth of a step at batch 32.
        if self.loss.name == "mse":
            error = y - z
            losses = error.square().mean(1)
            return losses, error.mul_(2 / error.shape[1])

        y = y.detach().requires_grad_()
        leaves = [y]
        log_variance = self.views.get(_LOG_VARIANCE)
        if log_variance is not None:
            log_variance = log_variance.detach().requires_grad_()
            leaves.append(log_variance)
        with torch.enable_grad():
            losses = self._losses(y, z, log_variance)
            found = torch.autograd.grad(losses.sum(), leaves)
        if log_variance is not None:
            self.gradient_views[_LOG_VARIANCE].copy_(found[1])
        return losses.detach(), found[0]

    def _backward(self, gradient: Tensor) -> None:
        """Go back along the plan, and write all parameters' gradients.

        A value that is used twice gets the sum of both gradients.
        """
        gradients: dict[int, Tensor] = {len(self.plan) - 1: gradient}
        for number in range(len(self.plan) - 1, -1, -1):
            step = self.plan[number]
            layer = self.layers[number]
            known = gradients.pop(number, None)
            if known is None or step.kind in ("rows", "input", "parameter"):
                continue
            by_inputs: Sequence[Tensor | None] = (known,)
            if layer is not None:
                by_inputs = layer.backward(known)
            # A layer gives no gradients for inputs at the end that are sizes.
            for given, found in zip(step.inputs, by_inputs, strict=False):
                if not isinstance(given, Ref) or found is None:
                    continue
                if given.number in gradients:
                    found = gradients[given.number] + found  # noqa: PLW2901 - the sum of both
                gradients[given.number] = found

    def _clip(self, clip: float) -> None:
        """Shorten each member's gradient to the norm that is allowed."""
        views = self.gradient_views.values()
        squares = []
        for view in views:
            by_member = view.reshape(len(self), -1)
            squares.append(by_member.square().sum(1))
        norms = torch.stack(squares).sum(0).sqrt()
        factors = (clip / (norms + _CLIP_EPS)).clamp(max=1.0)
        for view in self.gradient_views.values():
            view.mul_(factors.view(-1, *[1] * (view.ndim - 1)))

    def _bind(self) -> None:
        """Build the layers on the vector as it lies now."""
        self.gradients = torch.zeros_like(self.values)
        self.views = self.layout.split(self.values)
        self.gradient_views = self.layout.split(self.gradients)
        self.start_epoch(0)
        n_dropouts = iter(range(len(self.rates)))
        self.layers: list[Layer | None] = []
        for step in self.plan:
            self.layers.append(self._build_layer(step, n_dropouts))

    def _build_layer(self, step: Step, n_dropouts: Iterator[int]) -> Layer | None:
        """Build a step's layer; None for a step without a gradient."""
        match step.kind:
            case "linear":
                weight = f"model.{step.name}.weight"
                bias = f"model.{step.name}.bias"
                gradients = (self.gradient_views[weight], self.gradient_views.get(bias))
                is_first = self.plan[step.inputs[0].number].kind == "input"
                return Linear(
                    self.views[weight], self.views.get(bias), gradients, is_first=is_first
                )
            case "activation" if step.module is not None:
                return Activation(step.module)
            case "dropout":
                number = next(n_dropouts)
                return Dropout(
                    lambda shape: self.masks.draw(number, shape),
                    is_in_place=self._may_overwrite(step.inputs[0]),
                )
            case "add":
                return Add()
            case "squeeze":
                return Squeeze()
            case "expand":
                name = f"model.{self.plan[step.inputs[0].number].name}"
                return Expand(self.views[name], self.gradient_views[name])
        return None

    def _may_overwrite(self, value: Ref) -> bool:
        """Return True if a step's result may be overwritten by the one step that uses it."""
        n_uses = 0
        for step in self.plan:
            n_uses += step.inputs.count(value)
        if n_uses != 1:
            return False
        layer = self.layers[value.number]
        if isinstance(layer, Activation):
            return not layer.needs_y
        return isinstance(layer, Linear)

    def _compare(self, modules: Sequence[ScoreModule], rows: Batch) -> None:
        """Compare the stacked forward pass with the first and the last model's own.

        So a plan that reads a model wrongly is found before anything is trained.
        """
        x_num, x_cat, _ = (tensor[:_N_TRIED] for tensor in rows)
        with torch.no_grad():
            x = self.read_rows(x_num, x_cat)
            stacked = self.forward(x.expand(len(self), -1, -1))
            for k in (0, -1):
                module = modules[k]
                y = stacked[k]
                was_training = module.training
                own = module.eval().model(x_num, x_cat)
                module.train(was_training)
                is_equal = own.shape == y.shape
                if is_equal:
                    is_equal = torch.allclose(own, y, rtol=_TOLERANCE, atol=_TOLERANCE)
                if not is_equal:
                    raise NotStackableError(
                        "its stacked forward pass gives other numbers than its own"
                    )


def _rate(module: ScoreModule, step: Step) -> float:
    """Return the rate of a member's dropout layer."""
    dropout = module.model.get_submodule(step.name)
    return dropout.p if isinstance(dropout, nn.Dropout) else 0.0
