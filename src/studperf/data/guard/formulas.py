"""Formulas that give the target away: a sum, difference, product or quotient of two, or a total.

Only formulas without anything to fit, or fitted on one half of the rows and tried on the other, so
that what they reach is no luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from studperf.data.guard.evidence import MIN_ROWS
from studperf.scoring.metrics import FloatArray

MAX_PAIRED = 200
"""Most columns that are searched: the search for pairs costs their square, 3 s for so many."""
_N_PAIR_ROWS = 1000
_N_TOTAL_ROWS = 5000
_PAIR_R2 = 0.999
_EXACT_R2 = 0.9999
_TOTAL_R2 = 0.99999
_TREND_R2 = 1 - 1e-7
"""What rises with time adds up to anything else that does, to four digits."""
_ROUNDED_SHARE = 0.95
# What a pair leaves unexplained, as a share of what its better half leaves: with 0.1, people above
# 16 and any small number are no pair.
_PAIR_GAIN = 0.05
_MAX_MISSING = 0.2
_N_TOTALS = 5
_MIN_STEPS = 20
_COARSE = 1e-4
_SAME_WEIGHT = 0.01
_LARGEST = 1e75


@dataclass(frozen=True)
class Formula:
    """Columns that make the target together."""

    columns: tuple[str, ...]
    text: str
    r2: float
    is_sum: bool
    """True if the target is the plain sum of them, each part at least 0."""
    is_exact: bool = True
    """True if the formula misses the target by rounding alone."""


@dataclass(frozen=True)
class _Pair:
    """The best formula of one column with an earlier one."""

    first: int
    """The earlier column's place."""
    formula: str
    goal: str
    r2: float
    is_rounded: bool


def find_pairs(
    columns: Mapping[str, FloatArray], target: FloatArray, *, is_trend: bool = False
) -> list[Formula]:
    """Return pairs of columns that make the target: for each the best one with an earlier column.

    Args:
        columns: (N,) each, NaN where missing.
        target: (N,) finite.
        is_trend: the rows follow one another in time, see `evidence.is_a_trend`.
    """
    names = list(columns)
    if len(names) > MAX_PAIRED or not _is_enough(target):
        return []
    rows = slice(0, _N_PAIR_ROWS)
    target = target[rows]
    table = np.empty((0, 0))
    if names:
        table = np.column_stack([columns[name][rows] for name in names])
    goals = {"the target": target}
    if (target > 0).all():
        goals["the target's logarithm"] = np.log(target)
    found = []
    for later in range(1, len(names)):
        best = _best_pair(table, later, goals)
        if best is None:
            continue
        pair = (names[best.first], names[later])
        parts = table[:, [best.first, later]]
        is_sum = best.formula == "{0} + {1}" and not (parts < 0).any()
        text = f"{best.formula.format(*pair)} gives {best.goal}, R2 {best.r2:.4f}"
        wanted_r2 = _TREND_R2 if is_trend else _EXACT_R2
        is_exact = best.r2 >= wanted_r2 or best.is_rounded
        if is_exact or not is_trend:
            found.append(Formula(pair, text, best.r2, is_sum, is_exact))
    return found


def _best_pair(table: FloatArray, later: int, goals: Mapping[str, FloatArray]) -> _Pair | None:
    """Return the best pair that the column at `later` makes with one before it, if there is any."""
    one, others = table[:, [later]], table[:, :later]
    best: _Pair | None = None
    for goal, wanted in goals.items():
        alone = np.maximum(squared_correlations(others, wanted), squared_correlations(one, wanted))
        for formula, made in _combine(others, one, are_logs=goal != "the target"):
            r2 = squared_correlations(made, wanted)
            is_pair = (r2 >= _PAIR_R2) & (1 - r2 <= _PAIR_GAIN * (1 - alone))
            r2 = np.where(is_pair, r2, 0)
            first = int(np.argmax(r2))
            if r2[first] > (best.r2 if best else 0):
                is_near = is_rounded(made[:, first], wanted)
                best = _Pair(first, formula, goal, float(r2[first]), is_near)
    return best


def _combine(
    others: FloatArray, one: FloatArray, *, are_logs: bool
) -> Iterator[tuple[str, FloatArray]]:
    """Yield each formula with what it makes of a column and the ones before it."""
    yield "{0} + {1}", others + one
    yield "{0} - {1}", others - one
    if are_logs:
        return  # a product's logarithm is the sum of logarithms
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        yield "{0} * {1}", others * one
        yield "{0} / {1}", others / one
        yield "{1} / {0}", one / others


def _can_be_squared(values: FloatArray) -> np.ndarray:
    """Return True for each value that can be computed with.

    A quotient by a number near 0 can be so large that its square leaves the range of floats.
    """
    return np.abs(values) < _LARGEST


def squared_correlations(columns: FloatArray, target: FloatArray) -> FloatArray:
    """Return the squared correlations (C,) of columns (N, C) with the target (N,).

    Rows without a value are left aside; where too few are left, the result is 0.
    """
    is_known = _can_be_squared(columns)
    n_known = np.maximum(is_known.sum(axis=0), 1)
    x = np.where(is_known, columns, 0)
    y = np.where(is_known, target[:, None], 0)
    x = np.where(is_known, x - x.sum(axis=0) / n_known, 0)
    y = np.where(is_known, y - y.sum(axis=0) / n_known, 0)
    of_x = (x**2).sum(axis=0)
    of_y = (y**2).sum(axis=0)
    size = of_x * of_y
    together = (x * y).sum(axis=0)
    shares = together**2 / np.where(size > 0, size, 1)
    is_sound = (size > 0) & (n_known >= MIN_ROWS)
    return np.asarray(np.where(is_sound, shares, 0))


def is_rounded(made: FloatArray, target: FloatArray) -> bool:
    """Return True if a formula's line misses nearly every target by less than its last digit."""
    is_known = _can_be_squared(made)
    x, y = made[is_known], target[is_known]
    steps = np.diff(np.unique(y))
    if len(y) < MIN_ROWS or not len(steps) or not x.var():
        return False
    centred = x - x.mean()
    covariance = float((centred * (y - y.mean())).mean())
    slope = covariance / float(x.var())
    rest = y - y.mean() - slope * centred
    # Of a target with six digits no two need be a last digit apart: then this says no.
    last_digit = float(steps.min())
    is_coarse = len(steps) >= _MIN_STEPS and last_digit > _COARSE * float(y.std())
    return is_coarse and bool((np.abs(rest) <= last_digit).mean() >= _ROUNDED_SHARE)


def find_totals(
    columns: Mapping[str, FloatArray], target: FloatArray, *, is_trend: bool = False
) -> list[Formula]:
    """Return sets of columns whose weighted sum is the target, also on rows not used to fit it.

    Args:
        columns: (N,) each; those with more than a fifth of their values missing are left aside.
        target: (N,) finite.
        is_trend: the rows follow one another in time, see `evidence.is_a_trend`.
    """
    wanted = _TREND_R2 if is_trend else _TOTAL_R2
    names = [name for name in columns if np.isnan(columns[name]).mean() <= _MAX_MISSING]
    found: list[Formula] = []
    while len(found) < _N_TOTALS:
        total = _find_total(names, columns, target, wanted)
        if total is None:
            break
        found.append(total)
        names = [name for name in names if name not in total.columns]
    return found


def _find_total(
    names: Sequence[str],
    columns: Mapping[str, FloatArray],
    target: FloatArray,
    wanted: float,
) -> Formula | None:
    """Return one total among the named columns, with as few of them as it needs."""
    names = list(names)
    if len(names) < 2 or len(names) > MAX_PAIRED:  # noqa: PLR2004 - one is no total
        return None
    table = np.column_stack([columns[name] for name in names])
    is_whole = _can_be_squared(table).all(axis=1)
    table, target = table[is_whole][:_N_TOTAL_ROWS], target[is_whole][:_N_TOTAL_ROWS]
    if len(target) < max(MIN_ROWS, 4 * len(names)) or not _is_enough(target):
        return None
    halves = _Halves.split(table, target)
    kept = list(range(len(names)))
    weights, r2 = halves.fit(kept)
    if r2 < wanted:
        return None
    for index in np.argsort(np.abs(weights) * table.std(axis=0)):
        fewer = [column for column in kept if column != index]
        if fewer and halves.fit(fewer)[1] >= wanted:
            kept = fewer
    if len(kept) < 2:  # noqa: PLR2004 - one is no total
        return None
    names, table = [names[index] for index in kept], table[:, kept]
    weights, r2 = halves.fit(kept)
    is_plain = bool(np.allclose(weights, 1, atol=_SAME_WEIGHT))
    sizes = np.abs(weights)
    # Parts are counted in one unit. Weights of several sizes are those of a law, which may well be
    # honest: a table computed by a formula, without noise, has no other.
    is_of_parts = bool(np.ptp(sizes) <= _SAME_WEIGHT * sizes.mean())
    text = f"{_write_sum(names, weights)} gives the target, R2 {r2:.5f}"
    is_sum = is_plain and not (table < 0).any()
    return Formula(tuple(names), text, r2, is_sum, is_exact=is_of_parts)


@dataclass(frozen=True)
class _Halves:
    """Standardised columns in two halves: every other row fits weights, the others test them."""

    gram: FloatArray
    moments: FloatArray
    tried: FloatArray
    sought: FloatArray
    spread: FloatArray

    @classmethod
    def split(cls, table: FloatArray, target: FloatArray) -> _Halves:
        """Return the halves of a table without missing values."""
        spread = table.std(axis=0)
        spread = np.where(spread > 0, spread, 1)
        x = (table - table[::2].mean(axis=0)) / spread
        y = target - target[::2].mean()
        taught, goal = x[::2], y[::2]
        return cls(
            gram=taught.T @ taught,
            moments=taught.T @ goal,
            tried=x[1::2],
            sought=y[1::2],
            spread=spread,
        )

    def fit(self, kept: Sequence[int]) -> tuple[FloatArray, float]:
        """Return least-squares weights of some columns, and their R2 on the other half."""
        columns = list(kept)
        # The products once, not the rows again for each set: 200 columns would take a minute.
        gram = self.gram[np.ix_(columns, columns)]
        fitted, *_ = np.linalg.lstsq(gram, self.moments[columns])
        rest = self.sought - self.tried[:, columns] @ fitted
        whole = self.sought - self.sought.mean()
        size = float(whole @ whole)
        r2 = 1 - float(rest @ rest) / size if size else 0.0
        return fitted / self.spread[columns], r2


def _write_sum(names: Sequence[str], weights: FloatArray) -> str:
    """Return the weighted sum as people write it."""
    text = ""
    for name, weight in zip(names, weights, strict=True):
        sign = "-" if weight < 0 else "+"
        size = abs(weight)
        factor = "" if abs(size - 1) < 0.01 else f"{size:.3g} "  # noqa: PLR2004 - about 1
        if text:
            text += f" {sign} {factor}{name}"
        elif weight < 0:
            text = f"-{factor}{name}"
        else:
            text = f"{factor}{name}"
    return text


def _is_enough(target: FloatArray) -> bool:
    return len(target) >= MIN_ROWS and bool(np.ptp(target) > 0)
