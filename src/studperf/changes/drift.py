"""Whether the rows that came look drawn from the same population as the old ones, column by column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studperf.data.schema import Table

MIN_ROWS = 100
"""Below, a shift of half a standard deviation is missed more often than found: power 0.15 with 30 rows, 0.85 with 100."""
_ALPHA = 0.01


@dataclass(frozen=True)
class Drift:
    """One column. `shift` is in the old version's standard deviations for numbers, Cramer's V for levels."""

    column: str
    old: str
    new: str
    shift: float
    p: float | None
    """Corrected for the number of columns; None when the rows are too few to tell."""
    missing: tuple[float, float]

    @property
    def has_drifted(self) -> bool:
        """Whether chance is no explanation."""
        return self.p is not None and self.p < _ALPHA


def find_drift(
    old: Table, new: Table, fresh: NDArray[np.bool_], gone: NDArray[np.bool_]
) -> list[Drift]:
    """A line for each column that both versions have, the most shifted first.

    Rows that both versions have say nothing of a change, and would make it look smaller: the rows that came are tested against all old
    ones, or, when none came, those that went against those that stayed.
    """
    dataset = new.dataset
    names = [dataset.target.column, *dataset.feature_names]
    names = [name for name in names if name in old.frame and name in new.frame]
    first, second = (
        (old.frame, new.frame[fresh]) if fresh.any() else (old.frame[~gone], old.frame[gone])
    )
    found = []
    for name in names:
        is_level = name in dataset.columns and dataset.columns[name].kind in ("category", "flag")
        a, b = old.frame[name], new.frame[name]
        p = None
        if min(len(first), len(second)) >= MIN_ROWS:
            p = min(
                1.0,
                _p_value(first[name].dropna(), second[name].dropna(), is_level=is_level)
                * len(names),
            )
        told = (_modes(a), _modes(b)) if is_level else (_moments(a), _moments(b))
        shift = _cramers_v(a.dropna(), b.dropna()) if is_level else _standardised(a, b)
        found.append(Drift(name, *told, shift, p, (float(a.isna().mean()), float(b.isna().mean()))))
    return sorted(found, key=lambda drift: (not drift.has_drifted, -abs(drift.shift)))


def _p_value(a: pd.Series, b: pd.Series, *, is_level: bool) -> float:
    from scipy import stats

    if not len(a) or not len(b):
        return 1.0
    if not is_level:
        return float(stats.ks_2samp(a, b).pvalue)
    counts = _counts(a, b)
    return float(stats.chi2_contingency(counts).pvalue) if counts.shape[1] > 1 else 1.0


def _counts(a: pd.Series, b: pd.Series) -> NDArray[np.int64]:
    """(2, L) how often each level comes in each."""
    levels = sorted(set(a) | set(b))
    return np.array(
        [[int((side == level).sum()) for level in levels] for side in (a, b)], dtype=np.int64
    )


def _cramers_v(a: pd.Series, b: pd.Series) -> float:
    from scipy import stats

    if not len(a) or not len(b):
        return 0.0
    counts = _counts(a, b)
    if counts.shape[1] < 2:  # noqa: PLR2004 - a single level can't shift
        return 0.0
    return float(np.sqrt(stats.chi2_contingency(counts, correction=False).statistic / counts.sum()))


def _standardised(a: pd.Series, b: pd.Series) -> float:
    spread = float(a.std())
    return float((b.mean() - a.mean()) / spread) if spread > 0 else 0.0


def _moments(values: pd.Series) -> str:
    return f"{values.mean():.4g} ± {values.std():.3g}"


def _modes(values: pd.Series, n_shown: int = 2) -> str:
    shares = values.value_counts(normalize=True).head(n_shown)
    return ", ".join(f"{level} {share:.0%}" for level, share in shares.items())
