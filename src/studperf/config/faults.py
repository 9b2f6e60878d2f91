"""Faults of a configuration: the place, what was expected, what came, the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
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
