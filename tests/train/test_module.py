"""The optimizer's step without torch's own surroundings."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from studperf.train.module import lean_step

OPTIMIZERS: dict[str, Any] = {
    "adamw": lambda net: torch.optim.AdamW(groups_of(net), lr=0.01, fused=True),
    "adam": lambda net: torch.optim.Adam(groups_of(net), lr=0.01, fused=True),
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9),
}


def groups_of(net: nn.Module) -> list[dict[str, Any]]:
    matrices = [p for p in net.parameters() if p.ndim > 1]
    return [
        {"params": matrices, "weight_decay": 0.1},
        {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]


def train(
    net: nn.Module, optimizer: torch.optim.Optimizer, *, is_lean: bool, n_steps: int = 20
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_steps):
        take_step = lean_step(optimizer) if is_lean else optimizer.step
        optimizer.zero_grad()
        net(torch.randn(7, 3, generator=generator)).square().mean().backward()
        take_step()
    return [p.detach().clone() for p in net.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lean_step_gives_the_bits_and_the_state_of_the_whole_one(name: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 1))
    other = copy.deepcopy(net)
    first, second = OPTIMIZERS[name](net), OPTIMIZERS[name](other)
    assert all(
        map(torch.equal, train(net, first, is_lean=True), train(other, second, is_lean=False))
    )
    for mine, theirs in zip(first.state.values(), second.state.values(), strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in mine if mine[key] is not None)


def test_the_step_is_lean_once_it_has_begun() -> None:
    net = nn.Linear(3, 1)
    optimizer = OPTIMIZERS["adamw"](net)
    assert lean_step(optimizer) == optimizer.step
    train(net, optimizer, is_lean=False, n_steps=1)
    assert lean_step(optimizer) != optimizer.step


def test_a_group_without_parameters_is_passed_over() -> None:
    net = nn.Linear(3, 1, bias=False)
    optimizer = OPTIMIZERS["adamw"](net)
    assert not optimizer.param_groups[1]["params"]
    before = net.weight.detach().clone()
    train(net, optimizer, is_lean=True, n_steps=3)
    assert not torch.equal(net.weight, before)


def test_hooks_are_heeded() -> None:
    net = nn.Linear(3, 1)
    optimizer = OPTIMIZERS["adamw"](net)
    train(net, optimizer, is_lean=False, n_steps=1)
    optimizer.register_step_post_hook(lambda *_: None)
    assert lean_step(optimizer) == optimizer.step


def test_a_parameter_out_of_reach_stays_as_it_is() -> None:
    net = nn.ModuleDict({"used": nn.Linear(3, 1), "idle": nn.Linear(3, 1)})
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, fused=True)
    net["used"](net["idle"](torch.ones(2, 3)).expand(2, 3)).sum().backward()
    optimizer.step()
    before = net["idle"].weight.detach().clone()
    take_step = lean_step(optimizer)
    optimizer.zero_grad()
    net["used"](torch.ones(2, 3)).sum().backward()
    take_step()
    assert torch.equal(net["idle"].weight, before)
