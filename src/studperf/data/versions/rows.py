"""The rows, columns and levels that differ between two versions of a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studperf.config.dataset import Dataset
from studperf.data.hashes import hash_rows


@dataclass(frozen=True)
class RowChanges:
    """Counts of rows, and which rows of each version the other one does not have.

    `changed` are rows with the id of an old one and other cells; they are fresh in the new version
    and gone from the old one.
    """

    n_old: int
    n_new: int
    fresh: NDArray[np.bool_]
    """(n_new,) rows that no row of the old version equals."""
    gone: NDArray[np.bool_]
    """(n_old,) rows that no row of the new version equals."""
    changed: int | None
    """Number of changed rows; None without a column of ids."""
    cells: dict[str, int]
    """Number of changed cells by column, of rows known by their id."""
    is_reordered: bool


def compare_rows(old: pd.DataFrame, new: pd.DataFrame, dataset: Dataset) -> RowChanges:
    """Compare the versions' raw rows, by the columns that both have."""
    shared = [name for name in new.columns if name in old.columns]
    hash_old = hash_rows(old[shared].astype(str))
    hash_new = hash_rows(new[shared].astype(str))
    fresh = ~np.isin(hash_new, hash_old)
    gone = ~np.isin(hash_old, hash_new)
    changed, cells = _compare_by_id(old, new, dataset, shared)

    is_reordered = False
    if len(old) == len(new) and not fresh.any() and not gone.any():
        is_reordered = bool((hash_old != hash_new).any())
    return RowChanges(
        n_old=len(old),
        n_new=len(new),
        fresh=fresh,
        gone=gone,
        changed=changed,
        cells=cells,
        is_reordered=is_reordered,
    )


def _compare_by_id(
    old: pd.DataFrame, new: pd.DataFrame, dataset: Dataset, shared: list[str]
) -> tuple[int | None, dict[str, int]]:
    """Return the number of changed rows, and of changed cells by column, the most first.

    The number is None where no column of ids tells the rows apart.
    """
    columns = dataset.columns.items()
    ids = [name for name, column in columns if column.kind == "id" and name in shared]
    if not ids:
        return None, {}
    by = ids[0]
    has_repeated = any(version[by].duplicated().any() for version in (old, new))
    if has_repeated:
        return None, {}

    a = old[shared].astype(str).set_index(by)
    b = new[shared].astype(str).set_index(by)
    both = a.index.intersection(b.index)
    differs = a.loc[both] != b.loc[both]
    n_changed = differs.sum().sort_values(ascending=False)
    cells = {str(name): int(n) for name, n in n_changed.items() if n}
    return int(differs.any(axis=1).sum()), cells


def compare_columns(
    old: pd.DataFrame, new: pd.DataFrame, dataset: Dataset
) -> list[tuple[str, str]]:
    """Return pairs of a column and what happened to it.

    Columns may come and go, and so may the levels of a column.
    """
    new_names = [str(name) for name in new.columns if name not in old.columns]
    gone_names = [str(name) for name in old.columns if name not in new.columns]
    changes = [(name, "new column" + _describe_role(name, dataset)) for name in new_names]
    changes += [(name, "column is gone" + _describe_role(name, dataset)) for name in gone_names]

    for name, column in dataset.columns.items():
        if column.kind != "category" or name not in old or name not in new:
            continue
        before = _levels(old[name], dataset)
        now = _levels(new[name], dataset)
        came = sorted(now - before)
        went = sorted(before - now)
        if came:
            plural = "s" if len(came) > 1 else ""
            changes.append((name, f"new level{plural}: {_list_first(came)}"))
        if went:
            changes.append((name, f"no longer there: {_list_first(went)}"))
    return changes


def _levels(values: pd.Series, dataset: Dataset) -> set[str]:
    """Return the levels of a raw column, without the words for a missing value."""
    return set(values.dropna().astype(str)) - set(dataset.source.missing)


def _describe_role(name: str, dataset: Dataset) -> str:
    """Return the role of a column in the dataset, as part of a sentence."""
    if name == dataset.target.column:
        return ", the target"
    if name in dataset.columns:
        return f", a {dataset.columns[name].kind}"
    return ", not named by the dataset"


def _list_first(levels: list[str], n_shown: int = 5) -> str:
    """Return the first levels in words, and how many there are beside them."""
    text = ", ".join(levels[:n_shown])
    if len(levels) > n_shown:
        text += f" and {len(levels) - n_shown} more"
    return text
