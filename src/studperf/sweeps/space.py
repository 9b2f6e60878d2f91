"""The space of a study: from Hydra's sweep grammar to what a sampler draws from, and from what it drew back to override words."""

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
from studperf.config.line.overrides import why_no_range, why_refused

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from studperf.config.study import Conditional
    from studperf.config.study import Domain as Given

_MAX_GRID = 100_000


class Suggester(Protocol):
    """What draws values: an `optuna.Trial`, or anything with its three methods."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any: ...  # noqa: ANN401, D102

    def suggest_int(  # noqa: D102
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...

    def suggest_float(  # noqa: D102
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...


@dataclass(frozen=True)
class Choice:
    """One of several values, each kept as the text that Hydra reads back as that value: null, lists and group names survive."""

    texts: tuple[str, ...]

    def suggest(self, trial: Suggester, name: str) -> str:
        """Draws."""
        return str(trial.suggest_categorical(name, self.texts))

    def distribution(self) -> BaseDistribution:
        """For the storage."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.texts)

    def ends(self) -> tuple[str, ...]:
        """Values that show every fault of the domain."""
        return self.texts

    def grid(self) -> tuple[str, ...] | None:
        """All values; None if there are infinitely many."""
        return self.texts

    def __str__(self) -> str:
        """As in a sweep file."""
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
        """Draws."""
        if self.is_int:
            return trial.suggest_int(
                name, int(self.low), int(self.high), step=int(self.step or 1), log=self.is_log
            )
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.is_log)

    def distribution(self) -> BaseDistribution:
        """For the storage."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.is_int:
            return IntDistribution(
                int(self.low), int(self.high), log=self.is_log, step=int(self.step or 1)
            )
        return FloatDistribution(self.low, self.high, log=self.is_log, step=self.step)

    def ends(self) -> tuple[str, ...]:
        """Values that show every fault of the domain."""
        return tuple(dict.fromkeys((write(self._typed(self.low)), write(self._typed(self.high)))))

    def grid(self) -> tuple[float, ...] | None:
        """All values; None if there are infinitely many."""
        step = self.step or (1 if self.is_int and not self.is_log else None)
        if step is None:
            return None
        return tuple(
            self._typed(self.low + i * step)
            for i in range(round((self.high - self.low) / step) + 1)
        )

    def _typed(self, value: float) -> float:
        return int(value) if self.is_int else float(value)

    def __str__(self) -> str:
        """As in a sweep file."""
        inner = f"interval({write(self._typed(self.low))},{write(self._typed(self.high))})"
        inner = f"int({inner})" if self.is_int else inner
        inner = f"{inner} by {self.step:g}" if self.step else inner
        return f"tag(log,{inner})" if self.is_log else inner


Domain = Choice | Numbers


@dataclass(frozen=True)
class Dimension:
    """One key that is varied, perhaps only where other keys have certain values."""

    key: str
    domain: Domain
    when: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """In the storage: two branches may vary one key over different values."""
        return "@".join([self.key, *(value for _, value in self.when)])


@dataclass(frozen=True)
class Word:
    """A key and its value, as text for Hydra and as the value that the text stands for."""

    key: str
    text: str

    @property
    def value(self) -> Any:  # noqa: ANN401 - whatever the grammar can say
        """The plain value."""
        return read(self.text)

    def __str__(self) -> str:
        """For a command line."""
        if self.key.startswith("~") and not self.text:
            return self.key
        return f"{self.key}={self.text}"


@dataclass(frozen=True)
class Space:
    """All that is varied, and what is held.

    Args:
        dimensions: parents stand before the children whose `when` names them.
        fixed: words that hold for every trial.
        held: conditional keys that a fixed word holds, each with the condition.
    """

    dimensions: tuple[Dimension, ...]
    fixed: tuple[Word, ...] = ()
    held: tuple[tuple[Word, tuple[tuple[str, str], ...]], ...] = ()

    def suggest(self, trial: Suggester) -> list[Word]:
        """Draws a value for each key that is active, and returns the words of the trial without the fixed ones."""
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
        """Every combination, as name -> value.

        Raises:
            ValueError: there are infinitely many, or too many.
        """
        lines: list[dict[str, Any]] = [{}]
        for dimension in self.dimensions:
            values = dimension.domain.grid()
            if values is None:
                raise ValueError(
                    f"{dimension.key}: a grid needs choice(...) or range(...), got {dimension.domain}"
                )
            lines = [new for line in lines for new in self._extended(line, dimension, values)]
            if len(lines) > _MAX_GRID:
                raise ValueError(
                    f"the grid has more than {_MAX_GRID:,} combinations; take another sampler"
                )
        return lines

    def _extended(
        self, line: dict[str, Any], dimension: Dimension, values: Iterable[Any]
    ) -> list[dict[str, Any]]:
        keys = {d.name: d.key for d in self.dimensions}
        chosen = {word.key: word.text for word in self.fixed} | {
            keys[name]: write(value) for name, value in line.items()
        }
        return (
            [{**line, dimension.name: value} for value in values]
            if _holds(dimension.when, chosen)
            else [line]
        )

    def probes(self) -> list[list[Word]]:
        """Word lists that show every fault: each end of each domain once, the other keys at their first one."""
        found: dict[tuple[str, ...], list[Word]] = {}
        for dimension in self.dimensions or (None,):
            for text in dimension.domain.ends() if dimension else ("",):
                words = self.suggest(
                    _Probe(dimension, text, dict(dimension.when) if dimension else {}, self)
                )
                found.setdefault(tuple(map(str, words)), words)
        return list(found.values())

    def describe(self) -> dict[str, str]:
        """Name -> domain, and the fixed words: what makes trials comparable."""
        held = {
            f"{word.key}@{'@'.join(value for _, value in when)}": word.text
            for word, when in self.held
        }
        return (
            {d.name: str(d.domain) for d in self.dimensions}
            | {w.key: w.text for w in self.fixed}
            | held
        )


class _Probe:
    """Draws one given value for one dimension, parents so that it is active, and the first value of everything else."""

    def __init__(
        self, dimension: Dimension | None, text: str, parents: dict[str, str], space: Space
    ) -> None:
        self.parents = {
            d.name: parents[d.key] for d in space.dimensions if not d.when and d.key in parents
        }
        self.name, self.text = (dimension.name, text) if dimension else ("", "")

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        return self.text if name == self.name else self.parents.get(name, choices[0])

    def suggest_int(self, name: str, low: int, high: int, **_: Any) -> int:  # noqa: ANN401, ARG002
        return int(self.text) if name == self.name else low

    def suggest_float(self, name: str, low: float, high: float, **_: Any) -> float:  # noqa: ANN401, ARG002
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
    """The space of a sweep file and a command line; a word of the command line takes the place of the file's.

    Args:
        words: of the command line: `key=value` fixes a key, a sweep varies it.
        params: key -> grammar or plain value, as in a sweep file.
        conditional: blocks of keys that are varied only where `when` holds.
    """
    faults: list[Fault] = []
    by_key: dict[str, Domain | Word | None] = {}
    for key, value in params.items():
        by_key[key.lstrip("+")] = _read(key.lstrip("+"), _text(value), f"params.{key}", faults)
    given = {}
    for word in words:
        key, _, text = word.partition("=")
        key = key.lstrip("+")
        given[key] = _read(key, text, key, faults)
    children, held = _read_conditional(conditional, by_key | given, given, faults)
    keys_of_children = {d.key for d in children} | {word.key for word, _ in held}
    # A word for a key that only some branches have holds in those branches; elsewhere there is no such key.
    by_key |= {key: value for key, value in given.items() if key not in keys_of_children}
    dimensions = [
        Dimension(key, domain)
        for key, domain in by_key.items()
        if isinstance(domain, Choice | Numbers)
    ]
    fixed = [word for word in by_key.values() if isinstance(word, Word)]
    return Reading(Space((*dimensions, *children), tuple(fixed), tuple(held)), faults)


def _read_conditional(
    conditional: Sequence[Conditional],
    known: Mapping[str, Domain | Word | None],
    given: Mapping[str, Domain | Word | None],
    faults: list[Fault],
) -> tuple[list[Dimension], list[tuple[Word, tuple[tuple[str, str], ...]]]]:
    children: list[Dimension] = []
    held: list[tuple[Word, tuple[tuple[str, str], ...]]] = []
    for i, block in enumerate(conditional):
        when = tuple((key, write(value)) for key, value in block.when.items())
        if any(
            isinstance(parent := given.get(key), Choice) and value not in parent.texts
            for key, value in when
        ):
            continue  # the command line has narrowed the file's choice
        faults += [
            fault
            for key, value in when
            if (fault := _check_parent(f"conditional.{i}.when.{key}", key, value, known))
        ]
        for key, value in block.params.items():
            domain = given.get(key) or _read(
                key, _text(value), f"conditional.{i}.params.{key}", faults
            )
            if isinstance(domain, Word):
                held.append((domain, when))
            elif domain is not None:
                children.append(Dimension(key, domain, when))
    return children, held


def _check_parent(
    where: str, key: str, value: str, known: Mapping[str, Domain | Word | None]
) -> Fault | None:
    parent = known.get(key)
    if key not in known:
        return Fault(where, f"{key} is neither varied nor fixed; {unknown_key(key, known)}")
    if isinstance(parent, Numbers):
        return Fault(where, f"a condition needs a choice, and {key} is {parent}")
    if isinstance(parent, Choice) and value not in parent.texts:
        return Fault(where, f"{key} is never {value!r}; {unknown_key(value, parent.texts)}")
    return None


def _read(key: str, text: str, where: str, faults: list[Fault]) -> Domain | Word | None:
    """The domain or the fixed word that a text stands for; None on a fault, which is noted."""
    try:
        override = _parser().parse_override(f"{key}={text}")
        return _domain(override) or Word(key, text)
    except (HydraException, ValueError) as error:
        faults.append(Fault(where, why_refused(text, error)))
        return None


def _domain(override: Override) -> Domain | None:
    if not override.is_sweep_override():
        return None
    value: Any = override.value()
    if isinstance(value, Glob):
        wrong = "glob(...) is for the command line; list the options: choice(a,b)"
        raise ValueError(wrong)  # noqa: TRY004 - a fault of the text, told as any other
    if override.is_range_sweep() and (reason := why_no_range(override)):
        raise ValueError(reason)
    if others := sorted(value.tags - {"log"}):
        raise ValueError(f"tag {others[0]}: {unknown_key(others[0], ['log'])}")
    if override.is_interval_sweep():
        is_int = isinstance(value.start, int) and isinstance(value.end, int)
        return _numbers(value.start, value.end, is_int=is_int, is_log="log" in value.tags)
    texts = tuple(
        text.lower() if text in ("True", "False") else text
        for text in override.sweep_string_iterator()
    )
    if not texts:
        raise ValueError("the range is empty")
    if override.is_range_sweep() and len(texts) > 1:
        values = [read(text) for text in texts]
        low, high, is_int = min(values), max(values), all(isinstance(v, int) for v in values)
        if "log" in value.tags:
            return _numbers(low, high, is_int=is_int, is_log=True)
        return Numbers(low, high, step=abs(value.step), is_int=is_int)
    if len(set(texts)) < len(texts):
        raise ValueError("a value stands there twice")
    return Choice(texts)


def _numbers(low: float, high: float, *, is_int: bool, is_log: bool) -> Numbers:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("the ends must be finite")
    if low >= high:
        raise ValueError("the lower end must come first")
    if is_log and low <= 0:
        raise ValueError("a logarithmic interval must begin above 0")
    return Numbers(low, high, is_log=is_log, is_int=is_int)


def write(value: Any) -> str:  # noqa: ANN401 - whatever a distribution gives
    """A value as text that Hydra reads back as the same value. `None` would come back as a word."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


@cache
def _read_cached(text: str) -> Any:  # noqa: ANN401
    return _parser().parse_override(f"key={text}").value()


def read(text: str) -> Any:  # noqa: ANN401 - whatever the grammar can say
    """The plain value that a text stands for."""
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
