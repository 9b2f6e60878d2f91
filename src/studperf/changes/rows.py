"""Which rows came, went and changed, and which columns and levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studperf.config.dataset import Dataset
from studperf.data.hashes import hash_rows


@dataclass(frozen=True)
class RowChanges:
    """Counts, and which rows of each version the other one does not have.

    `changed` are rows with the id of an old one and other cells; they are fresh in the new version and gone from the old one.
    """

    n_old: int
    n_new: int
    fresh: NDArray[np.bool_]
    """(n_new,) rows that no row of the old version equals."""
    gone: NDArray[np.bool_]
    """(n_old,) rows that no row of the new version equals."""
    changed: int | None
    """None without a column of ids."""
    cells: dict[str, int]
    """Column -> changed cells, of rows known by their id."""
    is_reordered: bool


def compare_rows(old: pd.DataFrame, new: pd.DataFrame, dataset: Dataset) -> RowChanges:
    """Holds raw rows against each other, by the columns that both have."""
    shared = [name for name in new.columns if name in old.columns]
    hash_old, hash_new = hash_rows(old[shared].astype(str)), hash_rows(new[shared].astype(str))
    fresh, gone = ~np.isin(hash_new, hash_old), ~np.isin(hash_old, hash_new)
    changed, cells = _compare_by_id(old, new, dataset, shared)
    is_reordered = (
        len(old) == len(new)
        and not fresh.any()
        and not gone.any()
        and bool((hash_old != hash_new).any())
    )
    return RowChanges(len(old), len(new), fresh, gone, changed, cells, is_reordered)


def _compare_by_id(
    old: pd.DataFrame, new: pd.DataFrame, dataset: Dataset, shared: list[str]
) -> tuple[int | None, dict[str, int]]:
    ids = [
        name for name, column in dataset.columns.items() if column.kind == "id" and name in shared
    ]
    if not ids or old[ids[0]].duplicated().any() or new[ids[0]].duplicated().any():
        return None, {}
    a, b = (frame[shared].astype(str).set_index(ids[0]) for frame in (old, new))
    both = a.index.intersection(b.index)
    differs = a.loc[both] != b.loc[both]
    cells = {
        str(name): int(n) for name, n in differs.sum().sort_values(ascending=False).items() if n
    }
    return int(differs.any(axis=1).sum()), cells


def compare_columns(
    old: pd.DataFrame, new: pd.DataFrame, dataset: Dataset
) -> list[tuple[str, str]]:
    """(column, what happened) for columns that came or went and levels that were never or are no longer there."""
    told = [
        (str(name), "new column" + _place(str(name), dataset))
        for name in new.columns
        if name not in old.columns
    ]
    told += [
        (str(name), "column is gone" + _place(str(name), dataset))
        for name in old.columns
        if name not in new.columns
    ]
    for name, column in dataset.columns.items():
        if column.kind != "category" or name not in old or name not in new:
            continue
        before, now = (
            set(frame[name].dropna().astype(str)) - set(dataset.source.missing)
            for frame in (old, new)
        )
        if came := sorted(now - before):
            told.append((name, f"new level{'s' if len(came) > 1 else ''}: {_some(came)}"))
        if went := sorted(before - now):
            told.append((name, f"no longer there: {_some(went)}"))
    return told


def _place(name: str, dataset: Dataset) -> str:
    if name == dataset.target.column:
        return ", the target"
    return (
        f", a {dataset.columns[name].kind}"
        if name in dataset.columns
        else ", not named by the dataset"
    )


def _some(levels: list[str], n_shown: int = 5) -> str:
    more = f" and {len(levels) - n_shown} more" if len(levels) > n_shown else ""
    return ", ".join(levels[:n_shown]) + more
