"""Two versions of a table of simulated students."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from studperf.config.dataset import Dataset
from studperf.config.load import load_overrides
from studperf.data.simulate import simulate
from studperf.data.versions.find import Version


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return load_overrides(["data.source.simulate.rows=900"]).data


@pytest.fixture(scope="session")
def students(dataset: Dataset) -> pd.DataFrame:
    """900 rows, as text, each with its id."""
    frame = simulate(dataset)
    return frame.astype(dict.fromkeys(frame.columns, str))


@pytest.fixture
def more(dataset: Dataset) -> Callable[[int], pd.DataFrame]:
    """So many other students of the same law."""

    def draw(n_rows: int) -> pd.DataFrame:
        plan = dataset.source.simulate
        assert plan is not None
        source = dataset.source.model_copy(
            update={"simulate": plan.model_copy(update={"rows": n_rows, "seed": 99})}
        )
        frame = simulate(dataset.model_copy(update={"source": source}))
        frame["student_id"] = np.arange(n_rows) + 1_000_000
        return frame.astype(dict.fromkeys(frame.columns, str))

    return draw


@pytest.fixture
def version() -> Callable[[str, pd.DataFrame], Version]:
    def make(name: str, frame: pd.DataFrame) -> Version:
        return Version(
            name, f"{pd.util.hash_pandas_object(frame.astype(str)).sum():032x}"[:32], frame
        )

    return make
