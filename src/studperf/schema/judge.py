"""The rules by which a table's findings are told from the facts of its columns."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from studperf.config.dataset import Column, Dataset
from studperf.schema import words
from studperf.schema.findings import Cells, Facts, Finding
from studperf.schema.numbers import LARGEST, LEAST_RELATIVE_SPREAD, SMALLEST

OTHER = "other"
"""The level as which unseen and rare ones are taken, where a dataset says so."""
_N_ID_LIKE = 50


def judge_header(
    found: Sequence[str],
    dataset: Dataset,
    suggest_line: Callable[[str], str],
    *,
    for_training: bool,
) -> Iterator[Finding]:
    """Yield findings on missing columns and on columns that the dataset does not name.

    Args:
        found: names of the file's columns.
        dataset: names the columns that there should be.
        suggest_line: returns the YAML line for a column that the dataset does not name yet.
        for_training: see `judge_rows`.
    """
    known = {*dataset.columns, dataset.target.column}
    there = set(found)
    surplus = [name for name in found if name not in known]
    needed = list(dataset.feature_names)
    if for_training:
        needed.append(dataset.target.column)
    for name in needed:
        if name not in there:
            nearest = difflib.get_close_matches(name, surplus or found, n=1)
            hint = f"; closest in the file: {nearest[0]!r}" if nearest else ""
            what = f"the column is missing (the file has {len(found)} columns){hint}"
            yield Finding("error", name, what)
    for name, column in dataset.columns.items():
        if name not in there and name not in needed and for_training:
            what = f"the column, of kind {column.kind}, is not in the file"
            yield Finding("warning", name, what)
    for name in surplus:
        if for_training:
            line = suggest_line(name)
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
    """Yield the findings on each column, then on the target, then on the features together.

    Args:
        facts: of each column of the table.
        dataset: describes what the columns should be.
        for_training: a table to train on needs all named columns and a target that varies; rows to
            predict for do not.
    """
    target = dataset.target.column
    feature_names = set(dataset.feature_names)
    for name, column in dataset.columns.items():
        if name not in facts:
            continue
        yield from _judge_id(name, facts[name])
        if name in feature_names:
            yield from _judge_feature(name, column, facts[name], for_training=for_training)
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


def _judge_id(name: str, facts: Facts) -> Iterator[Finding]:
    if facts.repeated:
        come = "comes" if facts.repeated.n == 1 else "come"
        what = (
            f"an id names one row, but {facts.repeated.examples} {come} more than once. "
            "If it names a group of rows, as a school or a person, "
            "write kind: category, unseen: other, rare: 5 "
            "(levels of fewer rows are taken together); else kind: unused"
        )
        yield Finding("error", name, what)


def _judge_feature(
    name: str, column: Column, facts: Facts, *, for_training: bool
) -> Iterator[Finding]:
    if facts.missing and column.fill is None:
        yield _refuse_missing(name, column, facts.missing, for_training=for_training)
    if facts.missing.n == facts.n_rows:
        yield Finding("error", name, "no row has a value")
    match column.kind:
        case "number":
            yield from _judge_text(name, "value", facts.bad)
            if facts.infinite:
                said = words.infinite_values(facts.infinite)
                yield Finding("error", name, f"{said}; correct them or leave the rows out")
            yield from _judge_range(name, column.range, column.unit, facts)
            yield from _judge_size(name, facts)
        case "flag" if facts.bad:
            yield Finding("error", name, words.no_flags(facts.bad))
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
    return Finding("error", name, f"{words.missing_values(missing)}; {way_out}")


def _judge_text(name: str, noun: str, bad: Cells) -> Iterator[Finding]:
    if bad:
        way_out = "if they mean missing, name them in data.source.missing"
        yield Finding("error", name, f"{words.no_numbers(bad, noun)}; {way_out}")


def _judge_range(
    name: str, ends: tuple[float, float] | None, unit: str | None, facts: Facts
) -> Iterator[Finding]:
    if ends is not None and facts.outside:
        what = words.values_outside(facts.outside, ends, unit)
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
        act = "set" if for_training else "train again with"
        what = words.unknown_levels(unseen, column.levels)
        yield Finding("error", name, f"{what}. Correct them, or {act} unseen: other")
    elif unseen:
        yield Finding("warning", name, words.taken_levels(unseen, OTHER))


def _judge_target(facts: Facts, dataset: Dataset, *, for_training: bool) -> Iterator[Finding]:
    target = dataset.target
    yield from _judge_text(target.column, "target", facts.bad)
    if facts.missing and for_training:
        way_out = "leave them out with data.drop_missing_target=true"
        rows = facts.missing.count("row")
        what = f"{rows} without a target ({facts.missing.numbers}); {way_out}"
        yield Finding("error", target.column, what)
    if facts.infinite:
        yield Finding("error", target.column, words.infinite_values(facts.infinite, "target"))
    yield from _judge_range(target.column, target.range, target.unit, facts)
    yield from _judge_size(target.column, facts)
    if for_training:
        yield from _judge_spread(target.column, facts)
    if for_training and facts.n_rows > 1 and len(facts.some) == 1:
        what = f"every row has the target {facts.first}: there is nothing to learn"
        yield Finding("error", target.column, what)


def no_rows() -> Finding:
    """Return the finding on a table that is a header alone."""
    return Finding("error", "table", "has a header but no rows")
