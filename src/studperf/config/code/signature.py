"""Reading of a constructor's signature from source text, without importing its module.

A node of the configuration is checked before anything heavy is loaded: `import lightning` takes
seconds, parsing the one file that defines `Trainer` takes milliseconds.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import typing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from studperf.config import types
from studperf.config.faults import Fault, expectation, unknown_key

_VOCABULARY: dict[str, Any] = {
    **{
        name: getattr(typing, name)
        for name in ("Any", "Literal", "Optional", "Union", "List", "Dict", "Tuple")
    },
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    **{
        name: getattr(types, name)
        for name in vars(types)
        if not name.startswith("_") and name[0].isupper()
    },
}


class TargetNotFoundError(Exception):
    """Raised when a dotted path leads to no class or function."""


@dataclass(frozen=True)
class Signature:
    """Parameters of a constructor.

    An annotation that can't be read statically is None; then only the argument's name is checked.
    """

    annotations: dict[str, Any] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    is_open: bool = False
    """Takes `**kwargs`, so that unknown names can't be refused."""


def check_node(
    node: dict[str, Any], where: str, *, given: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], list[Fault]]:
    """Return a node with its arguments converted to their types, and all of its faults.

    Faults are unknown, missing and ill-typed arguments.

    Args:
        node: the `_target_` and its keyword arguments, plain values.
        where: the node's place in the configuration, for messages.
        given: parameters that our code passes, which the node may therefore not set.
    """
    target = node.get("_target_")
    if not isinstance(target, str):
        near = [
            key
            for key in difflib.get_close_matches("_target_", map(str, node), n=1)
            if key != "_target_"
        ]
        faults = [Fault(f"{where}.{key}", unknown_key(key, ["_target_"])) for key in near]
        return node, faults or [Fault(where, "names no class to build: _target_ is missing")]
    try:
        signature = read_signature(target)
    except TargetNotFoundError as error:
        return node, [Fault(f"{where}._target_", str(error))]
    settable = [name for name in signature.annotations if name not in given]

    checked = dict(node)
    faults = []
    for name, value in node.items():
        if name in given:
            faults.append(Fault(f"{where}.{name}", "is set by studperf itself; drop it"))
        elif name not in ("_target_", *signature.annotations) and not signature.is_open:
            # Only a name with an underscore can have been meant as `_target_`.
            known = ["_target_", *settable] if str(name).startswith("_") else settable
            faults.append(Fault(f"{where}.{name}", unknown_key(name, known)))
        elif (annotation := signature.annotations.get(name)) is not None:
            checked[name], found = _check_value(value, annotation, f"{where}.{name}")
            faults += found

    missing = sorted(signature.required - node.keys() - given)
    faults += [Fault(f"{where}.{name}", f"is missing: {target} needs it") for name in missing]
    return checked, faults


def _check_value(
    value: Any,  # noqa: ANN401 - any YAML
    annotation: Any,  # noqa: ANN401 - any type
    where: str,
) -> tuple[Any, list[Fault]]:
    try:
        typed = TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        parts = error.errors()
        wanted = list(dict.fromkeys(expectation(part) for part in parts))
        got = parts[0]["input"] if len(parts) == 1 else value
        return value, [Fault(where, f"must be {' or '.join(wanted)}, got {got!r}")]
    if isinstance(value, bool | str) and type(typed) is not type(value):
        # Foreign annotations are not strict: "no" would pass for False, and True for 1.
        return value, [Fault(where, f"must be a {type(typed).__name__}, got {value!r}")]
    return typed, []


@cache
def read_signature(target: str) -> Signature:
    """Return the signature of the class or function at a dotted path, without importing it.

    Raises:
        TargetNotFoundError: nothing stands there; the message names the nearest thing that does.
    """
    return _signature_of(*_locate(target))


@cache
def is_derived(target: str, base: str) -> bool:
    """Return True if the class at a dotted path has another one among its bases.

    Only bases that are written as plain names are followed.

    Raises:
        TargetNotFoundError: nothing stands there.
    """
    definition, module = _locate(target)
    if f"{module}.{definition.name}" == base:
        return True
    if isinstance(definition, ast.FunctionDef):
        return False
    for node in definition.bases:
        if not isinstance(node, ast.Name):
            continue
        try:
            parent, place = _find_in_module(module, node.id)
        except TargetNotFoundError:
            continue
        if is_derived(f"{place}.{parent.name}", base):
            return True
    return False


def _locate(target: str) -> tuple[ast.ClassDef | ast.FunctionDef, str]:
    """Return the definition at a dotted path, and the module that holds it."""
    parts = target.split(".")
    for n_module in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:n_module])
        if module_file(module) is not None:
            if n_module != len(parts) - 1:
                break
            return _find_in_module(module, parts[-1])
    raise TargetNotFoundError(
        f"there is no module {'.'.join(parts[:-1])!r}{_nearest_sibling(parts)}"
    )


def _nearest_sibling(parts: list[str]) -> str:
    parent = module_file(".".join(parts[:-2]))
    if parent is None or parent.name != "__init__.py":
        return ""
    return f"; {unknown_key(parts[-2], [path.stem for path in parent.parent.glob('[!_]*.py')])}"


def _find_in_module(module: str, name: str) -> tuple[ast.ClassDef | ast.FunctionDef, str]:
    file = module_file(module)
    if file is None:
        raise TargetNotFoundError(f"there is no module {module!r}")
    names = []
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise TargetNotFoundError(
            f"{file}, line {error.lineno}: is not valid Python: {error.msg}"
        ) from error
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            if statement.name == name:
                return statement, module
            names.append(statement.name)
        elif isinstance(statement, ast.ImportFrom):
            names += [alias.asname or alias.name for alias in statement.names]
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return _find_in_module(_absolute(statement, module, file), alias.name)
    public = [known for known in names if known[0] != "_"]
    raise TargetNotFoundError(f"{module!r} defines no {name!r}; {unknown_key(name, public)}")


def _absolute(statement: ast.ImportFrom, module: str, file: Path) -> str:
    if not statement.level:
        return statement.module or ""
    package = module.split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    base = package[: len(package) - statement.level + 1]
    if statement.module:
        base.append(statement.module)
    return ".".join(base)


@cache
def module_file(module: str) -> Path | None:
    """Return the file of a module without importing it, or None if there is none.

    Only the top-level package is looked up by Python: a dotted look-up would import it.
    """
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top) if top else None
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin in (None, "built-in", "frozen"):
        return None
    origin = Path(str(spec.origin))
    if not rest:
        return origin
    for candidate in (
        origin.parent.joinpath(*rest, "__init__.py"),
        origin.parent.joinpath(*rest).with_suffix(".py"),
    ):
        if candidate.is_file():
            return candidate
    return None


def _signature_of(definition: ast.ClassDef | ast.FunctionDef, module: str) -> Signature:
    if isinstance(definition, ast.FunctionDef):
        return _read_arguments(definition, n_bound=0)
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return _read_arguments(statement, n_bound=1)
    for base in definition.bases:
        if isinstance(base, ast.Name):
            try:
                inherited = _signature_of(*_find_in_module(module, base.id))
            except TargetNotFoundError:
                continue
            if inherited != Signature(is_open=True):  # a mixin without a constructor says nothing
                return inherited
    return Signature(is_open=True)


def _read_arguments(function: ast.FunctionDef, *, n_bound: int) -> Signature:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    n_required = len(positional) - len(arguments.defaults)
    required = {argument.arg for argument in positional[n_bound:n_required]}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is None:
            required.add(argument.arg)

    settable = [*positional[n_bound:], *arguments.kwonlyargs]
    return Signature(
        annotations={argument.arg: _read_annotation(argument.annotation) for argument in settable},
        required=frozenset(required),
        is_open=arguments.kwarg is not None,
    )


def _read_annotation(node: ast.expr | None) -> Any:  # noqa: ANN401 - a type, or None
    try:
        return None if node is None else _as_type(node)
    except (KeyError, TypeError, SyntaxError):
        return None


def _as_type(node: ast.expr) -> Any:  # noqa: ANN401, PLR0911 - a type; a case a form
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=value) if value is ...:
            return ...
        case ast.Constant(value=str(text)):
            return _as_type(ast.parse(text, mode="eval").body)
        case ast.Name(id=name):
            return _VOCABULARY[name]
        case ast.Attribute(attr=name, value=ast.Name(id="typing" | "t")):
            return _VOCABULARY[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return typing.Union[_as_type(left), _as_type(right)]  # noqa: UP007 - built from parts
        case ast.Subscript(
            value=ast.Name(id="Literal") | ast.Attribute(attr="Literal"), slice=choices
        ):
            return typing.Literal[ast.literal_eval(choices)]
        case ast.Subscript(value=value, slice=ast.Tuple(elts=parts)):
            return _as_type(value)[tuple(_as_type(part) for part in parts)]
        case ast.Subscript(value=value, slice=part):
            return _as_type(value)[_as_type(part)]
    raise KeyError(ast.dump(node))
