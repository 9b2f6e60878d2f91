"""Draws a table from a dataset's own description: a planted linear law and Gaussian noise of known size."""

from __future__ import annotations

import numpy as np
import pandas as pd

from studperf.config.dataset import Column, Dataset
from studperf.data.memory import available_bytes
from studperf.errors import DataError

_DEFAULT_RANGE = (0.0, 1.0)
_TARGET_STEP = 0.1
_BYTES = 8
"""Of a cell, at least."""


def simulate(dataset: Dataset) -> pd.DataFrame:
    """A table with every column of the dataset; the same seed and number of rows give the same table.

    Numbers are uniform over `typical` (else `range`) in steps of `step`, levels and flags are equally likely, ids count from 1,
    leak columns follow from the target by their `cut`, and

        target = intercept + sum(law[c] * column[c]) + N(0, noise_sd), rounded to 0.1 and clipped to the target's range.

    Raises:
        DataError: the dataset has no `simulate` block, or a leak column without `cut`; or more rows than memory holds.
    """
    plan = dataset.source.simulate
    if plan is None:
        raise DataError(
            f"data.source.simulate: dataset {dataset.name!r} says nothing about simulation"
        )
    rng = np.random.default_rng(plan.seed)
    n_bytes, available = plan.rows * (len(dataset.columns) + 1) * _BYTES, available_bytes()
    if available is not None and n_bytes > available:
        raise DataError(
            f"data.source.simulate.rows: {plan.rows:,} rows take about {n_bytes / 1e9:,.1f} GB, and there are {available / 1e9:,.1f} GB"
        )
    drawn = {
        name: _draw(column, plan.rows, rng)
        for name, column in dataset.columns.items()
        if not _follows(column)
    }
    score = plan.intercept + rng.normal(0.0, plan.noise_sd, plan.rows)
    for name, weight in plan.law.items():
        score = score + weight * drawn[name].to_numpy(dtype=float)
    score = np.round(score / _TARGET_STEP) * _TARGET_STEP
    if dataset.target.range is not None:
        score = np.clip(score, *dataset.target.range)
    score = np.round(score, 6)
    for name, column in dataset.columns.items():
        if _follows(column):
            if column.cut is None:
                raise DataError(
                    f"data.columns.{name}: to simulate a leak column, say how it follows from the target with `cut`"
                )
            labels = np.array(column.cut.labels)
            drawn[name] = pd.Series(labels[np.searchsorted(column.cut.at, score, side="right")])
    table = {name: drawn[name] for name in dataset.columns}
    return pd.DataFrame({**table, dataset.target.column: score})


def _follows(column: Column) -> bool:
    """From the target, whatever kind an override may have given it."""
    return column.kind == "leak" or column.cut is not None


def _draw(column: Column, n_rows: int, rng: np.random.Generator) -> pd.Series:
    match column.kind:
        case "id":
            return pd.Series(np.arange(1, n_rows + 1))
        case "flag":
            return pd.Series(rng.integers(0, 2, n_rows))
        case "category" if column.levels:
            return pd.Series(np.array(column.levels)[rng.integers(0, len(column.levels), n_rows)])
        case _:
            low, high = column.typical or column.range or _DEFAULT_RANGE
            if column.step is None:
                return pd.Series(rng.uniform(low, high, n_rows))
            n_steps = round((high - low) / column.step)
            return pd.Series(np.round(low + column.step * rng.integers(0, n_steps + 1, n_rows), 6))
