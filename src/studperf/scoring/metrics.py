"""Errors of predictions and their intervals: pure functions on arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

N_RESAMPLES = 2000
_MAX_BLOCKS = 5000
_MAX_KEPT = 1000  # rows: 4 MB of draws
_SEED = 20_000
_CHUNK = 200


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign is certain."""
        return self.low > 0 or self.high < 0


def _check(predicted: FloatArray, actual: FloatArray) -> None:
    if predicted.shape != actual.shape or predicted.ndim != 1 or not len(actual):
        raise ValueError(
            f"expected two equal vectors with at least one row, got {predicted.shape} and {actual.shape}"
        )


def rmse(predicted: FloatArray, actual: FloatArray) -> float:
    """Root mean squared error, in the target's unit.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    return float(np.sqrt(np.mean((predicted - actual) ** 2)))


def mae(predicted: FloatArray, actual: FloatArray) -> float:
    """Mean absolute error, in the target's unit.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    return float(np.mean(np.abs(predicted - actual)))


def r2(predicted: FloatArray, actual: FloatArray) -> float:
    """Share of the variance explained; 0 for the mean of these rows, NaN when they do not vary.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    if np.ptp(actual) == 0:  # their mean can differ from them by rounding
        return float("nan")
    return float(1 - np.sum((predicted - actual) ** 2) / np.sum((actual - actual.mean()) ** 2))


def bias(predicted: FloatArray, actual: FloatArray) -> float:
    """Mean of predicted minus actual, in the target's unit.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    return float(np.mean(predicted - actual))


def scores(predicted: FloatArray, actual: FloatArray) -> dict[str, Interval]:
    """RMSE, MAE, R2 and bias with bootstrap percentile intervals over rows.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    error = predicted - actual
    centred = (
        actual - actual.mean() if np.ptp(actual) > 0 else np.zeros_like(actual)
    )  # squares of large targets leave no digits
    sums = _resample(
        np.stack([error, np.abs(error), error**2, centred, centred**2, np.ones_like(error)], axis=1)
    )
    n = sums[:, 5]
    spread = sums[:, 4] - sums[:, 3] ** 2 / n
    draws = {
        "rmse": np.sqrt(sums[:, 2] / n),
        "mae": sums[:, 1] / n,
        "r2": 1 - sums[:, 2] / np.where(spread > 0, spread, np.nan),
        "bias": sums[:, 0] / n,
    }
    points = {"rmse": rmse, "mae": mae, "r2": r2, "bias": bias}
    return {name: _interval(points[name](predicted, actual), draws[name]) for name in points}


def paired_difference(predicted: FloatArray, reference: FloatArray, actual: FloatArray) -> Interval:
    """RMSE of `predicted` minus RMSE of `reference` on the same rows, by a bootstrap that keeps the pairs; below 0 is better.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    return paired_differences([predicted], reference, actual)[0]


def paired_differences(
    predicted: Sequence[FloatArray], reference: FloatArray, actual: FloatArray
) -> list[Interval]:
    """The paired difference of each prediction to one reference; rows are drawn once for all of them.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    for values in (*predicted, reference):
        _check(values, actual)
    sums = _resample(
        np.stack(
            [
                *((p - actual) ** 2 for p in predicted),
                (reference - actual) ** 2,
                np.ones_like(actual),
            ],
            axis=1,
        )
    )
    drawn = np.sqrt(sums[:, :-1] / sums[:, -1:])
    base = rmse(reference, actual)
    return [
        _interval(rmse(p, actual) - base, drawn[:, i] - drawn[:, -1])
        for i, p in enumerate(predicted)
    ]


def paired_mean_difference(first: FloatArray, second: FloatArray, *, is_squared: bool) -> Interval:
    """Mean error of the first minus that of the second, from each row's errors, by a bootstrap that keeps the pairs.

    Args:
        first: (B,) errors of the rows, such as the mean of several seeds' squared ones.
        second: (B,) on the same rows.
        is_squared: the errors are squares, and the difference is that of the roots of their means.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(first, second)
    sums = _resample(np.stack([first, second, np.ones_like(first)], axis=1))
    root = np.sqrt if is_squared else np.abs
    draws = root(sums[:, 0] / sums[:, 2]) - root(sums[:, 1] / sums[:, 2])
    return _interval(float(root(first.mean()) - root(second.mean())), draws)


def conformal_half_width(
    predicted: FloatArray, actual: FloatArray, *, coverage: float = 0.9
) -> float:
    """Half the width of the interval around a prediction that holds the truth with this probability.

    Split conformal: the ceil((n + 1) * coverage)-th smallest absolute error on rows that were not trained on (Lei et al. 2018,
    "Distribution-Free Predictive Inference for Regression", section 2.2). Infinite when the rows are too few for the coverage.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    errors = np.sort(np.abs(predicted - actual))
    rank = conformal_rank(len(errors), coverage=coverage)
    return float(errors[rank - 1]) if rank <= len(errors) else float("inf")


def conformal_coverage(n_rows: int, *, coverage: float = 0.9) -> tuple[float, float]:
    """Return between which shares of new rows such an interval truly holds, with 90 % probability over the rows it was learnt on.

    The share is distributed as Beta(rank, n + 1 - rank) (Vovk 2012, "Conditional Validity of Inductive Conformal Predictors"): 26 rows
    promise no more than 83 to 99 %, 800 rows 88 to 92 %. Where the rows are too few for the coverage, the interval is infinite and holds all.
    """
    from scipy.special import betaincinv  # on first use: importing this module must stay cheap

    rank = conformal_rank(n_rows, coverage=coverage)
    if rank > n_rows:
        return 1.0, 1.0
    low, high = (float(betaincinv(rank, n_rows + 1 - rank, share)) for share in (0.05, 0.95))
    return low, high


def conformal_rank(n_rows: int, *, coverage: float = 0.9) -> int:
    """Return which of the errors, counted from the smallest, is half the width of a conformal interval."""
    return int(np.ceil((n_rows + 1) * coverage - 1e-9))


def decimals(size: float, digits: int = 2) -> int:
    """Digits behind the point of a number of this size: `digits` from 0.1 to 100, fewer above and more below."""
    if not 0 < size < math.inf:
        return digits
    magnitude = math.floor(math.log10(size))
    return max(0, digits - max(0, magnitude - 1), digits - 2 - magnitude if magnitude < -1 else 0)


def _resample(rows: FloatArray, *, seed: int = _SEED) -> FloatArray:
    """Bootstrap sums, (N_RESAMPLES, columns): each draw weights rows by how often they were drawn.

    The same seed draws the same rows, which is what keeps pairs paired. Above 5,000 rows, rows are first summed in random blocks,
    which are then drawn: the interval is the same to within its own noise, at a cost that no longer grows.
    """
    n_drawn = min(len(rows), _MAX_BLOCKS)
    if len(rows) > n_drawn:
        blocks = np.random.default_rng([seed, len(rows)]).permutation(len(rows)) % n_drawn
        rows = np.stack(
            [np.bincount(blocks, weights=column, minlength=n_drawn) for column in rows.T], axis=1
        )
    draw = _draw_few if n_drawn <= _MAX_KEPT else _draw_many
    return np.concatenate([counts.astype(np.float64) @ rows for counts in draw(n_drawn, seed)])


def _draw(n_rows: int, seed: int) -> list[NDArray[np.uint16]]:
    """How often each row or block is drawn: chunks of (_CHUNK, n_rows).

    Drawing is nearly all of a judgement's time, and splits and slices of one table meet again: for each predictor, in each run.
    """
    rng = np.random.default_rng(seed)
    shares = np.full(n_rows, 1 / n_rows)
    return [
        rng.multinomial(n_rows, shares, size=_CHUNK).astype(np.uint16)
        for _ in range(N_RESAMPLES // _CHUNK)
    ]


_draw_few = lru_cache(maxsize=32)(_draw)
_draw_many = lru_cache(maxsize=2)(_draw)


def _interval(value: float, draws: FloatArray) -> Interval:
    known = draws[np.isfinite(draws)]
    if not len(known):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(value, float(low), float(high))
