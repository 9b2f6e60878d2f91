"""Which models can be stacked: those whose forward pass `torch.fx` can follow, step by step, through steps known here."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.fx.proxy import TraceError

from studperf.models.flat import FlatInput

_ACTIVATIONS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.SiLU,
    nn.GELU,
    nn.Mish,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Identity,
)


class NotStackableError(Exception):
    """The model has a step that is not known here; the message names it."""


@dataclass(frozen=True)
class Step:
    """One step of a forward pass.

    Args:
        kind: what is done.
        inputs: the earlier steps it works on, by number, or a plain number.
        name: of the module or parameter it needs, by its path in the model; empty if none.
        module: of the first member: an activation, or a layer to read sizes from.
    """

    kind: str
    inputs: tuple[Any, ...] = ()
    name: str = ""
    module: nn.Module | None = None


@dataclass(frozen=True)
class Ref:
    """The result of an earlier step."""

    number: int


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, FlatInput) or super().is_leaf_module(m, module_qualified_name)


def read_plan(model: nn.Module) -> list[Step]:
    """The model's forward pass as steps; the last one is the result.

    Raises:
        NotStackableError: `torch.fx` can't follow it, or a step is not among those known here.
    """
    try:
        graph = _Tracer().trace(model)
    except (
        TraceError,
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
        NotImplementedError,
    ) as error:
        raise NotStackableError(
            f"the forward pass can't be followed: {str(error).splitlines()[0]}"
        ) from error
    steps: list[Step] = []
    numbers: dict[fx.Node, int] = {}
    for node in graph.nodes:
        arguments = tuple(Ref(numbers[a]) if isinstance(a, fx.Node) else a for a in node.args)
        steps.append(_read_step(node, arguments, model))
        numbers[node] = len(steps) - 1
    _check_all_used(steps, model)
    return steps


def _read_step(node: fx.Node, arguments: tuple[Any, ...], model: nn.Module) -> Step:
    target = str(node.target)
    if node.op == "call_module":
        module = model.get_submodule(target)
        if kind := _kind_of(module):
            return Step(kind, arguments, target, module)
        raise NotStackableError(f"{target} is a {type(module).__name__}")
    kind = {"placeholder": "rows", "output": "result", "get_attr": "parameter"}.get(
        node.op, ""
    ) or _kind_of_call(node)
    if not kind or node.kwargs:
        raise NotStackableError(f"the step {node.format_node()} is not known")
    return Step(kind, arguments, target)


def _kind_of_call(node: fx.Node) -> str:
    """Of a function or a method of a tensor."""
    if node.op == "call_function":
        is_shape = node.target is getattr and node.args[1] == "shape"
        return "shape" if is_shape else _FUNCTIONS.get(node.target, "")
    is_given_dim = node.target == "squeeze" and len(node.args) == 2  # noqa: PLR2004 - the value and the dimension
    is_of_parameter = (
        node.target == "expand"
        and isinstance(node.args[0], fx.Node)
        and node.args[0].op == "get_attr"
    )
    return str(node.target) if is_given_dim or is_of_parameter else ""


_FUNCTIONS: dict[Callable[..., Any] | str, str] = {operator.add: "add", operator.getitem: "item"}


def _kind_of(module: nn.Module) -> str:
    if isinstance(module, FlatInput):
        return "input"
    kinds: dict[type[nn.Module], str] = {
        nn.Linear: "linear",
        nn.Dropout: "dropout",
        **dict.fromkeys(_ACTIVATIONS, "activation"),
    }
    return kinds.get(type(module), "")  # a subclass may do something else


def _check_all_used(steps: Sequence[Step], model: nn.Module) -> None:
    """An optimizer leaves an unused parameter as it is, while a stack would shrink it."""
    used = [step.name for step in steps if step.kind == "parameter"]
    used += [
        f"{step.name}.{name}"
        for step in steps
        if step.module is not None
        for name, _ in step.module.named_parameters()
    ]
    names = [name for name, _ in model.named_parameters()]
    if sorted(used) != sorted(names):
        raise NotStackableError(
            f"a parameter is not used exactly once: {', '.join(sorted(set(names) ^ set(used)) or sorted(used))}"
        )
