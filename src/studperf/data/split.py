"""Draws the train, val and test rows once, from one seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from studperf.config.dataset import Split as Fractions
from studperf.data.schema import Table
from studperf.errors import DataError

_MIN_ROWS = 10


@dataclass(frozen=True)
class Split:
    """Row numbers of each part, from 0; no row is in two of them."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def sha256(self) -> str:
        """Two runs with the same hash were scored on the same rows."""
        digest = hashlib.sha256()
        for part in (self.train, self.val, self.test):
            digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes() + b"|")
        return digest.hexdigest()


def split_table(table: Table) -> Split:
    """Splits by the dataset's fractions; rows that are equal but for their id stay in one part, so that none straddles two.

    Which columns are features makes no difference: runs on fewer columns are scored on the same rows.

    Without equal rows the parts are those of scikit-learn's `train_test_split`, applied twice with `random_state=seed`.

    Raises:
        DataError: a part would have fewer rows than can be scored.
    """
    fractions = table.dataset.split
    columns = [
        name
        for name in table.frame
        if name not in table.dataset.columns
        or table.dataset.columns[name].kind not in ("id", "leak")
    ]
    return split_groups(
        table.frame.groupby(columns, dropna=False, sort=False).ngroup().to_numpy(), fractions
    )


def split_groups(groups: np.ndarray, fractions: Fractions) -> Split:
    """Splits rows, those of one group together.

    Args:
        groups: (N,) each row's group; groups count from 0 in the order in which they first come.
        fractions: of the groups.

    Raises:
        DataError: a part would have fewer rows than can be scored.
    """
    n_groups = int(groups.max()) + 1 if len(groups) else 0
    split = _draw(groups, n_groups, fractions)
    too_small = [
        f"{name} {len(part)}" for name, part in vars(split).items() if len(part) < _MIN_ROWS
    ]
    if too_small:
        raise DataError(
            f"data.split: {len(groups)} rows are too few: each part needs at least {_MIN_ROWS}, but there would be "
            f"{', '.join(too_small)}. Bring more rows, or change data.split."
        )
    return split


def split_rows(table: Table, split: Split) -> dict[str, Table]:
    """The table's parts: `train`, `val` and `test`."""
    return {name: table.rows(index) for name, index in vars(split).items()}


def _draw(groups: np.ndarray, n_groups: int, fractions: Fractions) -> Split:
    n_held = int(np.ceil(n_groups * (fractions.val + fractions.test) - 1e-9))
    order = np.random.RandomState(fractions.seed).permutation(n_groups)
    held, train = order[:n_held], order[n_held:]
    n_test = int(np.ceil(n_held * fractions.test / (fractions.val + fractions.test) - 1e-9))
    order_held = np.random.RandomState(fractions.seed).permutation(n_held)
    test, val = held[order_held[:n_test]], held[order_held[n_test:]]
    if n_groups == len(groups):
        return Split(train, val, test)
    return Split(*(_rows_of(part, groups, n_groups) for part in (train, val, test)))


def _rows_of(part: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """The rows of these groups: group after group, each group's rows from the first on."""
    place = np.full(n_groups, len(part))
    place[part] = np.arange(len(part))
    places = place[groups]
    rows = np.flatnonzero(places < len(part))
    return rows[np.argsort(places[rows], kind="stable")]
