"""Errors of predictions and their intervals: pure functions on arrays."""

from __future__ import annotations

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
        """True if the sign of the value is certain."""
        return self.low > 0 or self.high < 0


def _check(predicted: FloatArray, actual: FloatArray) -> None:
    if predicted.shape != actual.shape or predicted.ndim != 1 or not len(actual):
        raise ValueError(
            "expected two equal vectors with at least one row, "
            f"got {predicted.shape} and {actual.shape}"
        )


def rmse(predicted: FloatArray, actual: FloatArray) -> float:
    """Return the root mean squared error, in the target's unit.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    return float(np.sqrt(np.mean((predicted - actual) ** 2)))


def mae(predicted: FloatArray, actual: FloatArray) -> float:
    """Return the mean absolute error, in the target's unit.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    return float(np.mean(np.abs(predicted - actual)))


def r2(predicted: FloatArray, actual: FloatArray) -> float:
    """Return the share of the variance explained.

    It is 0 for the mean of these rows, and NaN when they do not vary.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    # Not by the sum of squares, since the mean of equal values can differ from them by rounding.
    if np.ptp(actual) == 0:
        return float("nan")
    unexplained = np.sum((predicted - actual) ** 2)
    total = np.sum((actual - actual.mean()) ** 2)
    return float(1 - unexplained / total)


def bias(predicted: FloatArray, actual: FloatArray) -> float:
    """Return the mean of predicted minus actual, in the target's unit.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    return float(np.mean(predicted - actual))


def scores(predicted: FloatArray, actual: FloatArray) -> dict[str, Interval]:
    """Return RMSE, MAE, R2 and bias with bootstrap percentile intervals over rows.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    error = predicted - actual
    # Centred, as the squares of large targets leave no digits.
    centred = np.zeros_like(actual)
    if np.ptp(actual) > 0:
        centred = actual - actual.mean()
    ones = np.ones_like(error)
    columns = [error, np.abs(error), error**2, centred, centred**2, ones]
    sums = _resample(np.stack(columns, axis=1))
    of_error, of_size, of_square, of_target, of_target_square, n = sums.T

    # A draw of equal targets has no spread, and so no R2.
    spread = of_target_square - of_target**2 / n
    spread = np.where(spread > 0, spread, np.nan)
    return {
        "rmse": _interval(rmse(predicted, actual), np.sqrt(of_square / n)),
        "mae": _interval(mae(predicted, actual), of_size / n),
        "r2": _interval(r2(predicted, actual), 1 - of_square / spread),
        "bias": _interval(bias(predicted, actual), of_error / n),
    }


def paired_difference(predicted: FloatArray, reference: FloatArray, actual: FloatArray) -> Interval:
    """Return the RMSE of `predicted` minus that of `reference` on the same rows.

    The bootstrap keeps the pairs. A difference below 0 means that `predicted` is better.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    return paired_differences([predicted], reference, actual)[0]


def paired_differences(
    predicted: Sequence[FloatArray], reference: FloatArray, actual: FloatArray
) -> list[Interval]:
    """Return the paired difference of each prediction to one reference.

    Rows are drawn once for all of them.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    for values in (*predicted, reference):
        _check(values, actual)
    squares = [(values - actual) ** 2 for values in (*predicted, reference)]
    sums = _resample(np.stack([*squares, np.ones_like(actual)], axis=1))
    n_drawn = sums[:, -1:]
    drawn = np.sqrt(sums[:, :-1] / n_drawn)

    base = rmse(reference, actual)
    intervals = []
    for i, values in enumerate(predicted):
        difference = rmse(values, actual) - base
        intervals.append(_interval(difference, drawn[:, i] - drawn[:, -1]))
    return intervals


def paired_mean_difference(first: FloatArray, second: FloatArray, *, is_squared: bool) -> Interval:
    """Return the mean of the first errors minus that of the second, paired by rows.

    Args:
        first: (B,) errors of the rows, such as the mean of several seeds' squared ones.
        second: (B,) on the same rows.
        is_squared: the errors are squares, and the difference is that of the roots of their means.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(first, second)
    columns = [first, second, np.ones_like(first)]
    of_first, of_second, n = _resample(np.stack(columns, axis=1)).T
    # Absolute errors are their own absolute values, so `np.abs` leaves them as they are.
    root = np.sqrt if is_squared else np.abs
    draws = root(of_first / n) - root(of_second / n)
    value = root(first.mean()) - root(second.mean())
    return _interval(float(value), draws)


def conformal_half_width(
    predicted: FloatArray, actual: FloatArray, *, coverage: float = 0.9
) -> float:
    """Return half the width of the interval that holds the truth with this probability.

    Split conformal: the ceil((n + 1) * coverage)-th smallest absolute error on rows that were not
    trained on (Lei et al. 2018, "Distribution-Free Predictive Inference for Regression", section
    2.2). Infinite when the rows are too few for the coverage.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    _check(predicted, actual)
    errors = np.sort(np.abs(predicted - actual))
    rank = conformal_rank(len(errors), coverage=coverage)
    if rank > len(errors):
        return float("inf")
    return float(errors[rank - 1])


def conformal_coverage(n_rows: int, *, coverage: float = 0.9) -> tuple[float, float]:
    """Return the range of shares of new rows that a conformal interval truly holds.

    It is a 90 % range over the rows that the interval was learnt on.

    The share is distributed as Beta(rank, n + 1 - rank) (Vovk 2012, "Conditional Validity of
    Inductive Conformal Predictors"): 26 rows promise no more than 83 to 99 %, 800 rows 88 to 92 %.
    Where the rows are too few for the coverage, the interval is infinite and holds all.
    """
    from scipy.special import betaincinv  # on first use: importing this module must stay cheap

    rank = conformal_rank(n_rows, coverage=coverage)
    if rank > n_rows:
        return 1.0, 1.0
    low = betaincinv(rank, n_rows + 1 - rank, 0.05)
    high = betaincinv(rank, n_rows + 1 - rank, 0.95)
    return float(low), float(high)


def conformal_rank(n_rows: int, *, coverage: float = 0.9) -> int:
    """Return the rank, counted from 1, of the error that is a conformal half-width."""
    return int(np.ceil((n_rows + 1) * coverage - 1e-9))


def _resample(rows: FloatArray, *, seed: int = _SEED) -> FloatArray:
    """Return bootstrap sums, (N_RESAMPLES, columns), weighted by how often rows are drawn.

    The same seed draws the same rows, which is what keeps pairs paired. Above 5,000 rows, rows are
    first summed in random blocks, which are then drawn: the interval is the same to within its own
    noise, at a cost that no longer grows.
    """
    n_drawn = min(len(rows), _MAX_BLOCKS)
    if len(rows) > n_drawn:
        rng = np.random.default_rng([seed, len(rows)])
        blocks = rng.permutation(len(rows)) % n_drawn
        columns = [np.bincount(blocks, weights=column, minlength=n_drawn) for column in rows.T]
        rows = np.stack(columns, axis=1)
    draw = _draw_few if n_drawn <= _MAX_KEPT else _draw_many
    sums = [counts.astype(np.float64) @ rows for counts in draw(n_drawn, seed)]
    return np.concatenate(sums)


def _draw(n_rows: int, seed: int) -> list[NDArray[np.uint16]]:
    """Return how often each row or block is drawn, in chunks of (_CHUNK, n_rows).

    Drawing is nearly all of a judgement's time, and splits and slices of one table meet again: for
    each predictor, in each run.
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
