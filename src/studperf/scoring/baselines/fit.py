"""The baselines that any model must beat: the mean, ridge regression and gradient boosting.

They read the typed table and not the model's encoded rows, so they stay the same whatever the
model's encoder does. Each is fitted on one CPU thread, by cross-validation on the training rows
alone, which also says which of them is the strongest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from studperf.scoring.baselines.boosting import Boosting, fit_boosting
from studperf.scoring.baselines.choice import Choice, Standing, choose_strongest
from studperf.scoring.baselines.folds import Fold, draw_folds
from studperf.scoring.baselines.inputs import Reader, TypedRows
from studperf.scoring.baselines.ridge import Ridge, fit_ridge
from studperf.scoring.metrics import FloatArray

__all__ = ["NAMES", "Baselines", "Choice", "Standing", "fit_baselines"]

NAMES = ("mean", "ridge", "boosting")


@dataclass(frozen=True)
class Baselines:
    """Fitted baselines, and which of them is the strongest by cross-validation."""

    reader: Reader
    mean: float
    ridge: Ridge
    boosting: Boosting
    choice: Choice

    def predict(self, table: TypedRows) -> dict[str, FloatArray]:
        """Return each baseline's predictions of typed rows, (N,) in the target's unit."""
        inputs = self.reader.read(table)
        return {
            "mean": np.full(len(table), self.mean),
            "ridge": self.ridge.predict(inputs),
            "boosting": self.boosting.predict(inputs),
        }


def fit_baselines(train: TypedRows, groups: np.ndarray) -> Baselines:
    """Fit every baseline to the training rows, and compare them by cross-validation.

    Args:
        train: the training rows.
        groups: (N,) each row's group; rows of one group are held out together, as in the split.
    """
    from threadpoolctl import threadpool_limits

    reader = Reader.fit(train)
    inputs = reader.read(train)
    target = train.target
    folds = draw_folds(groups)
    # Threads that wait for one another on busy cores cost more than they save: 18 s against 0.3 s
    # for 6,400 rows.
    with threadpool_limits(1):
        ridge, of_ridge = fit_ridge(inputs, target, folds)
        boosting, of_boosting = fit_boosting(inputs, target, folds)
    of_mean = _predict_means(target, folds)
    choice = choose_strongest(
        {"mean": of_mean, "ridge": of_ridge, "boosting": of_boosting}, target, folds
    )
    return Baselines(reader, float(target.mean()), ridge, boosting, choice)


def _predict_means(target: FloatArray, folds: list[Fold]) -> list[FloatArray]:
    predictions = []
    for fold in folds:
        mean = target[fold.train].mean()
        predictions.append(np.full(len(fold.held_out), mean))
    return predictions
