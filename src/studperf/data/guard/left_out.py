"""Find columns that were left out of the features though they carry signal, whatever they hold.

A column that a model can't take as it is may still say much: a category of hundreds of levels, a
date, a number with its unit behind it. Each is looked at in several ways, and counts only by what
it says of rows that taught it nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from studperf.config.dataset import Dataset
from studperf.data.schema import Table, as_levels
from studperf.scoring.metrics import FloatArray

_MIN_SIGNAL = 0.02
_MIN_T = 3.5
"""Standard errors by which held-out rows must be better predicted: chance does so in 1 of 4,000."""
_MIN_ROWS = 30
_MAX_ROWS = 20_000
_MAX_LEVELS = 50
_N_BINS = 20
_N_FOLDS = 5
_MOSTLY = 0.9
_PRIOR_ROWS = 5
"""Rows of the overall mean that are added to each level's own, so that rare levels say little."""
_MIN_REPEATED = 0.1
_N_CHARACTERS = 100
_N_TRIED_DATES = 200
_DATE_LIKE = re.compile(r"\d+\D+(?:\d+|[A-Za-z]{3,})\D+\d+|[A-Za-z]{3,}\D+\d+\D+\d+|\d{8}")
_NUMBER = r"([-+]?\d+(?:[.,]\d+)*)"


@dataclass(frozen=True)
class _View:
    """One way to look at a column: numbers, levels, or both at once."""

    codes: np.ndarray
    """(N,) level of each row."""
    numbers: FloatArray | None = None
    """(N,) NaN where missing; a straight line is tried on them beside the levels."""


def left_out_signal(table: Table, dataset: Dataset) -> list[tuple[str, float]]:
    """Return columns that are no feature though they explain the target, strongest first.

    Each comes with the share of variance that it explains alone. Columns of kind leak and id are
    not looked at.

    Args:
        table: the training rows, of which 20,000 are looked at.
        dataset: names the features.
    """
    target = table.target
    is_known = np.isfinite(target)
    rows = np.flatnonzero(is_known)
    if len(rows) > _MAX_ROWS:
        rng = np.random.default_rng(0)
        rows = np.sort(rng.choice(rows, _MAX_ROWS, replace=False))
    frame, target = table.frame.iloc[rows], target[rows]
    shares = []
    for name, column in dataset.columns.items():
        is_looked_at = name not in dataset.feature_names and column.kind not in ("id", "leak")
        if not is_looked_at or name not in frame:
            continue
        share = explained_share(frame[name], target)
        if share >= _MIN_SIGNAL:
            shares.append((name, share))
    return sorted(shares, key=lambda pair: -pair[1])


def explained_share(values: pd.Series, target: FloatArray) -> float:
    """Return the share of the target's variance that a column explains alone; 0 where chance would.

    Args:
        values: (N,) whatever the column holds.
        target: (N,) finite.
    """
    target = _scale_exactly(target)
    if len(target) < _MIN_ROWS or np.ptp(target) == 0:
        return 0.0
    return max((_measure_view(view, target) for view in _look_at(values)), default=0.0)


def _scale_exactly(values: FloatArray) -> FloatArray:
    """Return values divided by a power of two that makes the largest of them about 1.

    The share that a column explains is the same in any unit. Squares of values above 1e154 would
    be too large for a float, and a power of two changes no bit of the others.
    """
    largest = np.max(np.abs(values[np.isfinite(values)]), initial=0.0)
    _, exponent = np.frexp(largest)
    return np.asarray(np.ldexp(values, -int(exponent)))


def _look_at(values: pd.Series) -> Iterator[_View]:
    """Yield the ways in which a column is looked at."""
    n_known = int(values.notna().sum())
    if not pd.api.types.is_numeric_dtype(values):
        # Cells of whole pages would take minutes.
        values = values.map(lambda cell: cell[:_N_CHARACTERS] if isinstance(cell, str) else cell)
    numbers = pd.to_numeric(values, errors="coerce")
    numbers = numbers.replace([np.inf, -np.inf], np.nan)
    if n_known == 0:
        return
    if _are_numbers(numbers, n_known):
        yield from _look_at_numbers(numbers)
        return
    text = as_levels(values)
    yield from _look_at_levels(text)
    dates = _read_dates(text, n_known)
    if dates is not None:
        days = (dates - dates.min()).dt.total_seconds() / 86_400
        yield from _look_at_numbers(days)
        yield from _look_at_levels(dates.dt.month)
        yield from _look_at_levels(dates.dt.day_of_week)
        yield from _look_at_levels(dates.dt.hour)
        return
    inside = text.str.extract(_NUMBER, expand=False)
    found = pd.to_numeric(inside.str.replace(",", ".", regex=False), errors="coerce")
    if _are_numbers(found, n_known):
        yield from _look_at_numbers(found)
    yield from _look_at_levels(text.str.extract(r"^\W*([^\W\d_]+)", expand=False))


def _are_numbers(numbers: pd.Series, n_known: int) -> bool:
    """Return True if most cells are numbers of three values or more; two are taken as levels."""
    is_most = bool(numbers.notna().sum() >= _MOSTLY * n_known)
    return is_most and numbers.nunique() > 2  # noqa: PLR2004 - a flag has levels


def _look_at_numbers(numbers: pd.Series) -> Iterator[_View]:
    """Yield numbers as a line with bins, and, where they repeat like codes, as levels."""
    ranks = numbers.rank(pct=True)
    bins = np.ceil(ranks.fillna(0).to_numpy() * _N_BINS).astype(int)
    yield _View(bins, _scale_exactly(numbers.to_numpy(dtype=float)))
    yield from _look_at_levels(numbers)


def _look_at_levels(levels: pd.Series) -> Iterator[_View]:
    """Yield levels of which enough repeat; no value at all is a level too."""
    codes = pd.factorize(levels, use_na_sentinel=False)[0]
    counts = np.bincount(codes)
    is_repeated = counts[codes] > 1
    if len(counts) > 1 and is_repeated.mean() >= _MIN_REPEATED:
        yield _View(codes)


def _read_dates(text: pd.Series, n_known: int) -> pd.Series | None:
    """Return the dates that a column of text holds; None where it holds others."""
    distinct = pd.Series(text.dropna().unique())
    tried = distinct.head(_N_TRIED_DATES)
    if tried.str.contains(_DATE_LIKE).mean() < _MOSTLY:
        return None
    # A point parts day, month and year where the day comes first.
    is_day_first = bool(tried.str.match(r"\d{1,2}\.\d{1,2}\.").mean() >= _MOSTLY)
    if _to_dates(tried, is_day_first=is_day_first).notna().mean() < _MOSTLY:
        return None
    read = _to_dates(distinct, is_day_first=is_day_first)
    date_of = dict(zip(distinct, read, strict=True))
    dates = pd.to_datetime(text.map(date_of), utc=True)
    return dates if dates.notna().sum() >= _MOSTLY * n_known else None


def _to_dates(text: pd.Series, *, is_day_first: bool) -> pd.Series:
    return pd.to_datetime(text, errors="coerce", format="mixed", dayfirst=is_day_first, utc=True)


def _measure_view(view: _View, target: FloatArray) -> float:
    """Return the share that a view explains, if it predicts rows better that were held back."""
    counts = np.bincount(view.codes)
    n_levels = int((counts > 0).sum())
    by_levels = _held_back_share(_guess_by_levels(view.codes, target), target)
    if view.numbers is None:
        if by_levels > 0 and n_levels <= min(_MAX_LEVELS, len(target) / 2):
            return _adjusted_share(view.codes, n_levels, target)
        return by_levels
    by_line = _held_back_share(_guess_by_line(view.numbers, target), target)
    if by_line > 0 and by_line >= by_levels - _MIN_SIGNAL:
        is_known = np.isfinite(view.numbers)
        line = np.corrcoef(view.numbers[is_known], target[is_known])[0, 1]
        return float(line**2)
    return max(by_levels, 0.0)


def _held_back_share(guess: FloatArray, target: FloatArray) -> float:
    """Return the share of variance that guesses of held-back rows explain; 0 where chance might."""
    gain = (target - target.mean()) ** 2 - (target - guess) ** 2
    error = float(gain.std()) / np.sqrt(len(gain))
    if gain.mean() <= _MIN_T * error:
        return 0.0
    return float(gain.mean() / target.var())


def _draw_folds(n_rows: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(n_rows) % _N_FOLDS


def _guess_by_levels(codes: np.ndarray, target: FloatArray) -> FloatArray:
    """Return each row's level's mean over the other folds, drawn towards the overall mean."""
    folds, n_levels = _draw_folds(len(target)), int(codes.max()) + 1
    guess = np.empty_like(target)
    for fold in range(_N_FOLDS):
        test = folds == fold
        taught, goal = codes[~test], target[~test]
        mean = goal.mean()
        sums = np.bincount(taught, weights=goal - mean, minlength=n_levels)
        counts = np.bincount(taught, minlength=n_levels)
        guess[test] = mean + (sums / (counts + _PRIOR_ROWS))[codes[test]]
    return guess


def _guess_by_line(numbers: FloatArray, target: FloatArray) -> FloatArray:
    """Return a straight line's guess, fitted on the other folds; the mean if there is no number."""
    folds = _draw_folds(len(target))
    is_known = np.isfinite(numbers)
    guess = np.empty_like(target)
    for fold in range(_N_FOLDS):
        test = folds == fold
        known = test & is_known
        guess[test] = target[~test].mean()
        x, y = numbers[~test & is_known], target[~test & is_known]
        if len(x):
            spread = float(x.var())
            covariance = float(((x - x.mean()) * y).mean())
            slope = covariance / spread if spread else 0.0
            guess[known] = y.mean() + slope * (numbers[known] - x.mean())
    return guess


def _adjusted_share(codes: np.ndarray, n_levels: int, target: FloatArray) -> float:
    """Return the levels' share of variance, less what as many levels without meaning would have."""
    counts = np.maximum(np.bincount(codes), 1)
    means = np.bincount(codes, weights=target) / counts
    share = float(means[codes].var() / target.var())
    n_rows = len(target)
    unexplained = (1 - share) * (n_rows - 1) / (n_rows - n_levels)
    return max(0.0, 1 - unexplained)
