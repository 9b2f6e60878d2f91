"""The space of a study: the keys that it varies, and the values of each.

It is read from Hydra's sweep grammar, a sampler draws from it, and what was drawn becomes
override words again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from studperf.config.faults import Fault, unknown_key
from studperf.config.line.word import why_no_range, why_refused

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from studperf.config.study import Conditional
    from studperf.config.study import Domain as Given

_MAX_GRID = 100_000


class Suggester(Protocol):
    """A source of values: an `optuna.Trial`, or anything with these three methods of it."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any: ...  # noqa: ANN401, D102 - as Optuna has it

    def suggest_int(  # noqa: D102 - as Optuna has it
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...

    def suggest_float(  # noqa: D102 - as Optuna has it
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Each is kept as the text that Hydra reads back as that value, so that null, lists and group
    names survive.
    """

    texts: tuple[str, ...]

    def suggest(self, trial: Suggester, name: str) -> str:
        """Draw a value."""
        return str(trial.suggest_categorical(name, self.texts))

    def distribution(self) -> BaseDistribution:
        """Return the domain as Optuna stores it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.texts)

    def ends(self) -> tuple[str, ...]:
        """Return the values that show every fault of the domain."""
        return self.texts

    def grid(self) -> tuple[str, ...] | None:
        """Return all values; None if there are infinitely many."""
        return self.texts

    def __str__(self) -> str:
        """Return the domain as it is written in a sweep file."""
        return f"choice({','.join(self.texts)})"


@dataclass(frozen=True)
class Numbers:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    step: float | None = None
    is_log: bool = False
    is_int: bool = False

    def suggest(self, trial: Suggester, name: str) -> float:
        """Draw a value."""
        if self.is_int:
            low, high = int(self.low), int(self.high)
            step = int(self.step or 1)
            return trial.suggest_int(name, low, high, step=step, log=self.is_log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.is_log)

    def distribution(self) -> BaseDistribution:
        """Return the domain as Optuna stores it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.is_int:
            low, high = int(self.low), int(self.high)
            return IntDistribution(low, high, log=self.is_log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.is_log, step=self.step)

    def ends(self) -> tuple[str, ...]:
        """Return the values that show every fault of the domain."""
        low = write(self._typed(self.low))
        high = write(self._typed(self.high))
        return (low,) if low == high else (low, high)

    def grid(self) -> tuple[float, ...] | None:
        """Return all values; None if there are infinitely many."""
        step = self.step
        if not step:
            if self.is_log or not self.is_int:
                return None
            step = 1
        n_values = round((self.high - self.low) / step) + 1
        return tuple(self._typed(self.low + i * step) for i in range(n_values))

    def _typed(self, value: float) -> float:
        return int(value) if self.is_int else float(value)

    def __str__(self) -> str:
        """Return the domain as it is written in a sweep file."""
        inner = f"interval({write(self._typed(self.low))},{write(self._typed(self.high))})"
        if self.is_int:
            inner = f"int({inner})"
        if self.step:
            inner = f"{inner} by {self.step:g}"
        if self.is_log:
            inner = f"tag(log,{inner})"
        return inner


Domain = Choice | Numbers

When = tuple[tuple[str, str], ...]
"""A condition: pairs of a key and the text that it must have."""


@dataclass(frozen=True)
class Dimension:
    """One key that is varied, perhaps only where other keys have certain values."""

    key: str
    domain: Domain
    when: When = ()

    @property
    def name(self) -> str:
        """The key's name in the storage, where two branches may vary it over different values."""
        return "@".join([self.key, *(value for _, value in self.when)])


@dataclass(frozen=True)
class Word:
    """A key and its value, as text for Hydra and as the value that the text stands for."""

    key: str
    text: str

    @property
    def value(self) -> Any:  # noqa: ANN401 - whatever the grammar can say
        """The value that the text stands for."""
        return read(self.text)

    def __str__(self) -> str:
        """Return the word as on a command line."""
        if self.key.startswith("~") and not self.text:
            return self.key
        return f"{self.key}={self.text}"


Entry = Domain | Word | None
"""The domain or the fixed word of a key; None where its text has a fault."""
Held = tuple[Word, When]
"""A fixed word of a conditional key, with the condition."""


@dataclass(frozen=True)
class Space:
    """The keys that a study varies, and those that it holds at one value.

    Args:
        dimensions: parents stand before the children whose `when` names them.
        fixed: words that hold for every trial.
        held: conditional keys that a fixed word holds, each with the condition.
    """

    dimensions: tuple[Dimension, ...]
    fixed: tuple[Word, ...] = ()
    held: tuple[Held, ...] = ()

    def suggest(self, trial: Suggester) -> list[Word]:
        """Draw a value for each active key, and return the trial's words without the fixed ones."""
        drawn: list[Word] = []
        chosen = {word.key: word.text for word in self.fixed}
        for dimension in self.dimensions:
            if _holds(dimension.when, chosen):
                word = Word(dimension.key, write(dimension.domain.suggest(trial, dimension.name)))
                chosen[word.key] = word.text
                drawn.append(word)
        drawn += [word for word, when in self.held if _holds(when, chosen)]
        return drawn

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination, as name -> value.

        Raises:
            ValueError: there are infinitely many, or too many.
        """
        lines: list[dict[str, Any]] = [{}]
        for dimension in self.dimensions:
            values = dimension.domain.grid()
            if values is None:
                raise ValueError(
                    f"{dimension.key}: a grid needs choice(...) or range(...), "
                    f"got {dimension.domain}"
                )

            extended: list[dict[str, Any]] = []
            for line in lines:
                extended += self._extended(line, dimension, values)
            lines = extended
            if len(lines) > _MAX_GRID:
                raise ValueError(
                    f"the grid has more than {_MAX_GRID:,} combinations; take another sampler"
                )
        return lines

    def _extended(
        self, line: dict[str, Any], dimension: Dimension, values: Iterable[Any]
    ) -> list[dict[str, Any]]:
        """Return a line of the grid with each value of a dimension, if that is active there."""
        keys = {d.name: d.key for d in self.dimensions}
        chosen = {word.key: word.text for word in self.fixed}
        chosen |= {keys[name]: write(value) for name, value in line.items()}
        if not _holds(dimension.when, chosen):
            return [line]
        return [{**line, dimension.name: value} for value in values]

    def probes(self) -> list[list[Word]]:
        """Return lists of words that show every fault of the space.

        Each end of each domain stands there once, with the other keys at their first value.
        """
        found: dict[tuple[str, ...], list[Word]] = {}
        if not self.dimensions:
            return [self.suggest(_Probe(None, "", self))]
        for dimension in self.dimensions:
            for text in dimension.domain.ends():
                words = self.suggest(_Probe(dimension, text, self))
                found.setdefault(tuple(map(str, words)), words)
        return list(found.values())

    def describe(self) -> dict[str, str]:
        """Return name -> domain, and the fixed words: trials are comparable if these are equal."""
        described = {dimension.name: str(dimension.domain) for dimension in self.dimensions}
        described |= {word.key: word.text for word in self.fixed}
        for word, when in self.held:
            branch = "@".join(value for _, value in when)
            described[f"{word.key}@{branch}"] = word.text
        return described


class _Probe:
    """Draw one given value for one dimension, and the first value of all others.

    Its parents get the values that make it active.
    """

    def __init__(self, dimension: Dimension | None, text: str, space: Space) -> None:
        self.name = ""
        self.text = text
        self.parents: dict[str, str] = {}
        if dimension is None:
            return

        self.name = dimension.name
        wanted = dict(dimension.when)
        for other in space.dimensions:
            if not other.when and other.key in wanted:
                self.parents[other.name] = wanted[other.key]

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        if name == self.name:
            return self.text
        return self.parents.get(name, choices[0])

    def suggest_int(self, name: str, low: int, high: int, **_: Any) -> int:  # noqa: ANN401, ARG002 - as Optuna has it
        return int(self.text) if name == self.name else low

    def suggest_float(self, name: str, low: float, high: float, **_: Any) -> float:  # noqa: ANN401, ARG002 - as Optuna has it
        return float(self.text) if name == self.name else low


def _holds(when: Iterable[tuple[str, str]], chosen: Mapping[str, str]) -> bool:
    return all(chosen.get(key) == value for key, value in when)


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
        by_key[key] = _read(key, _text(value), f"params.{written}", faults)

    given = {}
    for word in words:
        key, _, text = word.partition("=")
        key = key.lstrip("+")
        given[key] = _read(key, text, key, faults)

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
                domain = _read(key, _text(value), f"conditional.{i}.params.{key}", faults)
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


def _read(key: str, text: str, where: str, faults: list[Fault]) -> Entry:
    """Return the domain or the fixed word that a text stands for; a fault is noted, as None."""
    try:
        override = _parser().parse_override(f"{key}={text}")
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


def write(value: Any) -> str:  # noqa: ANN401 - whatever a distribution gives
    """Return a value as text that Hydra reads back as the same value."""
    # `None` would come back as a word.
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value)
    return str(value)


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


@cache
def _read_cached(text: str) -> Any:  # noqa: ANN401 - whatever the grammar can say
    return _parser().parse_override(f"key={text}").value()


def read(text: str) -> Any:  # noqa: ANN401 - whatever the grammar can say
    """Return the plain value that a text stands for."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return _read_cached(text)


def _text(value: Given) -> str:
    return value if isinstance(value, str) else write(value)
