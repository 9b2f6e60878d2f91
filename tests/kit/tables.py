"""Datasets and tables that the tests of several rooms share, as fixtures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kit.plain_rows import read_source
from studperf.config.dataset import Dataset
from studperf.config.load import load_overrides
from studperf.data.schema import Table, check_table
from studperf.data.simulate import simulate

DatasetMaker = Callable[..., Dataset]


@pytest.fixture(scope="session")
def students() -> Dataset:
    """The dataset of the students, drawn small."""
    return load_overrides(["data.source.simulate.rows=200"]).data


@pytest.fixture(scope="session")
def students_raw(students: Dataset) -> pd.DataFrame:
    """200 simulated students, with the types that a Parquet file keeps."""
    return simulate(students)


@pytest.fixture(scope="session")
def students_table(students: Dataset, students_raw: pd.DataFrame) -> Table:
    """The same, checked."""
    return check_table(students_raw, students)


@pytest.fixture(scope="session")
def real_table(real_csv: Path) -> Table:
    """The 8,000 real students, where the file is there."""
    dataset = load_overrides(["data.source.otherwise=fail", f"data.source.path={real_csv}"]).data
    return check_table(read_source(dataset)[0], dataset)


@pytest.fixture(scope="session")
def make_dataset() -> DatasetMaker:
    """Makes a dataset with target `y` out of columns; other blocks by keyword."""

    def make(columns: dict[str, dict[str, Any]], **blocks: Any) -> Dataset:
        plan = {"rows": 100, "seed": 0, "noise_sd": 1.0, "intercept": 0.0, "law": {}}
        plain = {
            "name": "small",
            "source": {"path": None, "otherwise": "simulate", "simulate": plan},
            "target": {"column": "y"},
            "columns": columns,
            "split": {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 0},
        }
        return Dataset.model_validate(plain | blocks)

    return make
