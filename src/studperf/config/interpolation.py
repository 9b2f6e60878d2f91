"""References (`${...}`) in the configuration: where they may stand, and what they stand for.

OmegaConf gives `${...}` a meaning in every string, so that a level or a name that reads
`${oc.env:SOME_KEY}` would be replaced by the value of that variable, and the value recorded. Texts
from a table are escaped where they are written, and refused where they come unescaped; an
environment variable is read for the few keys whose YAML says so, and for no other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from studperf.config.faults import Fault
from studperf.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig, Node

# A value's place: keys and places in lists, from the root.
Path = tuple[str | int, ...]
# OmegaConf's mark for a value that is still to be given. It knows no way to escape it.
MISSING = "???"
# Keys of a run that may name an environment variable.
_FROM_ENVIRONMENT = ("cloud.project", "cloud.bucket")
STORAGE = "hydra.sweeper.storage"
# What is shown in the place of a secret.
HIDDEN = "***"
# Keys that only a root of ours has; `_dummy_` is the key that an entry of a defaults list gets
# while Hydra resolves it.
_OF_OUR_ROOT = ("hydra", "cloud", "data", "_dummy_")
# Resolvers of the time and of a run's number; outside of `data` they may stand anywhere.
_HARMLESS = ("now", "hydra")
_VARIABLE = re.compile(r"\$\{\s*oc\.env\s*:\s*(\w+)\s*(?:,\s*([^${}]*?)\s*)?\}")
_OPENING = re.compile(r"(\\*)\$\{")
_OPEN = "${"
_SHOWN = 60


def escape(value: Any) -> Any:  # noqa: ANN401 - whatever YAML can hold
    """Return plain values written so that OmegaConf reads back exactly these.

    Keys need no escaping.
    """
    if isinstance(value, dict):
        return {key: escape(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [escape(inner) for inner in value]
    return escape_text(value) if isinstance(value, str) else value


def escape_text(text: str) -> str:
    r"""Return a text in which `${` has no meaning: `\${`, and each backslash before it twice."""
    return _OPENING.sub(lambda found: f"{found[1]}{found[1]}\\{_OPEN}", text)


def is_table_text(path: Path) -> bool:
    """Return True if a text at this place of the configuration comes from a table.

    No reference may stand there.
    """
    match path:
        case ("data", "columns", _, "levels", _):
            return True
        case ("data", "columns", _, "cut", "labels", _):
            return True
        case ("data", "columns", _, "why" | "unit" | "fill"):
            return True
        case ("data", "target", "column" | "unit"):
            return True
        case ("data", "features" | "allow_leaks", _) | ("data", "source", "missing", _):
            return True
    return False


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 - any YAML
    """Yield each value that is neither a mapping nor a list, with its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from walk(inner, (*path, i))
    else:
        yield path, value


def name_of(path: Path) -> str:
    """Return a place as a message names it, such as `data.columns.tool.levels[2]`."""
    name = ""
    for part in path:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += f".{part}" if name else part
    return name


def to_raw(cfg: DictConfig | dict[str, Any]) -> dict[str, Any]:
    """Return a configuration as plain values in which no reference was followed.

    Raises:
        ConfigError: it is a list.
    """
    from omegaconf import OmegaConf

    plain: Any = cfg
    if not isinstance(cfg, dict):
        plain = OmegaConf.to_container(cfg, resolve=False)
    if not isinstance(plain, dict):
        raise ConfigError("The configuration was refused: its root must be a mapping")
    return {str(key): value for key, value in plain.items()}


def typed_words(hydra: Any) -> list[str]:  # noqa: ANN401 - a HydraConf, or the same as a DictConfig
    """Return the words of the command line as typed, without following their references."""
    from omegaconf import OmegaConf

    # Going through the list itself would follow them, and a reference may stand for a secret.
    words = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return [str(word) for word in words or ()]


def find_references(raw: dict[str, Any]) -> list[Fault]:
    """Return a fault for each forbidden reference and for each value that is still missing.

    Args:
        raw: plain values in which no reference was followed.
    """
    faults = []
    for path, text in walk(raw):
        if not isinstance(text, str):
            continue
        if text == MISSING and not is_table_text(path):
            faults.append(Fault(name_of(path), f"has no value yet; set it: {name_of(path)}=..."))
        elif _OPEN in text and (what := _why_refused(path, text)):
            faults.append(Fault(name_of(path), what))
    return faults


def resolve(raw: dict[str, Any]) -> dict[str, Any]:
    """Return plain values with every reference followed.

    `find_references` must have found no fault. A variable's value is put in last, so that no other
    key can refer to it.

    Raises:
        OmegaConfBaseException: a reference leads nowhere.
    """
    from omegaconf import OmegaConf

    values: dict[str, str | None] = {}
    for key in _FROM_ENVIRONMENT:
        block, name = key.split(".")
        given = raw.get(block)
        text = given.get(name) if isinstance(given, dict) else None
        if isinstance(text, str) and (found := _VARIABLE.fullmatch(text)):
            values[key] = _read_variable(found)
    with_nulls = dict(raw)
    for key in values:
        block, name = key.split(".")
        with_nulls[block] = {**with_nulls[block], name: None}
    plain: Any = OmegaConf.to_container(OmegaConf.create(with_nulls), resolve=True)
    for key, value in values.items():
        block, name = key.split(".")
        plain[block][name] = value
    return {str(key): value for key, value in plain.items()}


def resolve_sweeper(sweeper: DictConfig) -> dict[str, Any]:
    """Return the settings of `hydra.sweeper` as plain values, every reference followed.

    The storage's address is read here alone: another key that refers to it, or `--cfg all
    --resolve`, gets three stars.

    Raises:
        OmegaConfBaseException: a reference leads nowhere.
    """
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(sweeper, resolve=True)
    if not isinstance(plain, dict):
        return {}
    text = to_raw(sweeper).get("storage")
    if isinstance(text, str) and (found := _VARIABLE.fullmatch(text)):
        plain["storage"] = _read_variable(found)
    return {str(key): value for key, value in plain.items()}


def guard_environment() -> None:
    """Make `${oc.env:...}` answer only for the keys that may name a variable.

    Hydra resolves some references without asking us. In any other configuration of the process,
    such as one that a user's own model reads, `${oc.env:...}` stays as it was.
    """
    from omegaconf import OmegaConf
    from omegaconf.resolvers.oc import env

    def environment(
        variable: str,
        *default: str | None,
        _node_: Node,
        _root_: DictConfig,
    ) -> str | None:
        # OmegaConf has no public way to ask a node for its key.
        key = _node_._get_full_key(None)  # noqa: SLF001 - see above
        is_ours = any(name in _root_ for name in _OF_OUR_ROOT)
        if is_ours and key not in (*_FROM_ENVIRONMENT, STORAGE):
            raise ValueError(_no_variable(variable))
        value: str | None = env(variable, *default)
        # The address of a database holds its password: see `resolve_sweeper`.
        if is_ours and key == STORAGE and value:
            return HIDDEN
        return value

    OmegaConf.register_new_resolver("oc.env", environment, replace=True)


def _why_refused(path: Path, text: str) -> str | None:
    """Return why a text with `${` may not stand at a place, or None if it may."""
    shown = f"{text[:_SHOWN]}..." if len(text) > _SHOWN else text
    references = _references_in(text)
    if references is None:
        return f"{shown!r} can't be read as a reference; if it is meant as text, write \\${{"
    if not references:
        return None
    if is_table_text(path):
        return (
            f"{shown!r} is text, and would be read as a reference to something else; "
            f"write {escape_text(shown)!r} if the table says so"
        )
    if name_of(path) in _FROM_ENVIRONMENT and _VARIABLE.fullmatch(text):
        return None
    harmless = () if path[0] == "data" else _HARMLESS
    for resolver, _ in references:
        if resolver == "oc.env":
            return _no_variable(shown)
        if resolver is not None and resolver not in harmless:
            return (
                f"{shown!r} asks for {resolver or 'a'}:, which no key may; write the value itself"
            )
    return None


def _no_variable(what: str) -> str:
    allowed = ", ".join((*_FROM_ENVIRONMENT, STORAGE))
    return (
        f"{what}: an environment variable can be named in {allowed} alone, "
        "as what stands here is written down; "
        "let the shell fill it in if it is no secret: key=$VARIABLE"
    )


def _read_variable(found: re.Match[str]) -> str | None:
    variable, default = found[1], found[2]
    if default == "null":
        default = None
    return os.environ.get(variable, default)


def _references_in(text: str) -> list[tuple[str | None, str]] | None:
    """Return the references of a text, or None if it can't be parsed.

    Each is its resolver (None for a reference to another key) and its text.
    """
    from omegaconf.errors import GrammarParseError
    from omegaconf.grammar_parser import parse

    try:
        waiting: list[Any] = [parse(text)]
    except GrammarParseError:
        return None
    found: list[tuple[str | None, str]] = []
    while waiting:
        context = waiting.pop()
        kind = type(context).__name__
        if kind == "InterpolationNodeContext":
            found.append((None, context.getText()))
        elif kind == "InterpolationResolverContext":
            found.append((context.resolverName().getText(), context.getText()))
        waiting += list(getattr(context, "children", None) or [])
    return found
