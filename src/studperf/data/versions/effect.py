"""The change's effect on quick baselines: trained on either version, scored on the same rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from studperf.data.hashes import group_equal_rows, hash_features
from studperf.data.schema import Table
from studperf.data.split import split_table
from studperf.scoring import metrics
from studperf.scoring.baselines.fit import fit_baselines
from studperf.scoring.metrics import FloatArray, Interval

MIN_ROWS = 50


@dataclass(frozen=True)
class Effect:
    """One baseline's scores on some rows, trained on the old and on the new version.

    `difference` is the RMSE of the one trained on the new version minus that of the other: below 0
    is better.
    """

    baseline: str
    scored_on: str
    n_rows: int
    old: float
    new: float
    difference: Interval

    @property
    def verdict(self) -> str:
        """The difference in words."""
        if not self.difference.excludes_zero:
            return "no difference seen"
        return "better" if self.difference.value < 0 else "worse"


@dataclass(frozen=True)
class Effects:
    """The effect on all baselines, on both versions' rows; or why there is none."""

    effects: list[Effect]
    why_not: str | None = None


def measure_effect(old: Table, new: Table) -> Effects:
    """Train baselines on both versions, and score them on test rows of the new and of the old one.

    Each version's own rows favour it: a change that spoilt the target looks good on the rows it
    spoilt, and bad on the others. No row that is scored, by its features or its id, is trained on
    in either version.
    """
    if not _narrow(new, old).dataset.features:
        return Effects([], "the versions have no feature in common")
    effects = []
    for name, table in (("new", new), ("old", old)):
        test = table.rows(split_table(table).test)
        trains = []
        for other in (old, new):
            rows = np.flatnonzero(~_are_among(other, test))
            trains.append(other.rows(rows))
        if min(len(test), *map(len, trains)) < MIN_ROWS:
            return Effects([], f"fewer than {MIN_ROWS} rows to train on or to score")
        by_old, by_new = (_predict(train, test) for train in trains)
        actual = test.target
        for baseline, predicted in by_new.items():
            reference = by_old[baseline]
            effect = Effect(
                baseline=baseline,
                scored_on=name,
                n_rows=len(test),
                old=metrics.rmse(reference, actual),
                new=metrics.rmse(predicted, actual),
                difference=metrics.paired_difference(predicted, reference, actual),
            )
            effects.append(effect)
    return Effects(effects)


def _are_among(table: Table, test: Table) -> np.ndarray:
    """Return which rows (N,) are among the rows to score, by their features or their id."""
    narrow_test = _narrow(test, table)
    narrow_table = _select(table, narrow_test.dataset.feature_names)
    among = np.isin(hash_features(narrow_table), hash_features(narrow_test))
    for name, column in table.dataset.columns.items():
        if column.kind == "id" and name in table.frame and name in test.frame:
            scored = set(test.frame[name].astype(str))
            among |= table.frame[name].astype(str).isin(scored).to_numpy()
    return among


def _predict(train: Table, test: Table) -> dict[str, FloatArray]:
    """Return each baseline's predictions (N,) of the rows to score.

    They are made from the features that both tables have.
    """
    train = _narrow(train, test)
    test = _select(test, train.dataset.feature_names)
    predictions = fit_baselines(train, group_equal_rows(train)).predict(test)
    return {name: values for name, values in predictions.items() if name != "mean"}


def _narrow(table: Table, other: Table) -> Table:
    """Return a table with the features alone that another one has too."""
    frame = table.frame
    names = [n for n in table.dataset.feature_names if n in frame and n in other.frame]
    return _select(table, tuple(names))


def _select(table: Table, names: tuple[str, ...]) -> Table:
    """Return a table with these features alone."""
    dataset = table.dataset.model_copy(update={"features": names})
    return Table(table.frame, dataset, table.warnings)
