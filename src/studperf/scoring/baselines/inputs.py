"""Typed columns as the baselines read them: numbers with NaN, and levels by frequency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import pandas as pd

from studperf.config.dataset import Dataset
from studperf.scoring.metrics import FloatArray

NO_LEVEL = -1
"""The code of a missing cell, and of a level that no training row has."""


class TypedRows(Protocol):
    """Checked rows of typed columns, as `studperf.data.schema.Table` holds them."""

    @property
    def frame(self) -> pd.DataFrame:
        """Numbers and flags as float64, categories as text, missing values as NaN or None."""

    @property
    def dataset(self) -> Dataset:
        """The kinds of the columns."""

    @property
    def target(self) -> np.ndarray:
        """(N,) target, in its own unit."""

    def __len__(self) -> int:
        """Return the number of rows."""


@dataclass(frozen=True)
class Inputs:
    """The numbers and level codes of rows, for a baseline.

    Args:
        numbers: (N, F) float64, numbers and flags, NaN where there is none.
        codes: (N, C) int64, each category's level; the most frequent one in training is 0.
    """

    numbers: FloatArray
    codes: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numbers)

    def rows(self, index: np.ndarray | slice) -> Inputs:
        """Return the inputs of these rows, in this order."""
        return Inputs(self.numbers[index], self.codes[index])


@dataclass(frozen=True)
class Reader:
    """The columns that baselines read, and the levels that the training rows have."""

    numbers: tuple[str, ...]
    levels: Mapping[str, pd.Index]

    @classmethod
    def fit(cls, train: TypedRows) -> Self:
        """Learn the levels of each category, the most frequent first.

        Equally frequent ones are in order of their names.
        """
        dataset = train.dataset
        levels = {}
        for name in dataset.of_kind("category"):
            counts = train.frame[name].value_counts().sort_index()
            levels[name] = counts.sort_values(ascending=False, kind="stable").index
        return cls(dataset.of_kind("number", "flag"), levels)

    @property
    def n_levels(self) -> tuple[int, ...]:
        """Return how many levels each category has."""
        return tuple(len(levels) for levels in self.levels.values())

    def read(self, table: TypedRows) -> Inputs:
        """Read typed rows of any table with these columns."""
        n_rows = len(table)
        numbers = np.empty((n_rows, len(self.numbers)))
        for i, name in enumerate(self.numbers):
            numbers[:, i] = table.frame[name].to_numpy(dtype=np.float64)
        codes = np.empty((n_rows, len(self.levels)), dtype=np.int64)
        for i, (name, levels) in enumerate(self.levels.items()):
            codes[:, i] = levels.get_indexer(pd.Index(table.frame[name]))
        return Inputs(numbers, codes)
