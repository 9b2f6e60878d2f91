"""The values of one key that a study varies, and how a value is written as text for Hydra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from hydra.core.override_parser.overrides_parser import OverridesParser

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


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


@cache
def hydra_parser() -> OverridesParser:
    """Return a parser of Hydra's grammar, made once."""
    return OverridesParser.create()


@cache
def _read_cached(text: str) -> Any:  # noqa: ANN401 - whatever the grammar can say
    return hydra_parser().parse_override(f"key={text}").value()
