"""Finds columns that give the target away, and columns that were left out though they carry signal.

A single-column R2 can't tell a leak from a good feature: `passed` explains 35 % of the score, the honest `last_exam_score` 46 %. Two
tests can (measured on the real table): does the column follow from the target exactly, and can it be read back from the target?
A third one asks the same of two columns together, as of parts that add up to the target, or of a price per square metre beside the area.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from studperf.config.dataset import Dataset
from studperf.data.schema import Table, as_levels
from studperf.errors import LeakError, listing

# Real leaks score 0.81 (target + N(0,1)) to 1, the strongest honest column 0.11, and 0.52 after cutting it in two.
REVERSE_THRESHOLD = 0.75
MAX_LEVELS = 50
_N_BINS = 10
_N_LEAVES = 40
_N_FOLDS = 5
_MIN_LEVEL_ROWS = 5
_MIN_ROWS = 30
_MIN_SIGNAL = 0.02
_PAIR_R2 = 0.999
_N_PAIR_ROWS = 1000
_MAX_PAIRED = 200  # columns; the test's cost rises with their square, to 2 s here


@dataclass(frozen=True)
class Leak:
    """A column that gives the target away, and how that was seen."""

    column: str
    test: Literal["exact", "reverse", "pair"]
    evidence: str

    def __str__(self) -> str:
        """As a line of a message."""
        return f"{self.column}: {self.evidence}"


def guard(table: Table) -> tuple[Leak, ...]:
    """Refuses a table in which a feature gives the target away; returns the leaks that `allow_leaks` lets through.

    Args:
        table: the training rows.

    Raises:
        LeakError: names each such feature with the evidence.
    """
    dataset = table.dataset
    leaks = find_leaks(table)
    leaks += find_pairs(table, {leak.column for leak in leaks})
    refused = [leak for leak in leaks if leak.column not in dataset.allow_leaks]
    if refused:
        names = ",".join(leak.column for leak in refused)
        way_out = [f"{leak}. Give it kind leak or unused" for leak in refused]
        raise LeakError(
            listing(f"These features give {dataset.target.column!r} away", way_out)
            + f"\nA score reached with them says nothing about rows whose target is not known yet. To keep them on purpose: data.allow_leaks=[{names}]"
        )
    return tuple(leaks)


def find_leaks(table: Table, columns: Iterable[str] | None = None) -> list[Leak]:
    """Tests each feature, and whether a value is missing, against the target.

    Args:
        table: checked rows; those without a target are left aside.
        columns: which columns to test; the features by default.
    """
    if not table.has_target:
        return []
    known = np.isfinite(table.target)
    target = table.target[known]
    leaks = []
    for name in columns if columns is not None else table.dataset.feature_names:
        values = table.frame[name][known]
        leak = _test_column(name, values, target)
        if leak is None and 0 < values.isna().sum() < len(values):
            leak = _test_column(name, values.isna().astype(float), target)
            if leak is not None:
                leak = Leak(
                    name, leak.test, f"whether it is missing gives the target away: {leak.evidence}"
                )
        if leak is not None:
            leaks.append(leak)
    return leaks


def find_pairs(table: Table, left_aside: Container[str] = ()) -> list[Leak]:
    """Numbers of which two give the target away together: as their sum, difference, product or quotient.

    A pair is told once, as its later column. More than 200 columns are not looked at.

    Args:
        table: checked rows, of which the first 1,000 with a target are tested.
        left_aside: columns that are known to give it away alone.
    """
    names = [name for name in table.dataset.of_kind("number") if name not in left_aside]
    if not table.has_target or len(names) > _MAX_PAIRED:
        return []
    rows = np.flatnonzero(np.isfinite(table.target))[:_N_PAIR_ROWS]
    target = table.target[rows]
    if len(rows) < _MIN_ROWS or np.ptp(target) == 0:
        return []
    columns = table.frame[names].iloc[rows].to_numpy(dtype=float)
    leaks = []
    for later in range(1, len(names)):
        one, others = columns[:, [later]], columns[:, :later]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            made = {
                "{0} + {1}": others + one,
                "{0} - {1}": others - one,
                "{0} * {1}": others * one,
                "{0} / {1}": others / one,
                "{1} / {0}": one / others,
            }
        scores = {
            formula: _squared_correlations(values, target) for formula, values in made.items()
        }
        best = max(scores, key=lambda formula: scores[formula].max())
        first = int(np.argmax(scores[best]))
        if (score := float(scores[best][first])) >= _PAIR_R2:
            text = f"{best.format(names[first], names[later])} gives the target, R2 {score:.4f}"
            leaks.append(Leak(names[later], "pair", text))
    return leaks


def _squared_correlations(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(C,) of columns (N, C) with the target (N,), over the rows in which a column has a value; 0 where they are too few."""
    is_known = np.isfinite(columns)
    n_known = np.maximum(is_known.sum(axis=0), 1)
    x = np.where(is_known, columns, 0)
    y = np.where(is_known, target[:, None], 0)
    x = np.where(is_known, x - x.sum(axis=0) / n_known, 0)
    y = np.where(is_known, y - y.sum(axis=0) / n_known, 0)
    # A quotient by a number near 0 can be so large that its square is infinite: it tells nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        size = (x**2).sum(axis=0) * (y**2).sum(axis=0)
        is_told = (size > 0) & np.isfinite(size) & (n_known >= _MIN_ROWS)
        shares = (x * y).sum(axis=0) ** 2 / np.where(is_told, size, 1)
    return np.where(is_told, shares, 0)


def _test_column(name: str, values: pd.Series, target: np.ndarray) -> Leak | None:
    present = values.notna().to_numpy()
    values, target = values[present], target[present]
    if len(values) < _MIN_ROWS or values.nunique() < 2 or np.ptp(target) == 0:  # noqa: PLR2004 - a constant
        return None
    codes, n_levels = pd.factorize(values, sort=True)[0], values.nunique()
    is_number = pd.api.types.is_numeric_dtype(values)
    if n_levels <= MAX_LEVELS or (not is_number and n_levels <= len(values) / 2):
        if (evidence := _exact_test(codes, n_levels, target)) is not None:
            return Leak(name, "exact", evidence)
        if n_levels > MAX_LEVELS:
            return None
    elif is_number:
        if (evidence := _monotone_test(values.to_numpy(dtype=float), target)) is not None:
            return Leak(name, "exact", evidence)
        codes = pd.qcut(values, _N_BINS, labels=False, duplicates="drop").to_numpy()
    else:
        return None
    score = reverse_score(codes, target, needed=REVERSE_THRESHOLD)
    if score >= REVERSE_THRESHOLD:
        return Leak(
            name,
            "reverse",
            f"a small tree reads it back from the target (chance-corrected accuracy {score:.2f})",
        )
    return None


def _exact_test(codes: np.ndarray, n_levels: int, target: np.ndarray) -> str | None:
    """Sorted by the target, each level of a step function of the target is one unbroken run."""
    if len(codes) - np.bincount(codes).max() < _MIN_LEVEL_ROWS or len(np.unique(target)) < n_levels:
        return None
    order = np.lexsort((codes, target))
    n_runs = 1 + int((np.diff(codes[order]) != 0).sum())
    if n_runs != n_levels:
        return None
    steps = np.flatnonzero(np.diff(codes[order]))
    if any(target[order[i]] == target[order[i + 1]] for i in steps):
        return None  # the same target with two levels: it does not follow from the target
    edges = ", ".join(f"{(target[order[i]] + target[order[i + 1]]) / 2:g}" for i in steps[:3])
    return f"it is an exact step function of the target (steps at {edges}{', ...' if len(steps) > 3 else ''})"  # noqa: PLR2004


def _monotone_test(values: np.ndarray, target: np.ndarray) -> str | None:
    order = np.lexsort((values, target))
    steps = np.diff(values[order])
    tied = np.diff(target[order]) == 0
    if (steps[tied] != 0).any() or not ((steps >= 0).all() or (steps <= 0).all()):
        return None
    return "it rises or falls with the target without exception: a function of the target"


def reverse_score(codes: np.ndarray, target: np.ndarray, *, needed: float = -np.inf) -> float:
    """How well a level is read back from the target: cross-validated balanced accuracy, 0 at chance and 1 when perfect.

    Args:
        codes: (N,) levels as integers; levels too rare to be cross-validated are left aside.
        target: (N,).
        needed: as soon as this can no longer be reached, the most that could be is returned. Of honest columns two folds say so.
    """
    from sklearn.model_selection import StratifiedKFold
    from sklearn.tree import DecisionTreeClassifier

    counts = np.bincount(codes)
    frequent = counts[codes] >= _MIN_LEVEL_ROWS
    levels, codes, n_rows = np.unique(codes[frequent], return_inverse=True, return_counts=True)
    target = target[frequent, None]
    if len(levels) < 2:  # noqa: PLR2004 - nothing to tell apart
        return 0.0
    tree = DecisionTreeClassifier(
        max_leaf_nodes=_N_LEAVES, min_samples_leaf=2, class_weight="balanced", random_state=0
    )
    n_wrong = np.zeros_like(n_rows)
    score = 1.0
    for train, test in StratifiedKFold(_N_FOLDS, shuffle=True, random_state=0).split(target, codes):
        is_wrong = tree.fit(target[train], codes[train]).predict(target[test]) != codes[test]
        n_wrong += np.bincount(codes[test][is_wrong], minlength=len(levels))
        recall = np.mean((n_rows - n_wrong) / n_rows)
        score = float((recall - 1 / len(levels)) / (1 - 1 / len(levels)))
        if score < needed:
            break
    return score


def left_out_signal(table: Table, dataset: Dataset) -> list[tuple[str, float]]:
    """Columns that are no feature though they explain the target, strongest first, with the share of variance each explains alone.

    The project that studperf grew out of dropped its three best columns, and nothing said so. Leaks and ids are not looked at.
    """
    target = table.target
    shares = []
    for name, column in dataset.columns.items():
        if (
            name in dataset.feature_names
            or column.kind in ("id", "leak")
            or name not in table.frame
        ):
            continue
        share = _explained(table.frame[name], target)
        if share >= _MIN_SIGNAL:
            shares.append((name, share))
    return sorted(shares, key=lambda pair: -pair[1])


def _explained(values: pd.Series, target: np.ndarray) -> float:
    numbers = pd.to_numeric(values, errors="coerce").replace([np.inf, -np.inf], np.nan)
    if numbers.notna().mean() > 0.9 and numbers.nunique() > 2:  # noqa: PLR2004 - a number, with some cells missing
        known = numbers.notna().to_numpy()
        return float(np.corrcoef(numbers[known], target[known])[0, 1] ** 2)
    levels = as_levels(values)
    if not 1 < levels.nunique() <= min(MAX_LEVELS, len(levels) / 2):
        return 0.0
    means = pd.Series(target, index=values.index).groupby(levels).transform("mean")
    n_levels = levels.nunique()
    share = float(means.var(ddof=0) / target.var())
    return max(0.0, 1 - (1 - share) * (len(target) - 1) / (len(target) - n_levels))
