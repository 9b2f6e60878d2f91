"""The choice of the strongest baseline, by its errors on held-out training rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from studperf.scoring.baselines.folds import Fold
from studperf.scoring.metrics import FloatArray, Interval

# The normal quantile of a 95 % interval.
_Z = 1.96


@dataclass(frozen=True)
class Standing:
    """One baseline's error on held-out training rows.

    Args:
        rmse: with its 95 % interval.
        behind: RMSE minus that of the strongest, paired; None for the strongest itself.
    """

    rmse: Interval
    behind: Interval | None

    @property
    def is_tied(self) -> bool:
        """True if held-out rows show no difference to the strongest, which is tied with itself."""
        return self.behind is None or self.behind.low <= 0


@dataclass(frozen=True)
class Choice:
    """The strongest baseline by cross-validation on the training rows.

    Args:
        strongest: its name.
        standings: each baseline's error, the strongest first.
        n_fits: how often each baseline was fitted.
        n_rows: training rows that were held out once or more.
    """

    strongest: str
    standings: dict[str, Standing]
    n_fits: int
    n_rows: int

    @property
    def tied(self) -> tuple[str, ...]:
        """Return the names of the strongest and of those tied with it."""
        return tuple(name for name, standing in self.standings.items() if standing.is_tied)


def choose_strongest(
    predictions: Mapping[str, list[FloatArray]], target: FloatArray, folds: list[Fold]
) -> Choice:
    """Choose the baseline with the smallest squared error on held-out rows.

    Args:
        predictions: baseline -> its predictions of each fold's held-out rows.
        target: (N,) of the training rows.
        folds: in the order of the predictions.
    """
    squares = {
        name: _mean_squares(of_folds, target, folds) for name, of_folds in predictions.items()
    }
    ordered = sorted(squares, key=lambda name: float(squares[name].mean()))
    strongest = ordered[0]
    standings = {}
    for name in ordered:
        behind = None
        if name != strongest:
            behind = _difference(squares[name], squares[strongest])
        standings[name] = Standing(_root_mean(squares[name]), behind)
    return Choice(strongest, standings, len(folds), len(squares[strongest]))


def _mean_squares(
    predictions: list[FloatArray], target: FloatArray, folds: list[Fold]
) -> FloatArray:
    """Return the squared error of each held-out row, (M,).

    A row that was held out more than once has the mean of its squares.
    """
    sums = np.zeros(len(target))
    counts = np.zeros(len(target))
    for predicted, fold in zip(predictions, folds, strict=True):
        sums[fold.held_out] += (predicted - target[fold.held_out]) ** 2
        counts[fold.held_out] += 1
    was_held = counts > 0
    return np.asarray(sums[was_held] / counts[was_held])


def _root_mean(squares: FloatArray) -> Interval:
    """Return the root of the mean with an interval by the delta method.

    No bootstrap is drawn, so that it costs nothing.
    """
    root = math.sqrt(float(squares.mean()))
    if not root:
        return Interval(0.0, 0.0, 0.0)
    reach = _Z * _standard_error(squares) / (2 * root)
    return Interval(root, max(0.0, root - reach), root + reach)


def _difference(first: FloatArray, second: FloatArray) -> Interval:
    """Return the paired difference of two roots of means over the same rows."""
    difference = first - second
    of_first = math.sqrt(float(first.mean()))
    of_second = math.sqrt(float(second.mean()))
    roots = of_first + of_second
    if not roots:
        return Interval(0.0, 0.0, 0.0)
    # a - b is (a^2 - b^2) / (a + b): so rows stay paired in the squares.
    value = float(difference.mean()) / roots
    reach = _Z * _standard_error(difference) / roots
    return Interval(value, value - reach, value + reach)


def _standard_error(values: FloatArray) -> float:
    if len(values) < 2:  # noqa: PLR2004 - one value has no spread
        return math.inf
    return float(values.std(ddof=1)) / math.sqrt(len(values))
