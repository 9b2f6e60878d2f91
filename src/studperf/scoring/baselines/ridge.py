"""Ridge regression with a penalty chosen by cross-validation.

It works on sums over rows, which stay small however many rows there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from studperf.scoring.baselines.folds import Fold
from studperf.scoring.baselines.inputs import NO_LEVEL, Inputs
from studperf.scoring.metrics import FloatArray

ALPHAS = tuple(float(alpha) for alpha in np.logspace(-3, 5, 25))
"""Penalties tried, beside standardised columns."""
MAX_LEVELS = 200
"""Levels of a category that get a column of their own; the rarer ones share one."""
MAX_COLUMNS = 1_000
"""One-hot columns of all categories together.

The arithmetic grows with the cube of their number, to 1 s here.
"""
_MIN_LEVEL_ROWS = 3
_BLOCK = 1 << 13


@dataclass(frozen=True)
class Design:
    """The columns of a linear model, made of inputs as learnt from the training rows.

    Args:
        fills: (F,) what stands for a missing number: the mean.
        is_flagged: (F,) whether a column says that the number was missing.
        n_own: (C,) levels of each category with a column of their own.
        centre: (P,) mean of each column.
        scale: (P,) standard deviation of each column.
    """

    fills: FloatArray
    is_flagged: np.ndarray
    n_own: tuple[int, ...]
    centre: FloatArray
    scale: FloatArray

    @classmethod
    def fit(cls, inputs: Inputs) -> Design:
        """Learn fills, levels and scales from the training rows."""
        is_missing = np.isnan(inputs.numbers)
        known = np.where(is_missing, 0.0, inputs.numbers)
        n_known = np.maximum(1, (~is_missing).sum(axis=0))
        n_own = _count_own_levels(inputs.codes)
        empty = np.zeros(0)
        is_flagged = np.asarray(is_missing.any(axis=0))
        plain = cls(known.sum(axis=0) / n_known, is_flagged, n_own, empty, empty)

        sums = squares = np.zeros(1)
        first = plain.expand(inputs.rows(slice(0, 1)))[0]
        for rows in _blocks(len(inputs)):
            # Around the first row: squares of large numbers would leave no digits.
            shifted = plain.expand(inputs.rows(rows)) - first
            sums = sums + shifted.sum(axis=0)
            squares = squares + (shifted**2).sum(axis=0)
        mean = sums / len(inputs)
        deviation = np.sqrt(np.maximum(0.0, squares / len(inputs) - mean**2))
        # A column that does not vary in training says nothing: it gets no weight.
        least = 1e-9 * (np.abs(first + mean) + 1e-300)
        scale = np.where(deviation > least, deviation, np.inf)
        return cls(plain.fills, plain.is_flagged, n_own, first + mean, scale)

    def expand(self, inputs: Inputs) -> FloatArray:
        """Return the columns as they are, (N, P).

        First the numbers, then what was missing, then a column for each level.
        """
        is_missing = np.isnan(inputs.numbers)
        columns = [np.where(is_missing, self.fills, inputs.numbers)]
        columns.append(is_missing[:, self.is_flagged].astype(np.float64))
        for i, n_own in enumerate(self.n_own):
            code = np.minimum(inputs.codes[:, i], n_own)
            one_hot = np.zeros((len(code), n_own + 1))
            has_level = code != NO_LEVEL
            one_hot[np.flatnonzero(has_level), code[has_level]] = 1.0
            columns.append(one_hot)
        return np.concatenate(columns, axis=1)

    def standardise(self, inputs: Inputs) -> FloatArray:
        """Return the columns with mean 0 and deviation 1 over the training rows, (N, P)."""
        return np.asarray((self.expand(inputs) - self.centre) / self.scale)


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge regression."""

    design: Design
    weights: FloatArray
    intercept: float
    alpha: float

    def predict(self, inputs: Inputs) -> FloatArray:
        """Return predictions, (N,) in the target's unit."""
        predicted = np.empty(len(inputs))
        for rows in _blocks(len(inputs)):
            predicted[rows] = self.design.standardise(inputs.rows(rows)) @ self.weights
        return np.asarray(predicted + self.intercept)


@dataclass
class _Sums:
    """The sums over rows from which a linear fit is solved."""

    n_rows: int
    x: FloatArray
    xx: FloatArray
    xy: FloatArray
    y: float

    @classmethod
    def over(cls, design: Design, inputs: Inputs, target: FloatArray) -> _Sums:
        """Sum over these rows, a block at a time."""
        n_columns = len(design.scale)
        sums = cls(
            len(inputs),
            np.zeros(n_columns),
            np.zeros((n_columns, n_columns)),
            np.zeros(n_columns),
            0.0,
        )
        for rows in _blocks(len(inputs)):
            x = design.standardise(inputs.rows(rows))
            sums.x += x.sum(axis=0)
            sums.xx += x.T @ x
            sums.xy += x.T @ target[rows]
        sums.y = float(target.sum())
        return sums

    def without(self, other: _Sums) -> _Sums:
        """Return the sums over the rows that the other ones leave."""
        return _Sums(
            self.n_rows - other.n_rows,
            self.x - other.x,
            self.xx - other.xx,
            self.xy - other.xy,
            self.y - other.y,
        )

    def solve(self, alphas: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
        """Return the weights for each penalty, (P, A), and the intercepts, (A,)."""
        mean_x = self.x / self.n_rows
        mean_y = self.y / self.n_rows
        centred = self.xx - self.n_rows * np.outer(mean_x, mean_x)
        # One decomposition serves all penalties.
        values, vectors = np.linalg.eigh(centred)
        along = vectors.T @ (self.xy - self.n_rows * mean_x * mean_y)
        # Rounding can leave a small negative eigenvalue.
        values = np.maximum(values, 0.0)
        penalised = values[:, None] + np.asarray(alphas)
        shrunk = along[:, None] / penalised
        weights = vectors @ shrunk
        return weights, mean_y - mean_x @ weights


def fit_ridge(
    inputs: Inputs, target: FloatArray, folds: list[Fold]
) -> tuple[Ridge, list[FloatArray]]:
    """Fit ridge regression to all rows, with the penalty that predicts held-out rows best.

    Returns:
        The fitted model, and its predictions of each fold's held-out rows.
    """
    design = Design.fit(inputs)
    # Around their mean, so that large targets keep their digits.
    mean = float(target.mean())
    centred = target - mean
    total = _Sums.over(design, inputs, centred)
    tried = []
    errors = np.zeros(len(ALPHAS))
    for fold in folds:
        held_out = inputs.rows(fold.held_out)
        sums = total.without(_Sums.over(design, held_out, centred[fold.held_out]))
        weights, intercepts = sums.solve(ALPHAS)
        predicted = design.standardise(held_out) @ weights + intercepts
        squares = (predicted - centred[fold.held_out, None]) ** 2
        errors += squares.sum(axis=0)
        tried.append(predicted)
    best = int(np.argmin(errors))
    alpha = ALPHAS[best]
    weights, intercepts = total.solve((alpha,))
    intercept = float(intercepts[0]) + mean
    ridge = Ridge(design, weights[:, 0], intercept, alpha)
    return ridge, [predicted[:, best] + mean for predicted in tried]


def _count_own_levels(codes: np.ndarray) -> tuple[int, ...]:
    """Return how many levels of each category are frequent enough for a column of their own."""
    n_categories = codes.shape[1]
    limit = min(MAX_LEVELS, MAX_COLUMNS // max(1, n_categories))
    n_own = []
    for column in codes.T:
        counts = np.bincount(column[column != NO_LEVEL], minlength=1)
        n_frequent = int((counts >= _MIN_LEVEL_ROWS).sum())
        n_own.append(min(n_frequent, limit))
    return tuple(n_own)


def _blocks(n_rows: int) -> Iterator[slice]:
    for start in range(0, n_rows, _BLOCK):
        yield slice(start, start + _BLOCK)
