"""The folds of the baselines' cross-validation, drawn from a fixed seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SEED = 20_002
_N_FOLDS = 5
_FEW_FOLDS = 3
_REPEATED_BELOW = 250
_N_REPEATS = 2
_FEWER_FOLDS_ABOVE = 2_000
_ONE_HOLDOUT_ABOVE = 10_000
_N_HELD_OUT = 10_000
_HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class Fold:
    """One part to fit on and one to score on, as row numbers."""

    train: np.ndarray
    held_out: np.ndarray


def draw_folds(groups: np.ndarray) -> list[Fold]:
    """Draw the folds of cross-validation, without parting rows of one group.

    Few rows are cut in five parts, and once more in five other ones, because one cut says little
    about them. More rows are cut in three, and of many rows one part is held out: there a single
    part tells the baselines apart, and further fits would only cost time.

    Args:
        groups: (N,) each row's group, counted from 0.
    """
    n_rows = len(groups)
    rng = np.random.default_rng(_SEED)
    if n_rows > _ONE_HOLDOUT_ABOVE:
        share = min(_HELD_OUT_SHARE, _N_HELD_OUT / n_rows)
        order = rng.permutation(int(groups.max()) + 1)
        n_held = max(1, round(share * len(order)))
        is_held = np.isin(groups, order[:n_held])
        return [Fold(np.flatnonzero(~is_held), np.flatnonzero(is_held))]
    n_folds = _FEW_FOLDS if n_rows > _FEWER_FOLDS_ABOVE else _N_FOLDS
    n_repeats = _N_REPEATS if n_rows < _REPEATED_BELOW else 1
    folds = []
    for _ in range(n_repeats):
        part = _draw_parts(groups, n_folds, rng)
        for number in range(n_folds):
            is_held = part == number
            # Of few groups, a part may get none or all.
            if 0 < is_held.sum() < n_rows:
                folds.append(Fold(np.flatnonzero(~is_held), np.flatnonzero(is_held)))
    return folds


def _draw_parts(
    groups: np.ndarray,
    n_parts: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return each row's part, (N,), the parts as even as whole groups allow."""
    order = rng.permutation(int(groups.max()) + 1)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    if len(order) == len(groups):
        return np.asarray(place[groups] % n_parts)
    sizes = np.bincount(groups)[order]
    # By the rows that come before a group, so that one large group does not unbalance all parts.
    starts = np.cumsum(sizes) - sizes
    part_of_group = np.minimum(starts * n_parts // len(groups), n_parts - 1)
    return np.asarray(part_of_group[place][groups])
