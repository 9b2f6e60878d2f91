"""Gradient-boosted trees, by LightGBM."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from studperf.config.types import (
    LeafCount,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Share,
)
from studperf.data.encode import FeatureSpec
from studperf.models.lightgbm_text import read_forest, without_settings
from studperf.models.trees import Array, Columns, Forest, Growth, TreeModel, TreesError

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset

_OBJECTIVES = {"mse": "regression", "huber": "huber", "quantile": "quantile"}


class LightGBM(TreeModel):
    """Boosted trees that are grown leaf by leaf, with categories split as sets of levels.

    Args:
        features: sizes of the input.
        learning_rate: share of each tree that is added.
        n_rounds: the most trees that are grown.
        patience: rounds without a better val after which growing ends.
        n_leaves: of a tree.
        min_rows_leaf: training rows in a leaf at least.
        l2: penalty of the leaves' values, in rows: a leaf of so many rows is halved.
        row_share: share of the rows that each tree is grown on.
        column_share: share of the columns that each tree may ask.

    Shape:
        (N, F + C) -> (N,)

    Source:
        Ke et al. 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", as in
        `lightgbm`. What conf/model/lightgbm.yaml holds are the package's own defaults, but for the
        number of rounds, which early stopping finds.

    >>> model = LightGBM(FeatureSpec(1), learning_rate=0.5, n_rounds=9, patience=3, n_leaves=2,
    ...     min_rows_leaf=1, l2=0.0, row_share=1.0, column_share=1.0)
    >>> x = np.array([[0], [0], [1], [1]], dtype=np.float32)
    >>> model.begin((x, x[:, 0]), (x, x[:, 0]), Growth("mse", 1.0, 0.5, seed=0, n_threads=1))
    >>> model.grow(), [part.round(2).tolist() for part in model.fitted()][0]
    (True, [0.25, 0.25, 0.75, 0.75])
    """

    def __init__(
        self,
        features: FeatureSpec,
        *,
        learning_rate: PositiveFloat,
        n_rounds: PositiveInt,
        patience: PositiveInt,
        n_leaves: LeafCount,
        min_rows_leaf: PositiveInt,
        l2: NonNegativeFloat,
        row_share: Share,
        column_share: Share,
    ) -> None:
        super().__init__(features, n_rounds=n_rounds, patience=patience)
        self.settings: dict[str, Any] = {
            "learning_rate": learning_rate,
            "num_leaves": n_leaves,
            "min_data_in_leaf": min_rows_leaf,
            "lambda_l2": l2,
            "bagging_fraction": row_share,
            # Without it LightGBM takes no notice of the share.
            "bagging_freq": 1 if row_share < 1 else 0,
            "feature_fraction": column_share,
        }
        self._booster: Booster | None = None
        self._text = ""

    def begin(
        self, train: tuple[Columns, Array], val: tuple[Columns, Array], growth: Growth
    ) -> None:
        """Sort the rows into bins."""
        from lightgbm import Booster

        settings = {
            **self.settings,
            "objective": _OBJECTIVES[growth.loss],
            "alpha": growth.quantile if growth.loss == "quantile" else growth.delta,
            "seed": growth.seed,
            "num_threads": growth.n_threads,
            # Together these give the same bits for the same number of threads; without the second
            # LightGBM tries two ways and takes the one that was faster.
            "deterministic": True,
            "force_row_wise": True,
            "metric": "None",
            "verbosity": -1,
        }
        rows = self._dataset(*train, settings)
        self._booster = Booster(settings, rows)
        self._booster.add_valid(self._dataset(*val, settings, reference=rows), "val")

    def _dataset(
        self,
        columns: Columns,
        target: Array,
        settings: dict[str, Any],
        reference: Dataset | None = None,
    ) -> Dataset:
        from lightgbm import Dataset

        return Dataset(
            columns,
            target,
            reference=reference,
            categorical_feature=list(range(self.features.n_numbers, self.n_columns)),
            params=settings,
            free_raw_data=True,
        )

    def grow(self) -> bool:
        """Grow a tree; return False where no split is left."""
        return not self._grown.update()

    def fitted(self) -> tuple[Array, Array]:
        """Return what is predicted so far for the rows of train and of val."""
        grown = self._grown
        return _take_scores(grown.eval_train), _take_scores(grown.eval_valid)

    def to_text(self, n_rounds: int) -> str:
        """Return the first rounds in LightGBM's own format, without its settings."""
        return without_settings(self._grown.model_to_string(num_iteration=n_rounds))

    def read(self, text: str) -> None:
        """Take the trees of a text in LightGBM's format, after a look at each of them.

        LightGBM itself does not check them, and ends the process on some that are broken.
        """
        from lightgbm import Booster
        from lightgbm.basic import LightGBMError

        read_forest(text, n_features=self.n_columns)
        try:
            self._booster = Booster(model_str=text)
        except LightGBMError as error:
            raise TreesError(str(error)) from error
        self._text = text

    def predict(self, columns: Columns) -> Array:
        """Return predictions (N,)."""
        if not len(columns):
            return np.zeros(0)
        return np.asarray(self._grown.predict(columns), dtype=np.float64)

    def forest(self) -> Forest:
        """Return the trees that were read."""
        return read_forest(self._text, n_features=self.n_columns)

    @property
    def _grown(self) -> Booster:
        if self._booster is None:
            raise RuntimeError("there are no trees yet: begin or read comes first")
        return self._booster


def _take_scores(evaluate: Callable[..., object]) -> Array:
    """Return what a booster predicts for the rows that it holds.

    It hands them to a metric of ours, and has no other public way; to predict them from their
    columns would walk through all trees in every round.
    """
    taken: list[Array] = []

    def metric(scores: Array, rows: Dataset) -> tuple[str, float, bool]:  # noqa: ARG001 - LightGBM's
        taken.append(scores)
        return "", 0.0, False

    evaluate(metric)
    (scores,) = taken
    return scores
