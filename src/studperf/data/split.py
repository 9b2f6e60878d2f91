"""The draw of train, val and test rows, once, from one seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from studperf.config.dataset import Split as Fractions
from studperf.data.schema import Table
from studperf.errors import DataError

# Fewer rows can't be scored.
_MIN_ROWS = 10


@dataclass(frozen=True)
class Split:
    """Row numbers of each part, from 0; no row is in two of them."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def sha256(self) -> str:
        """Hash of the parts, equal for runs that were scored on the same rows."""
        digest = hashlib.sha256()
        for part in (self.train, self.val, self.test):
            # Of one type and byte order on every system.
            digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes() + b"|")
        return digest.hexdigest()


def split_table(table: Table) -> Split:
    """Split a table by the dataset's fractions.

    Rows that are equal but for their id stay in one part, so that none straddles two. Which columns
    are features makes no difference: runs on fewer columns are scored on the same rows.

    Without equal rows the parts are those of scikit-learn's `train_test_split`, applied twice with
    `random_state=seed`.

    Raises:
        DataError: a part would have fewer rows than can be scored.
    """
    columns = []
    for name in table.frame:
        column = table.dataset.columns.get(str(name))
        if column is None or column.kind not in ("id", "leak"):
            columns.append(name)
    groups = table.frame.groupby(columns, dropna=False, sort=False).ngroup()
    return split_groups(groups.to_numpy(), table.dataset.split)


def split_groups(groups: np.ndarray, fractions: Fractions) -> Split:
    """Split rows, those of one group together.

    Args:
        groups: (N,) each row's group; groups count from 0 in the order in which they first come.
        fractions: of the groups.

    Raises:
        DataError: a part would have fewer rows than can be scored.
    """
    n_groups = 0
    if len(groups):
        n_groups = int(groups.max()) + 1
    split = _draw(groups, n_groups, fractions)
    sizes = {name: len(part) for name, part in vars(split).items()}
    too_small = [f"{name} {size}" for name, size in sizes.items() if size < _MIN_ROWS]
    if too_small:
        raise DataError(
            f"data.split: {len(groups)} rows are too few: each part needs at least {_MIN_ROWS}, "
            f"but there would be {', '.join(too_small)}. "
            "Bring more rows, or change data.split."
        )
    return split


def split_rows(table: Table, split: Split) -> dict[str, Table]:
    """Return the table's parts: `train`, `val` and `test`."""
    return {name: table.rows(index) for name, index in vars(split).items()}


def _draw(groups: np.ndarray, n_groups: int, fractions: Fractions) -> Split:
    """Draw the groups of each part, and return their rows."""
    # RandomState, and the same seed twice: as scikit-learn draws. The small number keeps a product
    # that is whole but for floating point from being rounded up.
    share_held = fractions.val + fractions.test
    n_held = int(np.ceil(n_groups * share_held - 1e-9))
    order = np.random.RandomState(fractions.seed).permutation(n_groups)
    held = order[:n_held]
    train = order[n_held:]

    n_test = int(np.ceil(n_held * fractions.test / share_held - 1e-9))
    order_held = np.random.RandomState(fractions.seed).permutation(n_held)
    test = held[order_held[:n_test]]
    val = held[order_held[n_test:]]
    # Where all rows differ, groups are rows.
    if n_groups == len(groups):
        return Split(train, val, test)
    return Split(
        train=_rows_of(train, groups, n_groups),
        val=_rows_of(val, groups, n_groups),
        test=_rows_of(test, groups, n_groups),
    )


def _rows_of(part: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Return the rows of these groups, group after group, each group's from the first on."""
    place = np.full(n_groups, len(part))
    place[part] = np.arange(len(part))
    places = place[groups]
    rows = np.flatnonzero(places < len(part))
    return rows[np.argsort(places[rows], kind="stable")]
