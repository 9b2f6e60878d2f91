from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from studperf.config.dataset import Dataset
from studperf.data.large.memory import available_bytes
from studperf.data.schema import check_table
from studperf.data.simulate import simulate
from studperf.errors import DataError

MakeDataset = Callable[..., Dataset]
COLUMNS: dict[str, dict[str, Any]] = {
    "a": {"kind": "number", "range": [0, 100], "typical": [10, 20], "step": 0.5},
    "b": {"kind": "number", "range": [-2, 2]},
    "c": {"kind": "number"},
    "flag": {"kind": "flag"},
    "level": {"kind": "category", "levels": ["x", "y", "z"]},
    "id": {"kind": "id"},
}


def planned(
    make_dataset: MakeDataset, columns: dict[str, dict[str, Any]] = COLUMNS, **plan: Any
) -> Dataset:
    whole = {
        "rows": 500,
        "seed": 0,
        "noise_sd": 1.0,
        "intercept": 3.0,
        "law": {"a": 2.0, "b": -5.0, "flag": 4.0},
    } | plan
    return make_dataset(columns, source={"path": None, "otherwise": "simulate", "simulate": whole})


def test_least_squares_finds_the_planted_law(make_dataset: MakeDataset) -> None:
    table = simulate(planned(make_dataset, rows=20_000))
    names = ["a", "b", "c", "flag"]
    fit = LinearRegression().fit(table[names], table["y"])
    residual = table["y"] - fit.predict(table[names])
    # Standard errors are below 0.03 for these, and 0.04 for the intercept.
    assert fit.coef_ == pytest.approx([2.0, -5.0, 0.0, 4.0], abs=0.08)
    assert fit.intercept_ == pytest.approx(3.0, abs=0.2)
    assert residual.std() == pytest.approx(1.0, abs=0.02)


def test_target_without_noise_is_the_law_to_a_tenth(make_dataset: MakeDataset) -> None:
    table = simulate(planned(make_dataset, noise_sd=0.0))
    law = 3.0 + 2.0 * table["a"] - 5.0 * table["b"] + 4.0 * table["flag"]
    assert np.abs(table["y"] - law).max() <= 0.05 + 1e-9
    assert (table["y"] * 10).to_numpy() == pytest.approx(np.round(table["y"] * 10).to_numpy())


def test_same_seed_draws_the_same_table(make_dataset: MakeDataset) -> None:
    pd.testing.assert_frame_equal(simulate(planned(make_dataset)), simulate(planned(make_dataset)))


def test_another_seed_draws_another_table(make_dataset: MakeDataset) -> None:
    first, second = simulate(planned(make_dataset)), simulate(planned(make_dataset, seed=1))
    assert (first["c"] != second["c"]).all()
    assert (first["y"] != second["y"]).mean() > 0.9


def test_columns_stay_within_their_description(make_dataset: MakeDataset) -> None:
    table = simulate(planned(make_dataset, rows=2000))
    assert list(table.columns) == [*COLUMNS, "y"]
    assert set(table["a"]) == set(np.arange(10, 20.5, 0.5))
    assert table["b"].between(-2, 2).all()
    assert table["c"].between(0, 1).all()
    assert set(table["flag"]) == {0, 1}
    assert set(table["level"]) == {"x", "y", "z"}
    assert table["id"].tolist() == list(range(1, 2001))


def test_values_are_equally_likely(make_dataset: MakeDataset) -> None:
    table = simulate(planned(make_dataset, rows=9000))
    for name, n_values in (("a", 21), ("flag", 2), ("level", 3)):
        counts = table[name].value_counts()
        expected = 9000 / n_values
        assert ((counts - expected) ** 2 / expected).sum() < n_values + 4 * np.sqrt(2 * n_values)


def test_target_is_clipped_to_its_range(make_dataset: MakeDataset) -> None:
    plan = {"rows": 500, "seed": 0, "noise_sd": 30.0, "intercept": 50.0, "law": {}}
    source = {"path": None, "otherwise": "simulate", "simulate": plan}
    table = simulate(
        make_dataset(
            {"x": {"kind": "number"}}, source=source, target={"column": "y", "range": [0, 100]}
        )
    )
    assert (table["y"].min(), table["y"].max()) == (0, 100)


def test_leak_follows_from_the_target_by_its_cut(make_dataset: MakeDataset) -> None:
    leak = {"kind": "leak", "cut": {"at": [20, 35], "labels": ["low", "middle", "high"]}}
    table = simulate(planned(make_dataset, COLUMNS | {"band": leak}))
    expected = ["low" if y < 20 else "middle" if y < 35 else "high" for y in table["y"]]
    assert set(expected) == {"low", "middle", "high"}
    assert table["band"].tolist() == expected


def test_target_on_the_cut_belongs_to_the_upper_level(make_dataset: MakeDataset) -> None:
    leak = {"kind": "leak", "cut": {"at": [3.0], "labels": ["below", "at least"]}}
    table = simulate(planned(make_dataset, COLUMNS | {"passed": leak}, noise_sd=0.0, law={}))
    assert set(table["y"]) == {3.0}
    assert set(table["passed"]) == {"at least"}


def test_simulated_students_pass_their_own_check(
    students: Dataset, students_raw: pd.DataFrame
) -> None:
    assert check_table(students_raw, students).warnings == ()


def test_column_of_the_law_may_be_switched_off(make_dataset: MakeDataset) -> None:
    off = planned(make_dataset, COLUMNS | {"a": COLUMNS["a"] | {"kind": "unused"}})
    assert "a" not in off.feature_names
    pd.testing.assert_frame_equal(simulate(off), simulate(planned(make_dataset)))


def test_leak_without_a_cut_is_refused(make_dataset: MakeDataset) -> None:
    with pytest.raises(
        DataError, match=r"data\.columns\.passed: to simulate a leak column, .*`cut`"
    ):
        simulate(planned(make_dataset, COLUMNS | {"passed": {"kind": "leak"}}))


def test_dataset_without_a_plan_is_refused(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(
        {"x": {"kind": "number"}}, source={"path": "table.csv", "otherwise": "fail"}
    )
    with pytest.raises(
        DataError, match=r"data\.source\.simulate: dataset 'small' says nothing about simulation"
    ):
        simulate(dataset)


@pytest.mark.skipif(available_bytes() is None, reason="this system does not tell its memory")
@pytest.mark.parametrize("rows", [10**15, 10**30])
def test_more_rows_than_memory_holds_are_refused_with_their_size(
    make_dataset: MakeDataset, rows: int
) -> None:
    with pytest.raises(
        DataError,
        match=r"data\.source\.simulate\.rows: 1[0,]+ rows take about [\d,]+\.\d GB, and there are",
    ):
        simulate(planned(make_dataset, rows=rows))


def test_one_row_can_be_drawn(make_dataset: MakeDataset) -> None:
    assert len(simulate(planned(make_dataset, rows=1))) == 1
