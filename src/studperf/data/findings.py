"""What is seen in a table's columns, as counts and first examples that add up over chunks, and the words for it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np
import pandas as pd

from studperf.config.dataset import Column, Dataset
from studperf.config.document import write_key
from studperf.data.numbers import LARGEST, LEAST_RELATIVE_SPREAD, SMALLEST

_N_EXAMPLES = 3
_N_ID_LIKE = 50
_N_SOME = 2
_MAX_SHOWN = 80  # characters of a cell
_OF_CELLS = ("missing", "bad", "infinite", "outside", "huge", "unseen", "repeated")
"""What `Facts` says of single cells."""


@dataclass(frozen=True)
class Finding:
    """One thing seen in a table. An error stops the run, a warning goes into the record."""

    level: Literal["error", "warning"]
    where: str
    what: str

    def __str__(self) -> str:
        """As a line of a message."""
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Cells:
    """Cells of one column that have something in common: how many they are, and the first three, rows counted from 0."""

    n: int = 0
    rows: tuple[int, ...] = ()
    shown: tuple[str, ...] = ()

    @classmethod
    def where(cls, mask: np.ndarray | pd.Series, values: pd.Series | None = None) -> Self:
        """The cells of a mask, with what they hold."""
        mask = np.asarray(mask, dtype=bool)
        n = int(np.count_nonzero(mask))  # 12 times as fast as a sum
        if not n:
            return cls()
        rows = tuple(np.flatnonzero(mask)[:_N_EXAMPLES].tolist())
        return cls(n, rows, tuple(show(values.iloc[i]) for i in rows) if values is not None else ())

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.n > 0

    def __add__(self, later: Cells) -> Cells:
        """With those of rows further down."""
        if not later:
            return self
        return Cells(
            self.n + later.n,
            (self.rows + later.rows)[:_N_EXAMPLES],
            (self.shown + later.shown)[:_N_EXAMPLES],
        )

    def renumber(self, places: np.ndarray) -> Cells:
        """The same cells, each row known by its place: of rows that were kept, where they stood before others were left out."""
        rows = tuple(int(places[row]) for row in self.rows)
        return replace(self, rows=rows)

    def shift(self, n_rows: int) -> Cells:
        """The same cells in a table that has so many rows above."""
        return self if not self.n else replace(self, rows=tuple(row + n_rows for row in self.rows))

    @property
    def numbers(self) -> str:
        """`rows 1, 2, 3 and 4 more`, counted from 1."""
        return f"row{'s' if self.n > 1 else ''} {', '.join(str(row + 1) for row in self.rows)}{self._more}"

    @property
    def examples(self) -> str:
        """`'x' (row 1), 'y' (row 2)`."""
        return (
            ", ".join(
                f"{text} (row {row + 1})" for text, row in zip(self.shown, self.rows, strict=True)
            )
            + self._more
        )

    @property
    def _more(self) -> str:
        return f" and {self.n - _N_EXAMPLES} more" if self.n > _N_EXAMPLES else ""

    def count(self, one: str, several: str | None = None) -> str:
        """`1 row`, `2 rows`."""
        return f"{self.n} {one if self.n == 1 else several or f'{one}s'}"

    def are(self, one: str) -> str:
        """`1 value is`, `2 values are`."""
        return f"{self.count(one)} {'is' if self.n == 1 else 'are'}"


@dataclass
class Facts:
    """What was seen in one column.

    Args:
        bad: cells that hold something which the column's kind can't be.
        huge: numbers beyond what can be computed with.
        repeated: of an id, cells whose value comes more than once.
        some: the first different values, two at most: one of them alone is a constant.
        first: the first row's value, as it is shown.
        n_levels: different values of a category.
        low: the least of the finite numbers; `high` the largest.
    """

    n_rows: int = 0
    missing: Cells = field(default_factory=Cells)
    bad: Cells = field(default_factory=Cells)
    infinite: Cells = field(default_factory=Cells)
    outside: Cells = field(default_factory=Cells)
    huge: Cells = field(default_factory=Cells)
    unseen: Cells = field(default_factory=Cells)
    repeated: Cells = field(default_factory=Cells)
    some: tuple[object, ...] = ()
    first: str = ""
    n_levels: int = 0
    low: float = math.inf
    high: float = -math.inf

    def renumber(self, places: np.ndarray) -> None:
        """Gives the rows of all cells the places that they have in the file, see `Cells.renumber`."""
        for name in _OF_CELLS:
            setattr(self, name, getattr(self, name).renumber(places))

    def note_values(self, typed: pd.Series) -> None:
        """Remembers the first row and the first different values."""
        self.some = tuple(typed.dropna().drop_duplicates().iloc[:_N_SOME])
        self.first = show(typed.iloc[0]) if len(typed) else ""

    def append(self, later: Facts, n_above: int) -> None:
        """Adds what was seen in rows further down; `n_levels` does not add up and is left as it is."""
        for name in _OF_CELLS:
            setattr(self, name, getattr(self, name) + getattr(later, name).shift(n_above))
        self.first = self.first if self.n_rows else later.first
        self.some = tuple(dict.fromkeys(self.some + later.some))[:_N_SOME]
        self.n_rows += later.n_rows
        self.low = min(self.low, later.low)
        self.high = max(self.high, later.high)

    @property
    def is_constant(self) -> bool:
        """Whether all rows are alike, those without a value included."""
        return len(self.some) + bool(self.missing.n + self.bad.n) == 1


def show(value: object) -> str:
    """A cell, as messages show it: of a long text the beginning."""
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return (
        text
        if len(text) <= _MAX_SHOWN
        else f"{text[:_MAX_SHOWN]}... ({len(str(value)):,} characters)"
    )


def suggest_line(name: str, values: pd.Series) -> str:
    """The YAML line for a column that a dataset does not name yet."""
    numbers = pd.to_numeric(values.astype(str), errors="coerce")
    kind = "number" if numbers.notna().mean() > 0.5 else "category"  # noqa: PLR2004 - mostly numbers
    return f"{write_key(name)}: {{kind: {kind}}}   # or id, leak, unused"


def judge_header(raw: pd.DataFrame, dataset: Dataset, *, for_training: bool) -> Iterator[Finding]:
    """Columns that are missing, and those that the dataset does not name."""
    found = [str(name) for name in raw.columns]
    known = {*dataset.columns, dataset.target.column}
    surplus = [name for name in found if name not in known]
    needed = [*dataset.feature_names, *([dataset.target.column] if for_training else [])]
    for name in needed:
        if name not in found:
            nearest = difflib.get_close_matches(name, surplus or found, n=1)
            hint = f"; closest in the file: {nearest[0]!r}" if nearest else ""
            yield Finding(
                "error", name, f"the column is missing (the file has {len(found)} columns){hint}"
            )
    for name in dataset.columns:
        if name not in found and name not in needed and for_training:
            yield Finding(
                "warning",
                name,
                f"the column, of kind {dataset.columns[name].kind}, is not in the file",
            )
    for name in surplus:
        if for_training:
            line = suggest_line(name, raw[name])
            yield Finding(
                "error",
                name,
                f"the dataset does not name this column; add to `columns:` the line `{line}`",
            )
        else:
            yield Finding("warning", name, "unknown column, ignored")


def judge_dropped(dropped: Cells, dataset: Dataset) -> Iterator[Finding]:
    """Rows that were left out because they have no target."""
    if dropped:
        what = f"{dropped.count('row')} without a target left out, as data.drop_missing_target=true asks"
        yield Finding("warning", dataset.target.column, what)


def judge_rows(
    facts: Mapping[str, Facts], dataset: Dataset, *, for_training: bool
) -> Iterator[Finding]:
    """All that is to be said about columns, the target's after the others, and about the features together."""
    target = dataset.target.column
    for name, column in dataset.columns.items():
        if name in facts:
            yield from _judge_column(name, column, facts[name], dataset, for_training=for_training)
    if target in facts:
        yield from _judge_target(facts[target], dataset, for_training=for_training)
    features = [facts[name] for name in dataset.feature_names if name in facts]
    if (
        for_training
        and features
        and features[0].n_rows > 1
        and all(one.is_constant for one in features)
    ):
        yield Finding(
            "error",
            "table",
            "every feature has the same value in all rows: there is nothing to learn from",
        )


@dataclass(frozen=True)
class Copies:
    """Rows that equal one above them.

    Args:
        whole: equal in every column but ids and leaks.
        in_used: equal in the features and the target, not in the columns that are no features.
    """

    whole: Cells = field(default_factory=Cells)
    in_used: Cells = field(default_factory=Cells)

    def renumber(self, places: np.ndarray) -> Copies:
        """Return the same copies, each row known by its place in the file."""
        return Copies(self.whole.renumber(places), self.in_used.renumber(places))


def judge_copies(copies: Copies, dataset: Dataset) -> Iterator[Finding]:
    """Say how many rows equal one above them, and in which columns."""
    kinds = {column.kind for column in dataset.columns.values()}
    left_aside = [f"{kind}s" for kind in ("id", "leak") if kind in kinds]
    if copies.whole:
        where = "every column"
        if left_aside:
            where += f" but {' and '.join(left_aside)}"
        what = f"{_rows_equal(copies.whole)} in {where}; the split keeps them together"
        yield Finding("warning", "table", what)
    if copies.in_used:
        what = (
            f"{_rows_equal(copies.in_used)} in all features and the target, but not in the columns that are no features: "
            "no copies, yet a model can't tell them apart, and the split may part them"
        )
        yield Finding("warning", "table", what)


def _rows_equal(cells: Cells) -> str:
    verb = "equals" if cells.n == 1 else "equal"
    return f"{cells.count('row')} {verb} one above ({cells.numbers})"


def _judge_column(
    name: str, column: Column, facts: Facts, dataset: Dataset, *, for_training: bool
) -> Iterator[Finding]:
    if facts.repeated:
        come = "comes" if facts.repeated.n == 1 else "come"
        yield Finding(
            "error",
            name,
            f"an id names one row, but {facts.repeated.examples} {come} more than once. "
            "If it names a group of rows, as a school or a person, write kind: category, unseen: other, rare: 5 "
            "(levels of fewer rows are taken together); else kind: unused",
        )
    if name not in dataset.feature_names:
        return
    if facts.missing and column.fill is None:
        yield _refuse_missing(name, column, facts.missing, for_training=for_training)
    if facts.missing.n == facts.n_rows:
        yield Finding("error", name, "no row has a value")
    match column.kind:
        case "number":
            yield from _judge_text(name, "value", facts.bad)
            if facts.infinite:
                what = f"{facts.infinite.are('value')} infinite ({facts.infinite.numbers}); correct them or leave the rows out"
                yield Finding("error", name, what)
            yield from _judge_range(name, column.range, column.unit or "", facts)
            yield from _judge_size(name, facts)
        case "flag" if facts.bad:
            yield Finding(
                "error", name, f"a flag is 0/1, true/false or yes/no, got {facts.bad.examples}"
            )
        case "category":
            yield from _judge_levels(name, column, facts, for_training=for_training)
    if for_training and facts.is_constant:
        yield Finding(
            "warning",
            name,
            f"every row has the value {facts.first}: the column carries no information",
        )


def _refuse_missing(name: str, column: Column, missing: Cells, *, for_training: bool) -> Finding:
    fill = f"data.columns.{name}.fill={'median' if column.kind == 'number' else 'mode'}"
    way_out = (
        f"say how to fill: {fill}"
        if for_training
        else f"correct the rows, or train again with {fill}"
    )
    if column.kind == "category" and "None" in (column.levels or ()):
        way_out = (
            "'None' is one of its levels: was the file written by a program that reads 'None' as missing? Otherwise "
            + way_out
        )
    return Finding(
        "error", name, f"{missing.count('missing value')} ({missing.numbers}); {way_out}"
    )


def _judge_text(name: str, noun: str, bad: Cells) -> Iterator[Finding]:
    if bad:
        what = f"{bad.are(noun)} {'not a number' if bad.n == 1 else 'not numbers'}: {bad.examples}"
        yield Finding(
            "error", name, f"{what}; if they mean missing, name them in data.source.missing"
        )


def _judge_range(
    name: str, ends: tuple[float, float] | None, unit: str, facts: Facts
) -> Iterator[Finding]:
    if ends is None or not facts.outside:
        return
    expected = f"{ends[0]:g} to {ends[1]:g} {unit}".rstrip()
    what = f"{facts.outside.are('value')} outside of {expected}: {facts.outside.examples}"
    yield Finding("error", name, f"{what}; correct the rows, or the range in the dataset")


def _judge_size(name: str, facts: Facts) -> Iterator[Finding]:
    if facts.huge:
        what = f"{facts.huge.are('value')} beyond {LARGEST:g}: {facts.huge.examples}; squares of them leave the range of numbers. "
        yield Finding("error", name, what + "Give the column in a larger unit, or kind unused")


def _judge_spread(name: str, facts: Facts) -> Iterator[Finding]:
    """Say whether the target's values are too near to one another for single precision, in which networks compute."""
    spread = facts.high - facts.low
    if not 0 < spread < math.inf or facts.huge:
        return
    size = max(abs(facts.low), abs(facts.high))
    if spread < SMALLEST:
        what = f"the targets differ by {spread:.3g} at most, which vanishes when it is squared; give them in a smaller unit"
        yield Finding("error", name, what)
    elif spread < size * LEAST_RELATIVE_SPREAD:
        what = (
            f"the targets lie between {facts.low:.12g} and {facts.high:.12g}: they differ in digits that single precision does not "
            "keep; subtract a number from them"
        )
        yield Finding("error", name, what)


def _judge_levels(
    name: str, column: Column, facts: Facts, *, for_training: bool
) -> Iterator[Finding]:
    n_rows, unseen = facts.n_rows - facts.missing.n, facts.unseen
    is_id_like = n_rows >= _N_ID_LIKE and facts.n_levels > n_rows / 2
    if for_training and is_id_like and column.rare is None:
        what = f"has {facts.n_levels} different values in {n_rows} rows: an identifier, not a category; give it kind id or unused"
        yield Finding("error", name, what)
    elif unseen and column.unseen == "refuse":
        known = ", ".join(column.levels or ())
        way_out = (
            "Correct them, or set unseen: other"
            if for_training
            else "Correct them, or train again with unseen: other"
        )
        yield Finding(
            "error",
            name,
            f"unknown level in {unseen.count('row')}: {unseen.examples}; known: {known}. {way_out}",
        )
    elif unseen:
        yield Finding(
            "warning",
            name,
            f"unknown level in {unseen.count('row')} taken as 'other': {unseen.examples}",
        )


def _judge_target(facts: Facts, dataset: Dataset, *, for_training: bool) -> Iterator[Finding]:
    target = dataset.target
    yield from _judge_text(target.column, "target", facts.bad)
    if facts.missing and for_training:
        way_out = "leave them out with data.drop_missing_target=true"
        yield Finding(
            "error",
            target.column,
            f"{facts.missing.count('row')} without a target ({facts.missing.numbers}); {way_out}",
        )
    if facts.infinite:
        yield Finding(
            "error",
            target.column,
            f"{facts.infinite.are('target')} infinite ({facts.infinite.numbers})",
        )
    yield from _judge_range(target.column, target.range, target.unit, facts)
    yield from _judge_size(target.column, facts)
    if for_training:
        yield from _judge_spread(target.column, facts)
    if for_training and facts.n_rows > 1 and len(facts.some) == 1:
        yield Finding(
            "error",
            target.column,
            f"every row has the target {facts.first}: there is nothing to learn",
        )


def has_error(findings: Iterable[Finding]) -> bool:
    """Whether any of them stops a run."""
    return any(finding.level == "error" for finding in findings)
