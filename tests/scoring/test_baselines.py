"""Baselines: what they read, what they are fitted to, and which of them is the strongest."""

import time
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

from studperf.config.dataset import Dataset
from studperf.data.hashes import group_equal_rows
from studperf.data.schema import Table
from studperf.scoring.baselines.choice import choose_strongest
from studperf.scoring.baselines.fit import NAMES, Baselines
from studperf.scoring.baselines.fit import fit_baselines as fit_to_groups
from studperf.scoring.baselines.folds import Fold, draw_folds
from studperf.scoring.baselines.inputs import NO_LEVEL, Reader
from studperf.scoring.baselines.ridge import MAX_LEVELS
from studperf.scoring.metrics import FloatArray


def table_of(**columns: Any) -> Table:
    """Text is a category, everything else a number; `y` is the target."""
    frame = pd.DataFrame(columns)
    kinds = {}
    for name in frame.columns.drop("y"):
        is_number = pd.api.types.is_numeric_dtype(frame[name])
        kinds[name] = {"kind": "number" if is_number else "category"}
    dataset = Dataset.model_validate(
        {
            "name": "made",
            "source": {"path": "made.csv", "otherwise": "fail"},
            "target": {"column": "y"},
            "columns": kinds,
            "split": {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 0},
        }
    )
    return Table(frame, dataset)


def fit_baselines(train: Table) -> Baselines:
    return fit_to_groups(train, group_equal_rows(train))


def rmse(predicted: FloatArray, table: Table) -> float:
    return float(np.sqrt(np.mean((predicted - table.target) ** 2)))


@pytest.fixture(scope="module")
def linear() -> Table:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4)) * [1, 10, 100, 1] + [0, 5, 0, 0]
    y = 3 + x @ [2, 0.3, 0.01, 0] + rng.normal(size=400)
    return table_of(a=x[:, 0], b=x[:, 1], c=x[:, 2], d=x[:, 3], y=y)


@pytest.fixture(scope="module")
def train(linear: Table) -> Table:
    return linear.rows(np.arange(300))


@pytest.fixture(scope="module")
def test(linear: Table) -> Table:
    return linear.rows(np.arange(300, 400))


@pytest.fixture(scope="module")
def fitted(train: Table) -> Baselines:
    return fit_baselines(train)


def test_every_baseline_predicts_every_row(fitted: Baselines, test: Table) -> None:
    predicted = fitted.predict(test)
    assert tuple(predicted) == NAMES
    for values in predicted.values():
        assert (values.shape, values.dtype) == ((100,), np.float64)


def test_mean_is_that_of_the_training_rows(fitted: Baselines, train: Table, test: Table) -> None:
    assert set(fitted.predict(test)["mean"]) == {train.target.mean()}


def test_ridge_is_that_of_sklearn_on_standardised_columns(
    fitted: Baselines, train: Table, test: Table
) -> None:
    names = list("abcd")
    scaler = StandardScaler().fit(train.frame[names].to_numpy())
    ridge = Ridge(fitted.ridge.alpha)
    ridge.fit(scaler.transform(train.frame[names].to_numpy()), train.target)
    expected = ridge.predict(scaler.transform(test.frame[names].to_numpy()))
    np.testing.assert_allclose(fitted.predict(test)["ridge"], expected, rtol=1e-9)


def test_ridge_is_near_the_law_that_made_the_rows(
    fitted: Baselines, train: Table, test: Table
) -> None:
    names = list("abcd")
    law = LinearRegression().fit(train.frame[names], train.target).predict(test.frame[names])
    assert np.sqrt(np.mean((fitted.predict(test)["ridge"] - law) ** 2)) < 0.15


def test_ridge_keeps_its_digits_on_a_large_target(train: Table, test: Table) -> None:
    far = Table(train.frame.assign(y=train.frame["y"] + 1e9), train.dataset)
    near = fit_baselines(train).predict(test)["ridge"]
    np.testing.assert_allclose(fit_baselines(far).predict(test)["ridge"] - 1e9, near, atol=1e-4)


def test_constant_column_does_no_harm(train: Table, test: Table, fitted: Baselines) -> None:
    columns = {name: train.frame[name] for name in "abcdy"}
    wider = fit_baselines(table_of(**columns, e=np.full(300, 0.1)))
    probe = table_of(**{name: test.frame[name] for name in "abcdy"}, e=np.full(100, 7.0))
    expected = fitted.predict(test)["ridge"]
    np.testing.assert_allclose(wider.predict(probe)["ridge"], expected, rtol=1e-6)


def test_baselines_are_the_same_each_time(fitted: Baselines, train: Table, test: Table) -> None:
    again = fit_baselines(train)
    for name, values in again.predict(test).items():
        np.testing.assert_array_equal(values, fitted.predict(test)[name])
    assert again.choice == fitted.choice


@pytest.mark.parametrize("n", [10, 25])
def test_few_rows_are_enough(n: int, train: Table, test: Table) -> None:
    small = fit_baselines(train.rows(np.arange(n))).predict(test)
    assert all(np.isfinite(values).all() for values in small.values())


def test_missing_numbers_and_levels_are_read(train: Table) -> None:
    rng = np.random.default_rng(1)
    level = rng.choice(["p", "q"], 300).astype(object)
    signal = (level == "p") * 10.0
    a = rng.normal(size=300)
    a[::7] = np.nan
    level[::5] = None
    table = table_of(a=a, level=level, y=signal + rng.normal(size=300))
    unknown = table_of(a=[np.nan, 0.0], level=["never seen", None], y=[0.0, 0.0])
    for values in fit_baselines(table).predict(unknown).values():
        assert np.isfinite(values).all()


# Categories


def test_levels_are_coded_by_how_frequent_they_are() -> None:
    table = table_of(level=["b", "a", "c", "a", "c", None], y=np.arange(6.0))
    reader = Reader.fit(table)
    assert reader.read(table).codes[:, 0].tolist() == [2, 0, 1, 0, 1, NO_LEVEL]
    assert reader.read(table_of(level=["z"], y=[0.0])).codes[0, 0] == NO_LEVEL


def levels_table(n_rows: int, n_levels: int, seed: int = 0) -> Table:
    """Each level has an effect of its own, of standard deviation 3 beside noise of 1."""
    rng = np.random.default_rng(seed)
    effects = np.random.default_rng(99).normal(0, 3, n_levels)
    code = rng.integers(0, n_levels, n_rows)
    level = np.array([f"level {number}" for number in code], dtype=object)
    return table_of(
        level=level, x=rng.normal(size=n_rows), y=effects[code] + rng.normal(size=n_rows)
    )


def test_boosting_takes_categories_as_they_are() -> None:
    train, test = levels_table(3700, 185), levels_table(1000, 185, seed=1)
    assert rmse(fit_baselines(train).predict(test)["boosting"], test) < 1.3  # the noise alone is 1


def test_boosting_learns_from_levels_of_few_rows() -> None:
    train, test = levels_table(480, 60), levels_table(1000, 60, seed=1)
    # Eight rows a level; the spread between levels is 3, and taken as they are not one level is told from another.
    assert rmse(fit_baselines(train).predict(test)["boosting"], test) < 2.0


def test_boosting_learns_from_more_levels_than_trees_tell_apart() -> None:
    train, test = levels_table(8000, 800), levels_table(1000, 800, seed=1)
    predicted = fit_baselines(train).predict(test)
    assert rmse(predicted["boosting"], test) < 2.0  # without the rare levels 2.9
    assert rmse(predicted["boosting"], test) < rmse(predicted["ridge"], test)


def test_no_row_is_told_its_own_target_by_its_level() -> None:
    rng = np.random.default_rng(0)
    level = np.array([f"level {number}" for number in np.arange(2000) // 2], dtype=object)
    table = table_of(level=level, x=rng.normal(size=2000), y=rng.normal(size=2000))
    standings = fit_baselines(table).choice.standings
    assert standings["boosting"].rmse.value == pytest.approx(standings["mean"].rmse.value, rel=0.05)


@pytest.mark.slow
def test_thousands_of_levels_take_seconds_and_little_memory() -> None:
    table = levels_table(8000, 4000)
    tracemalloc.start()
    started = time.process_time()
    ridge = fit_baselines(table).ridge
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(ridge.weights) <= 1 + MAX_LEVELS + 1
    assert peak < 200e6  # one-hot columns of all levels took 8.5 GB
    assert seconds < 60


# Which is the strongest


def test_choice_follows_the_law_that_made_the_rows(fitted: Baselines) -> None:
    assert fitted.choice.strongest == "ridge"
    assert list(fitted.choice.standings)[-1] == "mean"
    assert not fitted.choice.standings["mean"].is_tied


def test_boosting_is_chosen_where_ridge_can_not_follow() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (600, 2))
    table = table_of(a=x[:, 0], b=x[:, 1], y=np.sign(x[:, 0] * x[:, 1]))
    choice = fit_baselines(table).choice
    assert (choice.strongest, choice.tied) == ("boosting", ("boosting",))


def test_baselines_that_can_not_be_parted_are_tied() -> None:
    rng = np.random.default_rng(0)
    table = table_of(a=rng.normal(size=80), y=rng.normal(size=80))
    assert {"mean", "ridge"} <= set(fit_baselines(table).choice.tied)


def test_held_out_rows_are_not_learnt_by_heart() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 40))
    table = table_of(**{f"x{i}": x[:, i] for i in range(40)}, y=rng.normal(size=60))
    # Forty columns of noise fit sixty rows well, and say nothing of others.
    assert fit_baselines(table).choice.standings["ridge"].rmse.value > 0.9 * table.target.std()


def test_standings_by_hand() -> None:
    target = np.zeros(4)
    folds = [Fold(np.array([2, 3]), np.array([0, 1])), Fold(np.array([0, 1]), np.array([2, 3]))]
    predictions = {
        "far": [np.array([3.0, 3.0]), np.array([3.0, 3.0])],
        "near": [np.array([1.0, -1.0]), np.array([1.0, 1.0])],
    }
    choice = choose_strongest(predictions, target, folds)
    assert choice.strongest == "near"
    far = choice.standings["far"]
    assert far.rmse.value == 3.0
    assert far.behind is not None
    assert (far.behind.value, far.behind.low, far.is_tied) == (2.0, 2.0, False)
    assert (choice.n_fits, choice.n_rows) == (2, 4)


def test_choice_is_by_squared_errors() -> None:
    folds = [Fold(np.array([0]), np.array([0, 1]))]
    predictions = {"even": [np.array([2.0, 2.0])], "odd": [np.array([0.0, 3.5])]}
    # The mean absolute error would choose the other one.
    assert choose_strongest(predictions, np.zeros(2), folds).strongest == "even"


# Folds


@pytest.mark.parametrize(("n_rows", "n_folds"), [(100, 10), (1000, 5), (5000, 3), (20_000, 1)])
def test_few_rows_are_cut_more_often(n_rows: int, n_folds: int) -> None:
    folds = draw_folds(np.arange(n_rows))
    assert len(folds) == n_folds
    for fold in folds:
        assert np.intersect1d(fold.train, fold.held_out).size == 0
        assert len(fold.train) + len(fold.held_out) == n_rows
    held_out = np.concatenate([fold.held_out for fold in folds])
    if n_folds > 1:
        assert set(np.bincount(held_out)) == {2 if n_rows == 100 else 1}


@pytest.mark.parametrize("n_rows", [200, 20_000])
def test_equal_rows_are_never_parted(n_rows: int) -> None:
    groups = np.random.default_rng(0).integers(0, n_rows // 4, n_rows)
    _, groups = np.unique(groups, return_inverse=True)
    for fold in draw_folds(groups):
        assert not set(groups[fold.train]) & set(groups[fold.held_out])


def test_copies_of_rows_do_not_help_a_baseline_that_learns_by_heart() -> None:
    rng = np.random.default_rng(0)
    once = {"a": rng.normal(size=150), "b": rng.normal(size=150), "y": rng.normal(size=150)}
    copied = table_of(**{name: np.tile(values, 4) for name, values in once.items()})
    standings = fit_baselines(copied).choice.standings
    assert standings["boosting"].rmse.value > 0.95 * standings["mean"].rmse.value
