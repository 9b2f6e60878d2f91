"""Models that any other must beat: the mean, ridge regression and gradient boosting, on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studperf.metrics import FloatArray

ALPHAS = tuple(float(a) for a in np.logspace(-3, 3, 13))
"""Ridge penalties tried, by leave-one-out on the training rows."""


Predictor = Callable[[FloatArray], FloatArray]
"""(N, F) -> (N,) in the target's unit."""


def fit(x: FloatArray, y: FloatArray) -> dict[str, Predictor]:
    """Each baseline, fitted.

    Args:
        x: (N, F) training rows, encoded as for the model with one-hot categories.
        y: (N,) in the target's unit.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    mean = y.mean()
    predictors: dict[str, Predictor] = {"mean": lambda rows: np.full(len(rows), mean)}
    ridge = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
    # Small trees and a slow rate: on 8,000 rows the default is 0.08 points worse (5-fold RMSE 5.20 against 5.11).
    boosting = HistGradientBoostingRegressor(
        learning_rate=0.05,
        max_leaf_nodes=8,
        max_iter=400,
        early_stopping=True,
        validation_fraction=0.1,
        random_state=0,
    )
    for name, model in (("ridge", ridge), ("boosting", boosting)):
        # Threads that wait for one another on busy cores cost more than they save: 18 s against 0.3 s for 6,400 rows.
        with threadpool_limits(1):
            model.fit(x, y)
        predictors[name] = partial(_predict, model)
    return predictors


def fit_predict(
    x: Mapping[str, FloatArray], y_train: FloatArray
) -> dict[str, dict[str, FloatArray]]:
    """Predictions of each baseline for each part.

    Args:
        x: `train` and the parts to predict, each (N, F).
        y_train: (N,) in the target's unit.

    Returns:
        Part -> baseline -> (N,) predictions.
    """
    predictors = fit(x["train"], y_train)
    return {
        part: {name: predict(rows) for name, predict in predictors.items()}
        for part, rows in x.items()
    }


def _predict(model: Any, rows: FloatArray) -> FloatArray:  # noqa: ANN401 - scikit-learn ships no types
    return np.asarray(model.predict(rows), dtype=np.float64)


def best_baseline(predictions: Mapping[str, FloatArray], actual: NDArray[np.float64]) -> str:
    """The baseline with the smallest squared error on rows that are not scored later."""
    return min(predictions, key=lambda name: float(np.mean((predictions[name] - actual) ** 2)))
