"""Find columns that give the target away, and refuse to train on those where that is beyond doubt.

A leak gives the answer away and would not be there at prediction time. No test knows the second. So
a column is refused where nothing honest looks like it (the target in another unit, cut in bands, or
made of two columns), and named as suspect where an honest one might.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from studperf.data.guard.evidence import (
    MAX_LEVELS,
    MAX_PARTS,
    Test,
    is_a_trend,
    judge_column,
    rank,
    share_within,
    squared_correlation,
)
from studperf.data.guard.formulas import Formula, find_pairs, find_totals
from studperf.data.schema import Table
from studperf.errors import LeakError, listing
from studperf.scoring.metrics import FloatArray

__all__ = ["MAX_LEVELS", "Leak", "examine", "find_formulas", "find_leaks", "guard"]

# From here on a column that was left out gives the target away alone: no part of a total.
_ALONE_R2 = 0.98
_MOSTLY = 0.9
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Leak:
    """A column that gives the target away, alone or with partners, and the evidence for it."""

    column: str
    test: Test
    evidence: str
    partners: tuple[str, ...] = ()
    """Columns without which it would not."""
    is_refused: bool = True
    """False where an honest column might look like this: it is named in a warning, not refused."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The column and its partners."""
        return (self.column, *self.partners)

    def __str__(self) -> str:
        """Return the leak as one line of a message."""
        return f"{' and '.join(self.columns)}: {self.evidence}"

    @property
    def warning(self) -> str:
        """The warning about a column that is suspect and was not refused."""
        lines = ", ".join(f"`{yaml_name(name)}: {{kind: leak}}`" for name in self.columns)
        return (
            f"{' and '.join(self.columns)}: may give the target away: {self.evidence}. "
            "Where it is not known yet when a row is "
            f"predicted, write {lines}; {allow(self.columns)} keeps it without this line"
        )


def guard(table: Table) -> tuple[Leak, ...]:
    """Refuse a table in which a feature gives the target away.

    Args:
        table: the training rows.

    Returns:
        What was let through: leaks that `allow_leaks` names, and suspects.

    Raises:
        LeakError: names each such feature with the evidence.
    """
    dataset = table.dataset
    allowed = set(dataset.allow_leaks)
    leaks = examine(table)
    refused = [leak for leak in leaks if leak.is_refused and not allowed & set(leak.columns)]
    if refused:
        title = f"These features give {dataset.target.column!r} away"
        faults = listing(title, [f"{leak}. {_way_out(leak)}" for leak in refused])
        names = dict.fromkeys(name for leak in refused for name in leak.columns)
        raise LeakError(
            f"{faults}\n"
            "A score reached with them says nothing about rows whose target is not known yet. "
            f"To keep them on purpose: {allow(names)}"
        )
    return tuple(leak for leak in leaks if leak.is_refused or not allowed & set(leak.columns))


def _way_out(leak: Leak) -> str:
    lines = [f"`{yaml_name(name)}: {{kind: leak}}`" for name in leak.columns]
    if not leak.partners:
        return f"Give it kind leak: {lines[0]}"
    return f"Give those that are known only with the target kind leak: {', '.join(lines)}"


def yaml_name(name: str) -> str:
    """Return a column's name as a dataset's YAML writes it."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    doubled = name.replace("'", "''")
    return f"'{doubled}'"


def allow(names: Iterable[str]) -> str:
    """Return the override that lets columns through."""
    quoted = []
    for name in names:
        if _PLAIN_NAME.fullmatch(name):
            quoted.append(name)
        else:
            escaped = name.replace("'", "\\'")
            quoted.append(f"'{escaped}'")
    return f"data.allow_leaks=[{','.join(quoted)}]"


def examine(table: Table) -> list[Leak]:
    """Return every feature, pair and total that gives the target away, or may.

    Args:
        table: checked rows; those without a target are left aside.
    """
    leaks = find_leaks(table, with_suspects=True)
    known = {leak.column for leak in leaks if leak.is_refused}
    leaks += find_within_levels(table, known)
    known |= {leak.column for leak in leaks if leak.is_refused}
    return leaks + find_formulas(table, known)


def find_leaks(
    table: Table, columns: Iterable[str] | None = None, *, with_suspects: bool = False
) -> list[Leak]:
    """Return the features that give the target away alone, by their values or their gaps.

    Args:
        table: checked rows; those without a target are left aside.
        columns: which columns to test; the features by default.
        with_suspects: also those that an honest column might look like.
    """
    if not table.has_target:
        return []
    is_known = np.isfinite(table.target)
    target = table.target[is_known]
    leaks = []
    is_trend = follows_rows(table)
    for name in columns if columns is not None else table.dataset.feature_names:
        found = judge_column(table.frame[name][is_known], target, is_trend=is_trend)
        if found is not None and (found.is_refused or with_suspects):
            leaks.append(Leak(name, found.test, found.text, is_refused=found.is_refused))
    return leaks


def follows_rows(table: Table) -> bool:
    """Return True if the target follows the file's order because the rows are ordered in time."""
    is_known = np.isfinite(table.target)
    frame = table.frame[is_known]
    order = np.argsort(frame.index.to_numpy(), kind="stable")
    names = table.dataset.of_kind("number")
    numbers = (frame[name].to_numpy(dtype=float)[order] for name in names)
    return is_a_trend(numbers, table.target[is_known][order])


def find_within_levels(table: Table, left_aside: Container[str] = ()) -> list[Leak]:
    """Return numbers that are a function of the target within each level of another column.

    A price without inflation is one within a year, a weight in two units within a unit.

    Args:
        table: checked rows; those without a target are left aside.
        left_aside: columns that are known to give it away alone.
    """
    if not table.has_target or follows_rows(table):
        return []
    frame = table.frame[np.isfinite(table.target)]
    target = table.target[np.isfinite(table.target)]
    levels = {}
    for name in table.dataset.feature_names:
        codes = pd.factorize(frame[name], use_na_sentinel=False)[0]
        if 1 < codes.max() + 1 <= MAX_PARTS:
            levels[name] = codes
    leaks = []
    for name in table.dataset.of_kind("number"):
        if name in left_aside or name in levels:
            continue
        values = frame[name].to_numpy(dtype=float)
        for other, codes in levels.items():
            share = share_within(values, target, codes, frame.index.to_numpy())
            if share:
                text = (
                    f"it is a function of the target among the rows of one {other} "
                    f"({share:.0%} of all rows)"
                )
                leaks.append(Leak(name, "exact", text))
                break
    return leaks


def find_formulas(table: Table, left_aside: Container[str] = ()) -> list[Leak]:
    """Return numbers that make the target together, as a pair or as a total of several.

    Parts of a sum that were left out of the features are looked at too: a person who took one part
    away on our advice has the other one still.

    Args:
        table: checked rows, of which the first 1,000 (pairs) and 5,000 (totals) are tested.
        left_aside: columns that are known to give it away alone.
    """
    if not table.has_target:
        return []
    is_known = np.isfinite(table.target)
    target = table.target[is_known]
    frame = table.frame[is_known]
    features = {
        name: frame[name].to_numpy(dtype=float)
        for name in table.dataset.of_kind("number")
        if name not in left_aside
    }
    parts = features | _read_left_out(table, frame, target)
    is_trend = follows_rows(table)
    formulas = find_pairs(parts, target, is_trend=is_trend)
    paired = {name for formula in formulas if formula.is_exact for name in formula.columns}
    rest = {name: values for name, values in parts.items() if name not in paired}
    totals = find_totals(rest, target, is_trend=is_trend)
    # Two of a total's ten parts come near it: of the two the total says more.
    summed = {name for total in totals for name in total.columns}
    formulas = [pair for pair in formulas if pair.is_exact or not summed & set(pair.columns)]
    formulas += totals
    leaks = []
    for formula in formulas:
        leak = _as_leak(formula, features)
        if leak is not None:
            leaks.append(leak)
    return leaks


def _as_leak(formula: Formula, features: Container[str]) -> Leak | None:
    """Return the leak that a formula shows, or None if the features alone no longer hold one."""
    test: Test = "pair" if len(formula.columns) == 2 else "total"  # noqa: PLR2004 - a pair
    inside = [name for name in formula.columns if name in features]
    outside = [name for name in formula.columns if name not in features]
    if not outside:
        first, *partners = inside
        return Leak(first, test, formula.text, tuple(partners), is_refused=formula.is_exact)
    # Of a difference, product or quotient the column that stays may well be known before: hours
    # worked beside a wage that is not. The part of a total is no more known than the total.
    if not inside or not formula.is_sum:
        return None
    evidence = f"{formula.text}, of which {', '.join(outside)} was left out"
    first, *partners = inside
    return Leak(first, test, evidence, tuple(partners), is_refused=False)


def _read_left_out(table: Table, frame: pd.DataFrame, target: FloatArray) -> dict[str, FloatArray]:
    """Return the columns of numbers that are no features and do not alone give the target away."""
    columns = {}
    for name, column in table.dataset.columns.items():
        if name in table.dataset.feature_names or column.kind == "id" or name not in frame:
            continue
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float)
        is_number = np.isfinite(values)
        if is_number.mean() < _MOSTLY:
            continue
        agreement = squared_correlation(rank(values[is_number]), rank(target[is_number]))
        if agreement < _ALONE_R2:
            columns[name] = np.where(is_number, values, np.nan)
    return columns
