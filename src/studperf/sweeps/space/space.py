"""The keys that a study varies, and those that it holds at one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studperf.sweeps.space.domain import Domain, Suggester, Word, write

if TYPE_CHECKING:
    pass

# The sampler keeps all of them in memory, and no study goes through more.
_MAX_GRID = 100_000
When = tuple[tuple[str, str], ...]
"""A condition: pairs of a key and the text that it must have."""
Held = tuple[Word, When]
"""A fixed word of a conditional key, with the condition."""


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
