from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kit.models import NETWORKS
from studperf.config.load import load_overrides
from studperf.data.encode import FeatureSpec
from studperf.models.flat import FlatInput
from studperf.train.network.module import ScoreModule, build_model
from studperf.train.stack.stack import Stack
from studperf.train.stack.trace import NotStackableError, read_plan

FEATURES = FeatureSpec(n_numbers=3, cardinalities=(2, 4))
STACKABLE = {"mean", "linear", "mlp"}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_known_which_models_can_be_stacked(name: str) -> None:
    model = build_model(load_overrides([f"model={name}"]).model, FEATURES)
    if name in STACKABLE:
        assert read_plan(model)[-1].kind == "result"
    else:
        with pytest.raises(NotStackableError):
            read_plan(model)


class Own(nn.Module):
    """As somebody would write it: one activation for both layers, an activation that we have no kernel for, a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.input = FlatInput(FEATURES)
        self.first = nn.Linear(self.input.d_out, 5)
        self.second = nn.Linear(5, 5)
        self.act = nn.Tanh()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, 1)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        h = self.act(self.first(self.input(x_num, x_cat)))
        h = h + self.drop(self.act(self.second(h)))
        y: Tensor = self.head(h)
        return y.squeeze(1)


def stack_of(make: Callable[[], nn.Module], n_members: int = 3) -> tuple[list[ScoreModule], Stack]:
    modules = []
    base = load_overrides(["optimizer.name=sgd"])
    for seed in range(n_members):
        torch.manual_seed(seed)
        config = base.model_copy(update={"seed": seed})
        modules.append(ScoreModule(make(), config, target_mean=2.0, target_std=3.0))
    return modules, Stack(modules, rows())


def rows(n: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_cat = torch.stack(
        [torch.randint(0, levels, (n,), generator=generator) for levels in FEATURES.cardinalities],
        dim=1,
    )
    return (
        torch.randn(n, FEATURES.n_numbers, generator=generator),
        x_cat,
        torch.randn(n, generator=generator),
    )


def test_a_model_of_ones_own_is_stacked_by_its_structure() -> None:
    """Its gradients, dropout and a value that is used twice included, are those of autograd."""
    modules, stack = stack_of(Own)
    x_num, x_cat, target = rows()
    z = (target - 2.0) / 3.0
    stack.start_epoch(1)
    x = stack.read_rows(x_num, x_cat)
    losses = stack.train_step(x.expand(3, *x.shape), z.expand(3, -1), 0.0, None)
    for k, module in enumerate(modules):
        from studperf.data.batches import epoch_seed

        torch.manual_seed(epoch_seed(k, 1))
        loss = module.loss(module.model(x_num, x_cat), target)
        loss.backward()
        assert losses[k] == pytest.approx(loss.item(), rel=1e-6)
        for name, parameter in module.named_parameters():
            decayed = (
                parameter.grad + 0.01 * parameter.detach() if parameter.ndim > 1 else parameter.grad
            )
            torch.testing.assert_close(
                stack.gradient_views[name][k].t(), decayed, rtol=1e-5, atol=1e-6
            )


class Unused(Own):
    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Linear(2, 2)


class Tied(Own):
    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(5, 5)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        h = self.second(self.second(self.first(self.input(x_num, x_cat))))
        y: Tensor = self.head(h)
        return y.squeeze(1)


class Noisy(nn.Dropout):
    """A subclass, which may do anything."""


class Subclassed(Own):
    def __init__(self) -> None:
        super().__init__()
        self.drop = Noisy(0.5)


class Functional(Own):
    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        y: Tensor = self.head(torch.relu(self.first(self.input(x_num, x_cat))))
        return y.squeeze(1)


class Branching(Own):
    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        y: Tensor = self.head(self.first(self.input(x_num, x_cat)))
        return y.squeeze(1) if x_num.sum() > 0 else -y.squeeze(1)


REFUSED = {
    "a parameter that is not used": (Unused, "extra.weight"),
    "a layer that is used twice": (Tied, "not used exactly once"),
    "a layer that is ours only by inheritance": (Subclassed, "dropout"),
    "a function that is not known": (Functional, "relu"),
    "a path that depends on the rows": (Branching, "can't be followed"),
}


@pytest.mark.parametrize(("make", "what"), REFUSED.values(), ids=REFUSED.keys())
def test_what_can_not_be_stacked_is_refused_by_name(
    make: Callable[[], nn.Module], what: str
) -> None:
    with pytest.raises(NotStackableError, match=what):
        stack_of(make)


def test_a_forward_pass_that_is_read_wrongly_is_found_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from studperf.train.stack.layers import Add

    monkeypatch.setattr(Add, "forward", lambda self, *inputs, is_training: inputs[0] - inputs[1])
    with pytest.raises(NotStackableError, match="other numbers than its own"):
        stack_of(Own)


def test_models_of_different_sizes_are_refused() -> None:
    sizes = iter((4, 5))

    def make() -> nn.Module:
        node = {
            "_target_": "studperf.models.mlp.MLP",
            "d_hidden": [next(sizes)],
            "dropout": 0.0,
            "activation": "relu",
            "linear_skip": True,
        }
        return build_model(node, FEATURES)

    with pytest.raises(NotStackableError, match="differ in names or shapes"):
        stack_of(make, n_members=2)
