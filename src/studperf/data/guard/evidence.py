"""Evidence that one column gives the target away, tested on rows whose targets were held back.

Rows that repeat one another are learnt by heart: where all rows of a town share a tax and a target,
the one can be read back from the other, and yet says nothing of a town that was not seen. So each
test holds back every row of a target's value, or of a column's value, at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from studperf.scoring.metrics import FloatArray

MIN_ROWS = 30
MAX_LEVELS = 50
"""A category of more levels is held against the target for exactness alone."""

Test = Literal["exact", "copy", "mean", "reverse", "pair", "total"]

# Numbers of at most this many values are read as levels: rounded or cut targets are.
_FEW_VALUES = 12
# Measured on 70 pairs of table and target: the leaks that are no exact function start at 0.95 (a
# target's flag with one label in a hundred flipped: 0.92), the strongest honest column has 0.92
# (a car's cylinders beside its displacement), the next 0.85.
_REFUSED_REVERSE = 0.97
_SUSPECT_REVERSE = 0.88
_MANY_LEVELS = 5
"""No honest column of so many levels was read back that well: an age group is, from the age."""
_SHARP_REVERSE = 0.86
_NEAR_SHARE = 0.03
_SHARP_PURITY = 0.95
# Squared rank correlations: the honest column nearest to 1 has 0.996 (people above 16 beside all
# people), a target written in another unit or with fewer digits 0.9999.
_REFUSED_RANK = 0.9999
_SUSPECT_RANK = 0.98
_SUSPECT_R2 = 0.99
_REFUSED_CURVE = 0.9999
# A target that rises with the years does so beside everything else that rises.
_TREND = 0.9
_SMOOTH = 0.8
_COUNTER = 0.999
_SIMPLE_R2 = 1 - 1e-6
_N_LEAVES = 40
_N_FOLDS = 5
_MIN_LEVEL_ROWS = 5
_MIN_DISTINCT = 20
# A value of the target is a mass of its own (the zeros of hours worked) if it is this many times as
# frequent as a typical one.
_MASS = 5
MAX_PARTS = 12
"""Levels of a column in which others are held against the target level by level."""
_MIN_PARTS_SHARE = 0.3
_N_FIRST_LOOK = 200
_MIN_MEANS = 5
_MEANS_SHARE = 0.2


@dataclass(frozen=True)
class Evidence:
    """Evidence that a column gives the target away, and whether it is beyond doubt."""

    test: Test
    text: str
    is_refused: bool


def judge_column(
    values: pd.Series, target: FloatArray, *, is_trend: bool = False
) -> Evidence | None:
    """Return the strongest evidence against a column, by its values or by where they are missing.

    Args:
        values: (N,) typed: numbers, or levels as text.
        target: (N,) finite.
        is_trend: the target follows the order of the rows, as other columns do; see `is_a_trend`.
    """
    present = values.notna().to_numpy()
    if is_trend:
        return _judge_in_trend(values[present], target[present])
    shown = _judge_values(values[present], target[present])
    if (shown is not None and shown.is_refused) or present.all() or not present.any():
        return shown
    missing = _judge_missing(present, target)
    if missing is not None and (shown is None or missing.is_refused):
        return missing
    return shown


def _judge_values(values: pd.Series, target: FloatArray) -> Evidence | None:
    """Return the strongest evidence of a column's values, by the tests that fit their kind."""
    codes, levels = pd.factorize(values, sort=True)
    n_levels = len(levels)
    if len(values) < MIN_ROWS or n_levels < 2 or np.ptp(target) == 0:  # noqa: PLR2004 - a constant
        return None
    is_number = pd.api.types.is_numeric_dtype(values)
    if is_number and n_levels > _FEW_VALUES:
        found = _judge_numbers(values.to_numpy(dtype=float), target)
        if found is not None and found.is_refused:
            return found
        steps = _find_steps(codes, n_levels, target) if n_levels <= MAX_LEVELS else None
        return Evidence("exact", steps, is_refused=True) if steps is not None else found
    if n_levels > max(MAX_LEVELS, len(values) / 2):
        return None
    steps = _find_steps(codes, n_levels, target)
    if steps is not None:
        return Evidence("exact", steps, is_refused=True)
    if n_levels > MAX_LEVELS:
        return None
    return _judge_levels(codes, target)


def _judge_in_trend(values: pd.Series, target: FloatArray) -> Evidence | None:
    """Return evidence that no common trend explains: a column is a plain function of the target."""
    if len(values) < MIN_ROWS or not pd.api.types.is_numeric_dtype(values):
        return None
    numbers = values.to_numpy(dtype=float)
    n_distinct = min(len(np.unique(numbers)), len(np.unique(target)))
    if n_distinct < _MIN_DISTINCT:
        return None
    pairs = [(numbers, target)]
    if (numbers > 0).all() and (target > 0).all():
        logs = np.log(numbers), np.log(target)
        pairs += [(logs[0], target), (numbers, logs[1]), logs]
    if max(squared_correlation(one, other) for one, other in pairs) < _SIMPLE_R2:
        return None
    text = "it is the target in another unit, its logarithm or its power"
    return Evidence("exact", text, is_refused=True)


def is_a_trend(numbers: Iterable[FloatArray], target: FloatArray) -> bool:
    """Return True if the target follows the order of the rows because they are ordered in time.

    Then whatever else rises or falls with time goes along with it, and gives nothing away. A file
    that someone sorted by its target is no trend: its other columns jump from row to row.

    Args:
        numbers: the other columns, (N,) each in the file's order, NaN where missing.
        target: (N,) likewise, finite.
    """
    order = np.arange(len(target), dtype=np.float64)
    target_ranks = rank(target)
    if len(target) < MIN_ROWS or squared_correlation(order, target_ranks) < _TREND:
        return False
    for values in numbers:
        is_known = np.isfinite(values)
        if is_known.sum() < MIN_ROWS:
            continue
        ranks, known = rank(values[is_known]), order[is_known]
        steps = np.diff(np.unique(values[is_known]))
        if len(steps) < _MIN_DISTINCT:
            continue  # a flag that cuts the target is smooth too where the file is sorted by it
        is_even = bool(np.ptp(steps) <= 1e-6 * steps.max())
        if is_even and squared_correlation(ranks, known) >= _COUNTER:
            return True  # years, or a counter of months
        is_apart = squared_correlation(ranks, target_ranks[is_known]) < _TREND
        if is_apart and curve_r2(known, ranks) >= _SMOOTH:
            return True
    return False


def _judge_missing(present: np.ndarray, target: FloatArray) -> Evidence | None:
    """Return the evidence of which rows have no value at all."""
    if len(target) < MIN_ROWS or np.ptp(target) == 0:
        return None
    codes = (~present).astype(int)
    steps = _find_steps(codes, 2, target)
    if steps is None:
        found = _judge_levels(codes, target)
    else:
        # A wage is missing where no hour was worked: that may be known before, a person has to say.
        sides = (target[present], target[~present])
        is_mass = any(np.ptp(side) == 0 for side in sides)
        found = Evidence("exact", steps, is_refused=not is_mass)
    if found is None:
        return None
    text = f"whether it is missing gives the target away: {found.text}"
    return Evidence(found.test, text, found.is_refused)


def _find_steps(codes: np.ndarray, n_levels: int, target: FloatArray) -> str | None:
    """Return where the steps lie if the levels are a step function of the target.

    Sorted by the target, each level of a step function is one unbroken run.
    """
    distinct = np.unique(target)
    n_outside = len(codes) - np.bincount(codes).max()
    if n_outside < _MIN_LEVEL_ROWS or len(distinct) < n_levels:
        return None
    order = np.lexsort((codes, target))
    runs, sorted_target = codes[order], target[order]
    steps = np.flatnonzero(np.diff(runs))
    if len(steps) + 1 != n_levels:
        return None
    below, above = sorted_target[steps], sorted_target[steps + 1]
    if (below == above).any():
        return None  # the same target with two levels: they do not follow from the target
    if not _is_independent(runs, sorted_target):
        return None
    middles = (below[:3] + above[:3]) / 2
    edges = ", ".join(f"{edge:g}" for edge in middles)
    more = ", ..." if len(steps) > 3 else ""  # noqa: PLR2004 - those that are shown
    return f"it is an exact step function of the target (steps at {edges}{more})"


def _is_independent(runs: np.ndarray, target: FloatArray) -> bool:
    """Return True if an unbroken run means more than that rows repeat one another.

    Where all rows of a town share a level and a target, each town is an unbroken run whatever its
    level. Counted are therefore distinct targets, not rows.
    """
    distinct, first, counts = np.unique(target, return_index=True, return_counts=True)
    levels = runs[first]
    n_levels = len(np.unique(levels))
    rises = np.diff(levels)
    is_ordered = bool((rises >= 0).all() or (rises <= 0).all())
    if is_ordered and n_levels > _FEW_VALUES:
        return True
    per_level = np.bincount(levels)
    n_outside = len(distinct) - per_level.max()
    if n_outside >= _MIN_LEVEL_ROWS and len(distinct) >= 3 * n_levels:
        return True
    # The rows that did no hour of work: one value of the target, but a mass of rows of its own.
    ends = counts[[0, -1]]
    is_mass = bool(ends.max() >= max(_MIN_LEVEL_ROWS, _MASS * np.median(counts)))
    return n_levels == 2 and n_outside == 1 and is_mass  # noqa: PLR2004 - a flag


def _judge_levels(codes: np.ndarray, target: FloatArray) -> Evidence | None:
    """Return the evidence that levels can be read back from the target, if they can."""
    n_levels = int((np.bincount(codes) >= _MIN_LEVEL_ROWS).sum())
    is_sharp = n_levels == 2 and _is_sharp(codes, target)  # noqa: PLR2004 - a flag
    needed = _SHARP_REVERSE if is_sharp else _SUSPECT_REVERSE
    score = reverse_score(codes, target, needed=needed)
    if score < needed:
        return None
    text = (
        "a small tree reads it back from the target, among targets that it has not seen "
        f"(chance-corrected accuracy {score:.2f})"
    )
    is_refused = is_sharp or score >= _REFUSED_REVERSE or n_levels >= _MANY_LEVELS
    return Evidence("reverse", text, is_refused)


def _is_sharp(codes: np.ndarray, target: FloatArray) -> bool:
    """Return True if a flag turns over from one target to the next, with errors that lie anywhere.

    An honest flag's levels overlap about the step; a cut of the target, some of whose labels are
    wrong, is as pure beside the step as far from it.
    """
    order = np.argsort(target, kind="stable")
    flags = (codes[order] == np.argmax(np.bincount(codes))).astype(float)
    n_left = np.arange(1, len(flags))
    ones = np.cumsum(flags)[:-1]
    # The step that leaves the fewest rows on the wrong side.
    ones_above = flags.sum() - ones
    zeros_above = len(flags) - n_left - ones_above
    n_wrong = np.minimum(ones + zeros_above, n_left - ones + ones_above)
    step = int(np.argmin(n_wrong)) + 1
    n_near = max(_MIN_DISTINCT, int(_NEAR_SHARE * len(flags)))
    below = flags[max(0, step - n_near) : step]
    above = flags[step : step + n_near]
    shares = [side.mean() for side in (below, above) if len(side)]
    purities = [max(share, 1 - share) for share in shares]
    is_turned = round(float(below.mean())) != round(float(above.mean()))
    return is_turned and min(purities) >= _SHARP_PURITY


def reverse_score(
    codes: np.ndarray,
    target: FloatArray,
    *,
    needed: float = -np.inf,
) -> float:
    """Return how well a level is read back from targets that were held back.

    Cross-validated balanced accuracy, 0 at chance and 1 when perfect. Rows of one target stay in
    one fold, so that a place whose rows share both target and level is not learnt by heart.

    Args:
        codes: (N,) levels as integers; levels too rare to be cross-validated are left aside.
        target: (N,).
        needed: as soon as this can no longer be reached, the most that could be is returned. Of
            honest columns two folds say so.
    """
    from sklearn.tree import DecisionTreeClassifier

    is_frequent = np.bincount(codes)[codes] >= _MIN_LEVEL_ROWS
    if is_frequent.mean() < 0.9:  # noqa: PLR2004 - what is left would stand for too few rows
        return 0.0
    levels, codes, n_rows = np.unique(codes[is_frequent], return_inverse=True, return_counts=True)
    target = target[is_frequent, None]
    if len(levels) < 2:  # noqa: PLR2004 - nothing to tell apart
        return 0.0
    tree = DecisionTreeClassifier(
        max_leaf_nodes=_N_LEAVES, min_samples_leaf=2, class_weight="balanced", random_state=0
    )
    folds = _draw_folds(target[:, 0])
    n_wrong = np.zeros_like(n_rows)
    score = 1.0
    for fold in range(_N_FOLDS):
        test = folds == fold
        if test.all() or not test.any():
            return 0.0
        tree.fit(target[~test], codes[~test])
        is_wrong = tree.predict(target[test]) != codes[test]
        n_wrong += np.bincount(codes[test][is_wrong], minlength=len(levels))
        recall = np.mean((n_rows - n_wrong) / n_rows)
        chance = 1 / len(levels)
        score = float((recall - chance) / (1 - chance))
        if score < needed:
            break
    return score


def _draw_folds(values: FloatArray) -> np.ndarray:
    """Return a fold for each row, the same for equal values."""
    distinct, inverse = np.unique(values, return_inverse=True)
    fold_of = np.random.default_rng(0).permutation(len(distinct)) % _N_FOLDS
    return np.asarray(fold_of[inverse])


def _judge_numbers(values: FloatArray, target: FloatArray) -> Evidence | None:
    """Return the strongest evidence that numbers are the target, a curve or a mean of it."""
    if _is_monotone(values, target):
        text = "it rises or falls with the target without exception: a function of the target"
        return Evidence("exact", text, is_refused=True)
    ranks, target_ranks = rank(values), rank(target)
    n_distinct = min(len(np.unique(values)), len(np.unique(target)))
    if n_distinct < _MIN_DISTINCT:
        return None
    agreement = squared_correlation(ranks, target_ranks)
    if agreement >= _REFUSED_RANK:
        text = f"it orders the rows as the target does (squared rank correlation {agreement:.5f})"
        return Evidence("copy", text, is_refused=True)
    curve = curve_r2(target, ranks) if agreement < _SUSPECT_RANK else 0.0
    if curve >= _REFUSED_CURVE:
        text = f"it follows from the target: from the targets beside a row's own, R2 {curve:.4f}"
        return Evidence("exact", text, is_refused=True)
    n_means, share = _share_of_means(values, target)
    if n_means >= _MIN_MEANS and share >= _MEANS_SHARE:
        text = f"it is the target's mean over the rows that share it ({share:.0%} of its values)"
        return Evidence("mean", text, is_refused=True)
    if agreement < _SUSPECT_RANK:
        return None
    held_back = min(_isotonic_r2(values, target), _isotonic_r2(values, target_ranks))
    if held_back < _SUSPECT_R2:
        return None
    text = f"alone it predicts rows that were held back with R2 {held_back:.3f}"
    return Evidence("copy", text, is_refused=False)


def share_within(
    values: FloatArray, target: FloatArray, codes: np.ndarray, order: np.ndarray
) -> float:
    """Return the share of rows in whose level a column rises or falls with the target throughout.

    0 where that is less than three in ten, or where the levels of most rows that could be tested
    disagree.

    Args:
        values: (N,) NaN where missing.
        target: (N,) finite.
        codes: (N,) levels of another column.
        order: (N,) each row's place in the file; a level whose target follows it is left aside.
    """
    n_agreeing = n_tested = 0
    # The largest level first: nearly every honest column fails there.
    for code in np.argsort(-np.bincount(codes)):
        rows = np.flatnonzero((codes == code) & np.isfinite(values))
        part, goal = values[rows], target[rows]
        if len(rows) < MIN_ROWS:
            break
        few = slice(0, _N_FIRST_LOOK)
        is_function = _is_monotone(part[few], goal[few]) and _is_monotone(part, goal)
        if is_function:
            n_distinct = min(len(np.unique(part)), len(np.unique(goal)))
            by_order = squared_correlation(rank(order[rows]), rank(goal))
            if n_distinct < _MIN_DISTINCT or by_order >= _TREND:
                continue
        n_tested += len(rows)
        if is_function:
            n_agreeing += len(rows)
        elif n_tested > len(values) / 2:
            return 0.0
    share = n_agreeing / len(values)
    if share >= _MIN_PARTS_SHARE and n_agreeing > n_tested / 2:
        return share
    return 0.0


def _is_monotone(values: FloatArray, target: FloatArray) -> bool:
    """Return True if the values rise or fall with the target; equal targets need equal values."""
    order = np.lexsort((values, target))
    steps = np.diff(values[order])
    is_tied = np.diff(target[order]) == 0
    if (steps[is_tied] != 0).any():
        return False
    return bool((steps >= 0).all() or (steps <= 0).all())


def rank(values: FloatArray) -> FloatArray:
    """Return each value's rank, the mean one among equals."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle = last - (counts - 1) / 2
    return np.asarray(middle[inverse], dtype=np.float64)


def squared_correlation(one: FloatArray, other: FloatArray) -> float:
    """Return the squared correlation of two arrays; 0 where one is constant."""
    one, other = one - one.mean(), other - other.mean()
    size = float(one @ one) * float(other @ other)
    if size <= 0:
        return 0.0
    return float(one @ other) ** 2 / size


def curve_r2(given: FloatArray, sought: FloatArray) -> float:
    """Return the R2 of predicting `sought` from neighbours in `given`: 1 on a smooth curve.

    Each distinct value of `given` is held back with all its rows, and the mean of both neighbours'
    stands for it. Rows at the ends have one neighbour only and are left aside.
    """
    distinct, inverse, counts = np.unique(given, return_inverse=True, return_counts=True)
    if len(distinct) < _MIN_DISTINCT:
        return 0.0
    means = np.bincount(inverse, weights=sought) / counts
    guess = np.full(len(distinct), np.nan)
    guess[1:-1] = (means[:-2] + means[2:]) / 2
    is_inside = (inverse > 0) & (inverse < len(distinct) - 1)
    rest = (sought - guess[inverse])[is_inside]
    whole = float(((sought - sought.mean()) ** 2).sum())
    return 1 - float(rest @ rest) / whole if whole else 0.0


def _isotonic_r2(values: FloatArray, target: FloatArray) -> float:
    """Return how well a monotone curve predicts rows whose column values were held back."""
    from sklearn.isotonic import isotonic_regression

    ranks = rank(values)
    is_rising = bool(np.corrcoef(ranks, target)[0, 1] > 0)
    folds = _draw_folds(values)
    guess = np.empty_like(target)
    for fold in range(_N_FOLDS):
        test = folds == fold
        x, y = values[~test], target[~test]
        order = np.argsort(x, kind="stable")
        fitted = isotonic_regression(y[order], increasing=is_rising)
        guess[test] = np.interp(values[test], x[order], fitted)
    rest = float(((target - guess) ** 2).sum())
    return 1 - rest / float(((target - target.mean()) ** 2).sum())


def _share_of_means(values: FloatArray, target: FloatArray) -> tuple[int, float]:
    """Return how many values are the mean target of the rows that share them, and their share.

    Looked at are values that several rows of different targets share: what a target-encoded
    category looks like.
    """
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=target) / counts
    squares = np.bincount(inverse, weights=target**2) / counts
    scale = float(np.abs(target).max()) or 1.0
    is_group = (counts > 1) & (squares - means**2 > (1e-6 * scale) ** 2)
    if not is_group.any():
        return 0, 0.0
    is_mean = is_group & (np.abs(means - distinct) < 1e-6 * scale)
    return int(is_mean.sum()), float(is_mean.sum() / is_group.sum())
