"""The reading of a space from Hydra's sweep grammar, in sweep files and on command lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from studperf.config.faults import Fault, unknown_key
from studperf.config.line.word import why_no_range, why_refused
from studperf.sweeps.space.domain import Choice, Domain, Numbers, Word, hydra_parser, read, write
from studperf.sweeps.space.space import Dimension, Held, Space

if TYPE_CHECKING:
    from studperf.config.study import Conditional
    from studperf.config.study import Domain as Given

Entry = Domain | Word | None
"""The domain or the fixed word of a key; None where its text has a fault."""


@dataclass
class Reading:
    """A space, and the faults that were found while it was read."""

    space: Space
    faults: list[Fault] = field(default_factory=list)


def read_space(
    words: Sequence[str], params: Mapping[str, Given], conditional: Sequence[Conditional]
) -> Reading:
    """Return the space of a sweep file and a command line, which takes precedence.

    Args:
        words: of the command line: `key=value` fixes a key, a sweep varies it.
        params: key -> grammar or plain value, as in a sweep file.
        conditional: blocks of keys that are varied only where `when` holds.
    """
    faults: list[Fault] = []
    by_key: dict[str, Entry] = {}
    # The + of Hydra's +key=value is no part of the key.
    for written, value in params.items():
        key = written.lstrip("+")
        by_key[key] = _read_entry(key, _text(value), f"params.{written}", faults)

    given = {}
    for word in words:
        key, _, text = word.partition("=")
        key = key.lstrip("+")
        given[key] = _read_entry(key, text, key, faults)

    children, held = _read_conditional(conditional, by_key | given, given, faults)
    keys_of_children = {d.key for d in children} | {word.key for word, _ in held}
    # A word for a key that only some branches have holds in those branches; elsewhere there is no
    # such key.
    by_key |= {key: value for key, value in given.items() if key not in keys_of_children}
    dimensions = [
        Dimension(key, domain)
        for key, domain in by_key.items()
        if isinstance(domain, Choice | Numbers)
    ]
    fixed = [word for word in by_key.values() if isinstance(word, Word)]
    space = Space((*dimensions, *children), tuple(fixed), tuple(held))
    return Reading(space, faults)


def _read_conditional(
    conditional: Sequence[Conditional],
    known: Mapping[str, Entry],
    given: Mapping[str, Entry],
    faults: list[Fault],
) -> tuple[list[Dimension], list[Held]]:
    """Return the conditional keys that are varied, and those that a word holds."""
    children: list[Dimension] = []
    held: list[Held] = []
    for i, block in enumerate(conditional):
        when = tuple((key, write(value)) for key, value in block.when.items())
        if _is_narrowed_away(when, given):
            continue

        for key, text in when:
            fault = _check_parent(f"conditional.{i}.when.{key}", key, text, known)
            if fault is not None:
                faults.append(fault)

        for key, value in block.params.items():
            domain = given.get(key)
            if domain is None:
                domain = _read_entry(key, _text(value), f"conditional.{i}.params.{key}", faults)
            if isinstance(domain, Word):
                held.append((domain, when))
            elif domain is not None:
                children.append(Dimension(key, domain, when))
    return children, held


def _is_narrowed_away(when: Iterable[tuple[str, str]], given: Mapping[str, Entry]) -> bool:
    """Return True if the command line leaves out a value that a condition asks for."""
    for key, value in when:
        parent = given.get(key)
        if isinstance(parent, Choice) and value not in parent.texts:
            return True
    return False


def _check_parent(where: str, key: str, value: str, known: Mapping[str, Entry]) -> Fault | None:
    """Return the fault of a condition; None if its key can have the value."""
    parent = known.get(key)
    if key not in known:
        return Fault(where, f"{key} is neither varied nor fixed; {unknown_key(key, known)}")
    if isinstance(parent, Numbers):
        return Fault(where, f"a condition needs a choice, and {key} is {parent}")
    if isinstance(parent, Choice) and value not in parent.texts:
        return Fault(where, f"{key} is never {value!r}; {unknown_key(value, parent.texts)}")
    return None


def _read_entry(key: str, text: str, where: str, faults: list[Fault]) -> Entry:
    """Return the domain or the fixed word that a text stands for; a fault is noted, as None."""
    try:
        override = hydra_parser().parse_override(f"{key}={text}")
        return _domain(override) or Word(key, text)
    except (HydraException, ValueError) as error:
        faults.append(Fault(where, why_refused(text, error)))
        return None


def _check_sweep(override: Override, value: Any) -> None:  # noqa: ANN401 - one of Hydra's sweeps
    """Check that a sweep is one that a study can draw from.

    Raises:
        ValueError: it is a glob, a range that is refused, or has a tag other than log.
    """
    if isinstance(value, Glob):
        wrong = "glob(...) is for the command line; list the options: choice(a,b)"
        raise ValueError(wrong)  # noqa: TRY004 - a fault of the text as any other
    if override.is_range_sweep():
        reason = why_no_range(override)
        if reason:
            raise ValueError(reason)
    others = sorted(value.tags - {"log"})
    if others:
        raise ValueError(f"tag {others[0]}: {unknown_key(others[0], ['log'])}")


def _domain(override: Override) -> Domain | None:
    """Return the domain that an override sweeps over; None where it fixes one value."""
    if not override.is_sweep_override():
        return None
    value: Any = override.value()
    _check_sweep(override, value)

    is_log = "log" in value.tags
    if override.is_interval_sweep():
        # interval(1,100) holds floats in Hydra's grammar; int(interval(1,100)) holds integers.
        is_int = isinstance(value.start, int) and isinstance(value.end, int)
        return _numbers(value.start, value.end, is_int=is_int, is_log=is_log)

    # Only this iterator gives texts that Hydra reads back as the same values.
    texts = tuple(map(_as_yaml, override.sweep_string_iterator()))
    if not texts:
        raise ValueError("the range is empty")
    if override.is_range_sweep() and len(texts) > 1:
        values = [read(text) for text in texts]
        low, high = min(values), max(values)
        is_int = all(isinstance(v, int) for v in values)
        if is_log:
            return _numbers(low, high, is_int=is_int, is_log=True)
        return Numbers(low, high, step=abs(value.step), is_int=is_int)
    if len(set(texts)) < len(texts):
        raise ValueError("a value stands there twice")
    return Choice(texts)


def _as_yaml(text: str) -> str:
    """Return a text of Hydra's, in which booleans stand as Python writes them, as YAML has it."""
    if text in ("True", "False"):
        return text.lower()
    return text


def _numbers(low: float, high: float, *, is_int: bool, is_log: bool) -> Numbers:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("the ends must be finite")
    if low >= high:
        raise ValueError("the lower end must come first")
    if is_log and low <= 0:
        raise ValueError("a logarithmic interval must begin above 0")
    return Numbers(low, high, is_log=is_log, is_int=is_int)


def _text(value: Given) -> str:
    return value if isinstance(value, str) else write(value)
