"""Findings about a table's columns: counts and examples that add up over chunks, and messages."""

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
"""The fields of `Facts` that count single cells."""


@dataclass(frozen=True)
class Finding:
    """One fault or oddity of a table: an error stops the run, a warning goes into the record."""

    level: Literal["error", "warning"]
    where: str
    what: str

    def __str__(self) -> str:
        """Return the finding as one line of a message."""
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Cells:
    """Number and first three examples of one column's cells that share a property; rows from 0."""

    n: int = 0
    rows: tuple[int, ...] = ()
    shown: tuple[str, ...] = ()

    @classmethod
    def where(cls, mask: np.ndarray | pd.Series, values: pd.Series | None = None) -> Self:
        """Return the cells that a mask marks, with their values as examples."""
        mask = np.asarray(mask, dtype=bool)
        n = int(np.count_nonzero(mask))  # 12 times as fast as a sum
        if not n:
            return cls()
        rows = tuple(np.flatnonzero(mask)[:_N_EXAMPLES].tolist())
        if values is None:
            return cls(n, rows)
        return cls(n, rows, tuple(show(values.iloc[row]) for row in rows))

    def __bool__(self) -> bool:
        """Return True if there is at least one cell."""
        return self.n > 0

    def __add__(self, later: Cells) -> Cells:
        """Return these cells together with those of rows further down."""
        if not later:
            return self
        return Cells(
            self.n + later.n,
            (self.rows + later.rows)[:_N_EXAMPLES],
            (self.shown + later.shown)[:_N_EXAMPLES],
        )

    def renumber(self, places: np.ndarray) -> Cells:
        """Return the same cells with other row numbers.

        Args:
            places: (N,) each row's place in the file, before others were left out.
        """
        rows = tuple(int(places[row]) for row in self.rows)
        return replace(self, rows=rows)

    def shift(self, n_rows: int) -> Cells:
        """Return the same cells for a table with so many more rows above."""
        if not self.n:
            return self
        return replace(self, rows=tuple(row + n_rows for row in self.rows))

    @property
    def numbers(self) -> str:
        """Row numbers for a message, counted from 1: `rows 1, 2, 3 and 4 more`."""
        noun = "rows" if self.n > 1 else "row"
        rows = ", ".join(str(row + 1) for row in self.rows)
        return f"{noun} {rows}{self._more}"

    @property
    def examples(self) -> str:
        """Example values for a message: `'x' (row 1), 'y' (row 2)`."""
        pairs = zip(self.shown, self.rows, strict=True)
        examples = ", ".join(f"{text} (row {row + 1})" for text, row in pairs)
        return f"{examples}{self._more}"

    @property
    def _more(self) -> str:
        return f" and {self.n - _N_EXAMPLES} more" if self.n > _N_EXAMPLES else ""

    def count(self, one: str, several: str | None = None) -> str:
        """Return the number with its noun: `1 row`, `2 rows`."""
        if self.n == 1:
            return f"1 {one}"
        return f"{self.n} {several or f'{one}s'}"

    def are(self, one: str) -> str:
        """Return the number with its noun and verb: `1 value is`, `2 values are`."""
        verb = "is" if self.n == 1 else "are"
        return f"{self.count(one)} {verb}"


@dataclass
class Facts:
    """Observations about one column, from which its findings are written.

    Args:
        bad: cells whose value does not fit the column's kind.
        huge: numbers whose squares leave the range of numbers.
        repeated: cells of an id column whose value occurs more than once.
        some: the first different values, two at most; a single one means a constant.
        first: the first row's value, as messages show it.
        n_levels: different values of a category.
        low: the smallest finite number; `high` the largest.
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
        """Replace the row numbers of all cells by places in the file, see `Cells.renumber`."""
        for name in _OF_CELLS:
            setattr(self, name, getattr(self, name).renumber(places))

    def note_values(self, typed: pd.Series) -> None:
        """Keep the first row and the first different values."""
        self.some = tuple(typed.dropna().drop_duplicates().iloc[:_N_SOME])
        self.first = show(typed.iloc[0]) if len(typed) else ""

    def append(self, later: Facts, n_above: int) -> None:
        """Add the facts of rows further down.

        `n_levels` is left as it is: chunks share levels, so it does not add up.
        """
        for name in _OF_CELLS:
            setattr(self, name, getattr(self, name) + getattr(later, name).shift(n_above))
        if not self.n_rows:
            self.first = later.first
        self.some = tuple(dict.fromkeys(self.some + later.some))[:_N_SOME]
        self.n_rows += later.n_rows
        self.low = min(self.low, later.low)
        self.high = max(self.high, later.high)

    @property
    def is_constant(self) -> bool:
        """True if all rows are alike; rows without a value count as one more value."""
        has_others = bool(self.missing.n + self.bad.n)
        return len(self.some) + has_others == 1


def show(value: object) -> str:
    """Return a cell as messages show it, a long text cut after its beginning."""
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    if len(text) <= _MAX_SHOWN:
        return text
    return f"{text[:_MAX_SHOWN]}... ({len(str(value)):,} characters)"


def suggest_line(name: str, values: pd.Series) -> str:
    """Return the YAML line for a column that a dataset does not name yet."""
    numbers = pd.to_numeric(values.astype(str), errors="coerce")
    kind = "number" if numbers.notna().mean() > 0.5 else "category"  # noqa: PLR2004 - mostly numbers
    return f"{write_key(name)}: {{kind: {kind}}}   # or id, leak, unused"


def judge_header(raw: pd.DataFrame, dataset: Dataset, *, for_training: bool) -> Iterator[Finding]:
    """Yield findings on missing columns and on columns that the dataset does not name."""
    found = [str(name) for name in raw.columns]
    known = {*dataset.columns, dataset.target.column}
    surplus = [name for name in found if name not in known]
    needed = list(dataset.feature_names)
    if for_training:
        needed.append(dataset.target.column)
    for name in needed:
        if name not in found:
            nearest = difflib.get_close_matches(name, surplus or found, n=1)
            hint = f"; closest in the file: {nearest[0]!r}" if nearest else ""
            what = f"the column is missing (the file has {len(found)} columns){hint}"
            yield Finding("error", name, what)
    for name, column in dataset.columns.items():
        if name not in found and name not in needed and for_training:
            what = f"the column, of kind {column.kind}, is not in the file"
            yield Finding("warning", name, what)
    for name in surplus:
        if for_training:
            line = suggest_line(name, raw[name])
            what = f"the dataset does not name this column; add to `columns:` the line `{line}`"
            yield Finding("error", name, what)
        else:
            yield Finding("warning", name, "unknown column, ignored")


def judge_dropped(dropped: Cells, dataset: Dataset) -> Iterator[Finding]:
    """Yield a warning on rows that were left out because they have no target."""
    if dropped:
        rows = dropped.count("row")
        what = f"{rows} without a target left out, as data.drop_missing_target=true asks"
        yield Finding("warning", dataset.target.column, what)


def judge_rows(
    facts: Mapping[str, Facts], dataset: Dataset, *, for_training: bool
) -> Iterator[Finding]:
    """Yield the findings on each column, then on the target, then on the features together."""
    target = dataset.target.column
    for name, column in dataset.columns.items():
        if name in facts:
            yield from _judge_column(name, column, facts[name], dataset, for_training=for_training)
    if target in facts:
        yield from _judge_target(facts[target], dataset, for_training=for_training)
    features = [facts[name] for name in dataset.feature_names if name in facts]
    has_rows = bool(features) and features[0].n_rows > 1
    if for_training and has_rows and all(one.is_constant for one in features):
        what = "every feature has the same value in all rows: there is nothing to learn from"
        yield Finding("error", "table", what)


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
    """Yield warnings on how many rows equal one above them, and in which columns."""
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
            f"{_rows_equal(copies.in_used)} in all features and the target, "
            "but not in the columns that are no features: "
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
        what = (
            f"an id names one row, but {facts.repeated.examples} {come} more than once. "
            "If it names a group of rows, as a school or a person, "
            "write kind: category, unseen: other, rare: 5 "
            "(levels of fewer rows are taken together); else kind: unused"
        )
        yield Finding("error", name, what)
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
                yield Finding(
                    "error", name, _infinite(facts, "value", "; correct them or leave the rows out")
                )
            yield from _judge_range(name, column.range, column.unit or "", facts)
            yield from _judge_size(name, facts)
        case "flag" if facts.bad:
            what = f"a flag is 0/1, true/false or yes/no, got {facts.bad.examples}"
            yield Finding("error", name, what)
        case "category":
            yield from _judge_levels(name, column, facts, for_training=for_training)
    if for_training and facts.is_constant:
        what = f"every row has the value {facts.first}: the column carries no information"
        yield Finding("warning", name, what)


def _refuse_missing(name: str, column: Column, missing: Cells, *, for_training: bool) -> Finding:
    method = "median" if column.kind == "number" else "mode"
    fill = f"data.columns.{name}.fill={method}"
    if for_training:
        way_out = f"say how to fill: {fill}"
    else:
        way_out = f"correct the rows, or train again with {fill}"
    if column.kind == "category" and "None" in (column.levels or ()):
        way_out = (
            "'None' is one of its levels: was the file written by a program "
            f"that reads 'None' as missing? Otherwise {way_out}"
        )
    what = f"{missing.count('missing value')} ({missing.numbers}); {way_out}"
    return Finding("error", name, what)


def _infinite(facts: Facts, noun: str, way_out: str = "") -> str:
    return f"{facts.infinite.are(noun)} infinite ({facts.infinite.numbers}){way_out}"


def _judge_text(name: str, noun: str, bad: Cells) -> Iterator[Finding]:
    if bad:
        wrong = "not a number" if bad.n == 1 else "not numbers"
        way_out = "if they mean missing, name them in data.source.missing"
        yield Finding("error", name, f"{bad.are(noun)} {wrong}: {bad.examples}; {way_out}")


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
        what = (
            f"{facts.huge.are('value')} beyond {LARGEST:g}: {facts.huge.examples}; "
            "squares of them leave the range of numbers. "
            "Give the column in a larger unit, or kind unused"
        )
        yield Finding("error", name, what)


def _judge_spread(name: str, facts: Facts) -> Iterator[Finding]:
    """Yield an error if the targets differ too little for the single precision of networks."""
    spread = facts.high - facts.low
    if not 0 < spread < math.inf or facts.huge:
        return
    size = max(abs(facts.low), abs(facts.high))
    if spread < SMALLEST:
        what = (
            f"the targets differ by {spread:.3g} at most, which vanishes when it is squared; "
            "give them in a smaller unit"
        )
        yield Finding("error", name, what)
    elif spread < size * LEAST_RELATIVE_SPREAD:
        what = (
            f"the targets lie between {facts.low:.12g} and {facts.high:.12g}: "
            "they differ in digits that single precision does not keep; "
            "subtract a number from them"
        )
        yield Finding("error", name, what)


def _judge_levels(
    name: str, column: Column, facts: Facts, *, for_training: bool
) -> Iterator[Finding]:
    n_rows, unseen = facts.n_rows - facts.missing.n, facts.unseen
    is_id_like = n_rows >= _N_ID_LIKE and facts.n_levels > n_rows / 2
    if for_training and is_id_like and column.rare is None:
        what = (
            f"has {facts.n_levels} different values in {n_rows} rows: "
            "an identifier, not a category; give it kind id or unused"
        )
        yield Finding("error", name, what)
    elif unseen and column.unseen == "refuse":
        known = ", ".join(column.levels or ())
        act = "set" if for_training else "train again with"
        what = f"unknown level in {unseen.count('row')}: {unseen.examples}; known: {known}"
        yield Finding("error", name, f"{what}. Correct them, or {act} unseen: other")
    elif unseen:
        what = f"unknown level in {unseen.count('row')} taken as 'other': {unseen.examples}"
        yield Finding("warning", name, what)


def _judge_target(facts: Facts, dataset: Dataset, *, for_training: bool) -> Iterator[Finding]:
    target = dataset.target
    yield from _judge_text(target.column, "target", facts.bad)
    if facts.missing and for_training:
        way_out = "leave them out with data.drop_missing_target=true"
        rows = facts.missing.count("row")
        what = f"{rows} without a target ({facts.missing.numbers}); {way_out}"
        yield Finding("error", target.column, what)
    if facts.infinite:
        yield Finding("error", target.column, _infinite(facts, "target"))
    yield from _judge_range(target.column, target.range, target.unit, facts)
    yield from _judge_size(target.column, facts)
    if for_training:
        yield from _judge_spread(target.column, facts)
    if for_training and facts.n_rows > 1 and len(facts.some) == 1:
        what = f"every row has the target {facts.first}: there is nothing to learn"
        yield Finding("error", target.column, what)


def has_error(findings: Iterable[Finding]) -> bool:
    """Return True if any of the findings stops a run."""
    return any(finding.level == "error" for finding in findings)
