import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.preprocessing import StandardScaler

from studperf.baselines import ALPHAS, best_baseline, fit_predict
from studperf.metrics import FloatArray

Parts = dict[str, FloatArray]


@pytest.fixture(scope="module")
def x() -> Parts:
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(400, 6)) * [1, 10, 100, 1, 1, 1] + [0, 5, 0, 0, 0, 0]
    whole[:, 3] = whole[:, 3] > 0
    return {"train": whole[:300], "val": whole[300:350], "test": whole[350:]}


@pytest.fixture(scope="module")
def y(x: Parts) -> Parts:
    rng = np.random.default_rng(1)
    return {
        part: 3 + rows @ [2, 0.3, 0.01, 4, 0, 0] + rng.normal(size=len(rows))
        for part, rows in x.items()
    }


@pytest.fixture(scope="module")
def predicted(x: Parts, y: Parts) -> dict[str, Parts]:
    return fit_predict(x, y["train"])


def test_every_part_has_every_baseline(predicted: dict[str, Parts], x: Parts) -> None:
    assert list(predicted) == ["train", "val", "test"]
    for part, baselines in predicted.items():
        assert list(baselines) == ["mean", "ridge", "boosting"]
        assert all(
            values.shape == (len(x[part]),) and values.dtype == np.float64
            for values in baselines.values()
        )


def test_mean_is_that_of_the_training_rows(predicted: dict[str, Parts], y: Parts) -> None:
    assert set(predicted["test"]["mean"]) == {y["train"].mean()}


def test_ridge_is_that_of_sklearn_on_standardised_columns(
    predicted: dict[str, Parts], x: Parts, y: Parts
) -> None:
    scaler = StandardScaler().fit(x["train"])
    ridge = RidgeCV(ALPHAS).fit(scaler.transform(x["train"]), y["train"])
    np.testing.assert_allclose(
        predicted["test"]["ridge"], ridge.predict(scaler.transform(x["test"]))
    )


def test_ridge_is_near_the_law_that_made_the_rows(
    predicted: dict[str, Parts], x: Parts, y: Parts
) -> None:
    law = LinearRegression().fit(x["train"], y["train"]).predict(x["test"])
    assert np.sqrt(np.mean((predicted["test"]["ridge"] - law) ** 2)) < 0.1


def test_boosting_is_between_the_mean_and_the_law_on_linear_rows(
    predicted: dict[str, Parts], y: Parts
) -> None:
    errors = {
        name: np.mean((values - y["test"]) ** 2) for name, values in predicted["test"].items()
    }
    assert errors["ridge"] < errors["boosting"] < errors["mean"]


def test_boosting_finds_what_ridge_can_not() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1, 1, (600, 2))
    target = np.sign(rows[:, 0] * rows[:, 1])
    predicted = fit_predict({"train": rows[:500], "val": rows[500:]}, target[:500])["val"]
    assert best_baseline(predicted, target[500:]) == "boosting"


def test_rows_outside_of_train_teach_nothing(
    predicted: dict[str, Parts], x: Parts, y: Parts
) -> None:
    other = fit_predict({"train": x["train"], "val": x["val"] * 100, "test": x["test"]}, y["train"])
    for name in ("mean", "ridge", "boosting"):
        np.testing.assert_array_equal(other["test"][name], predicted["test"][name])


def test_baselines_are_the_same_each_time(predicted: dict[str, Parts], x: Parts, y: Parts) -> None:
    again = fit_predict(x, y["train"])
    np.testing.assert_array_equal(again["test"]["boosting"], predicted["test"]["boosting"])


@pytest.mark.parametrize("n", [10, 25])
def test_few_rows_are_enough(n: int, x: Parts, y: Parts) -> None:
    small = fit_predict({"train": x["train"][:n], "val": x["val"]}, y["train"][:n])
    assert all(np.isfinite(values).all() for values in small["val"].values())


def test_constant_column_does_no_harm(x: Parts, y: Parts) -> None:
    wider = {part: np.column_stack([rows, np.full(len(rows), 0.1)]) for part, rows in x.items()}
    ridge = fit_predict(wider, y["train"])["test"]["ridge"]
    np.testing.assert_allclose(ridge, fit_predict(x, y["train"])["test"]["ridge"], rtol=1e-6)


def test_best_baseline_has_the_smallest_squared_error() -> None:
    actual = np.zeros(2)
    # Mean absolute error would choose the second.
    assert (
        best_baseline(
            {
                "mean": np.array([9.0, 9.0]),
                "even": np.array([2.0, 2.0]),
                "odd": np.array([0.0, 3.5]),
            },
            actual,
        )
        == "even"
    )


def test_mean_may_be_the_best_baseline() -> None:
    assert (
        best_baseline({"mean": np.array([1.0]), "ridge": np.array([2.0])}, np.array([0.0]))
        == "mean"
    )
