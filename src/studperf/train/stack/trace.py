"""The steps of a model's forward pass, for models that can be stacked.

Those are models that `torch.fx` can follow, step by step, through steps known here.
"""

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
    """Raised for a model with a step that can't be stacked; the message names it."""


@dataclass(frozen=True)
class Step:
    """One step of a forward pass.

    Args:
        kind: what is done.
        inputs: the earlier steps that it works on, by number, or a plain number.
        name: path in the model of the module or parameter that it needs; empty if none.
        module: the first member's module: an activation, or a layer to read sizes from.
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
    """A tracer that takes `FlatInput` for one step."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, FlatInput) or super().is_leaf_module(m, module_qualified_name)


def read_plan(model: nn.Module) -> list[Step]:
    """Return the model's forward pass as steps, of which the last one is the result.

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
        arguments: list[Any] = []
        for argument in node.args:
            if isinstance(argument, fx.Node):
                arguments.append(Ref(numbers[argument]))
            else:
                arguments.append(argument)
        steps.append(_read_step(node, tuple(arguments), model))
        numbers[node] = len(steps) - 1
    _check_all_used(steps, model)
    return steps


def _read_step(node: fx.Node, arguments: tuple[Any, ...], model: nn.Module) -> Step:
    """Return a node of the graph as a step."""
    target = str(node.target)
    if node.op == "call_module":
        module = model.get_submodule(target)
        kind = _kind_of(module)
        if not kind:
            raise NotStackableError(f"{target} is a {type(module).__name__}")
        return Step(kind, arguments, target, module)

    # Arguments by keyword are not read, and may change what a step does.
    kind = _KINDS_OF_NODES.get(node.op, "") or _kind_of_call(node)
    if not kind or node.kwargs:
        raise NotStackableError(f"the step {node.format_node()} is not known")
    return Step(kind, arguments, target)


def _kind_of_call(node: fx.Node) -> str:
    """Return the kind of a function, or of a tensor's method; empty if it is not known."""
    if node.op == "call_function":
        is_shape = node.target is getattr and node.args[1] == "shape"
        return "shape" if is_shape else _FUNCTIONS.get(node.target, "")

    is_known = False
    if node.target == "squeeze":
        # Without a given dimension it would squeeze the members' own, where there is one member.
        is_known = len(node.args) == 2  # noqa: PLR2004 - the value and the dimension
    elif node.target == "expand":
        value = node.args[0]
        is_known = isinstance(value, fx.Node) and value.op == "get_attr"
    return str(node.target) if is_known else ""


_KINDS_OF_NODES = {"placeholder": "rows", "output": "result", "get_attr": "parameter"}
_FUNCTIONS: dict[Callable[..., Any] | str, str] = {
    operator.add: "add",
    operator.getitem: "item",
}


def _kind_of(module: nn.Module) -> str:
    """Return the kind of a module; empty if it is not known."""
    if isinstance(module, FlatInput):
        return "input"
    kinds: dict[type[nn.Module], str] = {
        nn.Linear: "linear",
        nn.Dropout: "dropout",
        **dict.fromkeys(_ACTIVATIONS, "activation"),
    }
    # Not isinstance: a subclass may do something else.
    return kinds.get(type(module), "")


def _check_all_used(steps: Sequence[Step], model: nn.Module) -> None:
    """Check that each parameter is used exactly once.

    An optimizer leaves an unused parameter as it is, while a stack would shrink it.
    """
    used = []
    for step in steps:
        if step.kind == "parameter":
            used.append(step.name)
        elif step.module is not None:
            used += [f"{step.name}.{name}" for name, _ in step.module.named_parameters()]
    names = [name for name, _ in model.named_parameters()]
    if sorted(used) == sorted(names):
        return
    faulty = sorted(set(names) ^ set(used)) or sorted(used)
    raise NotStackableError(f"a parameter is not used exactly once: {', '.join(faulty)}")
