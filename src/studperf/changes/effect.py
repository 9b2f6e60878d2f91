"""What the change does to a quick baseline: trained on either version, scored on the same rows of the new one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from studperf import metrics
from studperf.baselines import fit_baselines
from studperf.data.hashes import hash_features
from studperf.data.schema import Table
from studperf.data.split import split_table
from studperf.metrics import FloatArray, Interval

MIN_ROWS = 50


@dataclass(frozen=True)
class Effect:
    """One baseline; `difference` is the RMSE of the one trained on the new version minus that of the other, below 0 is better."""

    baseline: str
    scored_on: str
    n_rows: int
    old: float
    new: float
    difference: Interval

    @property
    def verdict(self) -> str:
        """In words."""
        if not self.difference.excludes_zero:
            return "no difference seen"
        return "better" if self.difference.value < 0 else "worse"


@dataclass(frozen=True)
class Effects:
    """All baselines on both versions' rows; or why there are none."""

    effects: list[Effect]
    why_not: str | None = None


def measure_effect(old: Table, new: Table) -> Effects:
    """Trains baselines on both versions and scores them on the test rows of the new one, then of the old one.

    Each version's own rows favour it: a change that spoilt the target looks good on the rows it spoilt, and bad on the others. No row
    that is scored, by its features or its id, is trained on in either version.
    """
    if not _narrow(new, old).dataset.features:
        return Effects([], "the versions have no feature in common")
    effects = []
    for name, table in (("new", new), ("old", old)):
        test = table.rows(split_table(table).test)
        trains = [other.rows(np.flatnonzero(~_are_among(other, test))) for other in (old, new)]
        if min(len(test), *map(len, trains)) < MIN_ROWS:
            return Effects([], f"fewer than {MIN_ROWS} rows to train on or to score")
        of_old, of_new = (_predict(train, test) for train in trains)
        actual = test.target
        for baseline, predicted in of_new.items():
            errors = (metrics.rmse(of_old[baseline], actual), metrics.rmse(predicted, actual))
            effects.append(
                Effect(
                    baseline,
                    name,
                    len(test),
                    *errors,
                    metrics.paired_difference(predicted, of_old[baseline], actual),
                )
            )
    return Effects(effects)


def _are_among(table: Table, test: Table) -> np.ndarray:
    """(N,) which rows are among the rows to score."""
    common = _narrow(test, table)
    among = np.isin(hash_features(_narrow(table, table, like=common)), hash_features(common))
    for name, column in table.dataset.columns.items():
        if column.kind == "id" and name in table.frame and name in test.frame:
            among |= (
                table.frame[name].astype(str).isin(set(test.frame[name].astype(str))).to_numpy()
            )
    return among


def _predict(train: Table, test: Table) -> dict[str, FloatArray]:
    """Baseline -> (N,) predictions of the rows to score, from the features that both have."""
    train = _narrow(train, test)
    test = _narrow(test, train, like=train)
    predictions = fit_baselines(train).predict(test)
    return {name: values for name, values in predictions.items() if name != "mean"}


def _narrow(table: Table, other: Table, like: Table | None = None) -> Table:
    """The table with the features that both have, or with those of a third one."""
    names = (
        like.dataset.feature_names
        if like
        else tuple(n for n in table.dataset.feature_names if n in table.frame and n in other.frame)
    )
    return Table(table.frame, table.dataset.model_copy(update={"features": names}), table.warnings)
