"""Test whether new rows are drawn from the same population as the old ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studperf.data.schema import Table

# Below, a shift of half a standard deviation is missed more often than found: power 0.15 with 30
# rows, 0.85 with 100.
MIN_ROWS = 100
_ALPHA = 0.01


@dataclass(frozen=True)
class Drift:
    """One column's drift.

    Args:
        column: its name.
        old: its values in the old version, in words.
        new: its values in the new version, in words.
        shift: in the old version's standard deviations for numbers, Cramer's V for levels.
        p: corrected for the number of columns; None when the rows are too few to tell.
        missing: share of missing values, old and new.
    """

    column: str
    old: str
    new: str
    shift: float
    p: float | None
    missing: tuple[float, float]

    @property
    def has_drifted(self) -> bool:
        """True if chance is no explanation of the shift."""
        return self.p is not None and self.p < _ALPHA


def find_drift(
    old: Table, new: Table, fresh: NDArray[np.bool_], gone: NDArray[np.bool_]
) -> list[Drift]:
    """Return the drift of each column that both versions have, the most shifted first.

    Rows that both versions have say nothing of a change, and would make it look smaller: the rows
    that came are tested against all old ones, or, when none came, those that went against those
    that stayed.
    """
    dataset = new.dataset
    names = [dataset.target.column, *dataset.feature_names]
    names = [name for name in names if name in old.frame and name in new.frame]
    if fresh.any():
        first = old.frame
        second = new.frame[fresh]
    else:
        first = old.frame[~gone]
        second = old.frame[gone]
    has_enough = min(len(first), len(second)) >= MIN_ROWS

    found = []
    for name in names:
        is_level = name in dataset.columns and dataset.columns[name].kind in ("category", "flag")
        p = None
        if has_enough:
            # Bonferroni's correction: of many columns one drifts by chance.
            known = first[name].dropna(), second[name].dropna()
            p = min(1.0, _p_value(*known, is_level=is_level) * len(names))
        before, now = old.frame[name], new.frame[name]
        found.append(_compare_column(name, before, now, p, is_level=is_level))
    return sorted(found, key=lambda drift: (not drift.has_drifted, -abs(drift.shift)))


def _compare_column(
    name: str,
    a: pd.Series,
    b: pd.Series,
    p: float | None,
    *,
    is_level: bool,
) -> Drift:
    """Return a column's drift, with its values before and after in words."""
    shares = a.isna().mean(), b.isna().mean()
    missing = (float(shares[0]), float(shares[1]))
    if is_level:
        shift = _cramers_v(a.dropna(), b.dropna())
        return Drift(name, _describe_levels(a), _describe_levels(b), shift, p, missing)
    shift = _standardised(a, b)
    return Drift(name, _describe_numbers(a), _describe_numbers(b), shift, p, missing)


def _p_value(a: pd.Series, b: pd.Series, *, is_level: bool) -> float:
    """Return the p of a test that two samples are of one population."""
    from scipy import stats

    if not len(a) or not len(b):
        return 1.0
    if not is_level:
        return float(stats.ks_2samp(a, b).pvalue)
    counts = _count_levels(a, b)
    if counts.shape[1] < 2:  # noqa: PLR2004 - a single level can't shift
        return 1.0
    return float(stats.chi2_contingency(counts).pvalue)


def _count_levels(a: pd.Series, b: pd.Series) -> NDArray[np.int64]:
    """Return the number of rows of each level in each sample, (2, L)."""
    levels = sorted(set(a) | set(b))
    in_a = [int((a == level).sum()) for level in levels]
    in_b = [int((b == level).sum()) for level in levels]
    return np.array([in_a, in_b], dtype=np.int64)


def _cramers_v(a: pd.Series, b: pd.Series) -> float:
    """Return Cramer's V of levels and samples: 0 for equal shares, 1 for no level in common."""
    from scipy import stats

    if not len(a) or not len(b):
        return 0.0
    counts = _count_levels(a, b)
    if counts.shape[1] < 2:  # noqa: PLR2004 - a single level can't shift
        return 0.0
    # With Yates' correction two samples of two levels would never reach 1.
    chi_squared = stats.chi2_contingency(counts, correction=False).statistic
    return float(np.sqrt(chi_squared / counts.sum()))


def _standardised(a: pd.Series, b: pd.Series) -> float:
    """Return the shift of the mean in the first sample's standard deviations."""
    spread = float(a.std())
    # Also False for the NaN of a single row.
    if not spread > 0:
        return 0.0
    return float((b.mean() - a.mean()) / spread)


def _describe_numbers(values: pd.Series) -> str:
    """Return mean and standard deviation in words."""
    return f"{values.mean():.4g} ± {values.std():.3g}"


def _describe_levels(values: pd.Series, n_shown: int = 2) -> str:
    """Return the most frequent levels with their shares, in words."""
    shares = values.value_counts(normalize=True).head(n_shown)
    return ", ".join(f"{level} {share:.0%}" for level, share in shares.items())
