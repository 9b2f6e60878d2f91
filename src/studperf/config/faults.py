"""Faults of a configuration: the place, what was expected, what came, the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Fault:
    """One fault of a configuration: its place and a description."""

    where: str
    what: str

    def __str__(self) -> str:
        """Return the fault as a line of a message."""
        return f"{self.where}: {self.what}"


def unknown_key(name: str, known: Iterable[str]) -> str:
    """Return a message that a name is unknown, with the nearest valid name or else all of them."""
    names = sorted(known)
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if nearest:
        return f"unknown; the nearest valid name is {nearest[0]!r}"
    if not names:
        return "unknown"
    return f"unknown; valid: {', '.join(names)}"


def explain(error: Mapping[str, Any], where: str, owner: type[BaseModel] | None = None) -> Fault:
    """Return a pydantic error as a fault.

    Args:
        error: an entry of `ValidationError.errors()`.
        where: the key that it is about.
        owner: the block that holds the key, if it is one of ours; names the nearest valid key.
    """
    kind, value = error["type"], error.get("input")
    if kind == "extra_forbidden" and owner is not None:
        key = where.rsplit(".", 1)[-1]
        return Fault(where, unknown_key(key, owner.model_fields))
    if kind == "missing":
        return Fault(where, "is missing")
    if kind == "value_error":
        return Fault(where, str(error["ctx"]["error"]))
    return Fault(where, f"must be {expectation(error)}, got {value!r}")


def expectation(error: Mapping[str, Any]) -> str:
    """Return what a pydantic error expected, as it follows "must be"."""
    match error["type"]:
        case "too_short" | "too_long":
            limits = error["ctx"]
            if "min_length" in limits:
                return f"at least {limits['min_length']} of them"
            return f"at most {limits['max_length']} of them"
        case "tuple_type" | "list_type":
            return "a list, such as [a,b]"
        case "string_too_short" | "string_too_long":
            return str(error["msg"]).removeprefix("String should have ") + " long"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "a block of keys"
        case _:
            return str(error["msg"]).removeprefix("Input should be ").removeprefix("Input should ")


def explain_all(
    errors: Sequence[Any], plain: dict[str, Any], shape: type[BaseModel]
) -> list[Fault]:
    """Return one fault for each key.

    pydantic reports a union once for each of its branches, with the branch's name at the end of the
    place.
    """
    by_key: dict[str, list[Any]] = {}
    inner = {error["loc"][:-1] for error in errors}
    for error in errors:
        # pydantic counts only what is valid: it calls a list whose every part is refused too short.
        if error["type"] == "too_short" and error["loc"] in inner:
            continue
        loc = _without_tags(error["loc"], plain)
        if error["type"] not in ("missing", "extra_forbidden"):
            loc = loc[: _depth(loc, plain)]
        key = ".".join(map(str, loc)) or "the root"
        by_key.setdefault(key, []).append(error)

    faults = []
    for where, several in by_key.items():
        if len(several) > 1 and all(error["type"] != "value_error" for error in several):
            wanted = " or ".join(dict.fromkeys(expectation(error) for error in several))
            faults.append(Fault(where, f"must be {wanted}, got {several[0]['input']!r}"))
        else:
            owner = _owner(shape, several[0]["loc"])
            faults.append(explain(several[0], where, owner))
    return faults


def _without_tags(
    loc: tuple[int | str, ...],
    plain: Any,  # noqa: ANN401 - any YAML
) -> tuple[int | str, ...]:
    """Return a place without the tags that tell the blocks of `cloud` apart.

    pydantic puts them there; they are no keys.
    """
    match loc:
        case ("cloud", tag, *rest) if rest and tag not in (plain.get("cloud") or {}):
            return ("cloud", *rest)
    return loc


def _depth(loc: tuple[int | str, ...], plain: Any) -> int:  # noqa: ANN401 - whatever YAML held
    """Return how many parts of a place lead along keys that exist."""
    for i, part in enumerate(loc):
        if (isinstance(plain, dict) and part in plain) or (
            isinstance(plain, list | tuple) and isinstance(part, int) and part < len(plain)
        ):
            plain = plain[part]  # type: ignore[index]  # checked above
        else:
            return i
    return len(loc)


def _owner(shape: type[Any], loc: tuple[int | str, ...]) -> type[Any] | None:
    """Return the block that holds a fault's key, or None if it is none of ours.

    It is found by walking the shape along the key.
    """
    owner = shape
    for part in loc[:-1]:
        fields = getattr(owner, "model_fields", {})
        if part in fields:
            owner = fields[part].annotation
        elif getattr(owner, "__origin__", None) is dict:
            owner = owner.__args__[1]
        for option in getattr(owner, "__args__", ()):  # Block | None
            if hasattr(option, "model_fields") and getattr(owner, "__origin__", None) is not dict:
                owner = option
    return owner if hasattr(owner, "model_fields") else None
