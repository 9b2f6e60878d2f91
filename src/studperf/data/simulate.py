"""Tables drawn from a dataset's own description: a planted linear law and Gaussian noise."""

from __future__ import annotations

import numpy as np
import pandas as pd

from studperf.config.dataset import Column, Dataset
from studperf.data.large.memory import available_bytes
from studperf.errors import DataError

_DEFAULT_RANGE = (0.0, 1.0)
_TARGET_STEP = 0.1
# Bytes of a cell, at least.
_BYTES = 8


def simulate(dataset: Dataset) -> pd.DataFrame:
    """Draw a table with every column of the dataset.

    The same seed and number of rows give the same table. Numbers are uniform over `typical` (else
    `range`) in steps of `step`, levels and flags are equally likely, ids count from 1, leak columns
    follow from the target by their `cut`, and

        target = intercept + sum(law[c] * column[c]) + N(0, noise_sd), rounded to 0.1 and clipped to
        the target's range.

    Raises:
        DataError: the dataset has no `simulate` block, or a leak column without `cut`; or more rows
            than memory holds.
    """
    plan = dataset.source.simulate
    if plan is None:
        raise DataError(
            f"data.source.simulate: dataset {dataset.name!r} says nothing about simulation"
        )
    n_bytes = plan.rows * (len(dataset.columns) + 1) * _BYTES
    available = available_bytes()
    if available is not None and n_bytes > available:
        raise DataError(
            f"data.source.simulate.rows: {plan.rows:,} rows take about {n_bytes / 1e9:,.1f} GB, "
            f"and there are {available / 1e9:,.1f} GB"
        )

    rng = np.random.default_rng(plan.seed)
    drawn = {}
    for name, column in dataset.columns.items():
        if not _follows(column):
            drawn[name] = _draw(column, plan.rows, rng)

    score = plan.intercept + rng.normal(0.0, plan.noise_sd, plan.rows)
    for name, weight in plan.law.items():
        score = score + weight * drawn[name].to_numpy(dtype=float)
    score = np.round(score / _TARGET_STEP) * _TARGET_STEP
    if dataset.target.range is not None:
        score = np.clip(score, *dataset.target.range)
    # Without the dust of floating point, which a file would hold.
    score = np.round(score, 6)

    for name, column in dataset.columns.items():
        if not _follows(column):
            continue
        if column.cut is None:
            raise DataError(
                f"data.columns.{name}: to simulate a leak column, "
                "say how it follows from the target with `cut`"
            )
        labels = np.array(column.cut.labels)
        places = np.searchsorted(column.cut.at, score, side="right")
        drawn[name] = pd.Series(labels[places])
    table = {name: drawn[name] for name in dataset.columns}
    return pd.DataFrame({**table, dataset.target.column: score})


def _follows(column: Column) -> bool:
    """Return True if a column follows from the target, whatever kind an override gave it."""
    return column.kind == "leak" or column.cut is not None


def _draw(column: Column, n_rows: int, rng: np.random.Generator) -> pd.Series:
    """Draw a column that does not follow from the target."""
    match column.kind:
        case "id":
            return pd.Series(np.arange(1, n_rows + 1))
        case "flag":
            return pd.Series(rng.integers(0, 2, n_rows))
        case "category" if column.levels:
            codes = rng.integers(0, len(column.levels), n_rows)
            return pd.Series(np.array(column.levels)[codes])
        case _:
            low, high = column.typical or column.range or _DEFAULT_RANGE
            if column.step is None:
                return pd.Series(rng.uniform(low, high, n_rows))
            n_steps = round((high - low) / column.step)
            steps = rng.integers(0, n_steps + 1, n_rows)
            return pd.Series(np.round(low + column.step * steps, 6))
