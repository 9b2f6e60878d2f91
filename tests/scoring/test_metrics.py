from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
import torchmetrics.functional.regression as torchmetrics

from studperf.scoring import metrics
from studperf.scoring.metrics import FloatArray, Interval

EMPTY = np.array([])


def predictions(
    n: int = 300, seed: int = 0, *, error: float = 3.0
) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    actual = rng.normal(57, 13, n)
    return actual + rng.normal(0.5, error, n), actual


# Points


@pytest.mark.parametrize("n", [1, 2, 300])
def test_errors_are_those_of_sklearn(n: int) -> None:
    predicted, actual = predictions(n)
    assert metrics.rmse(predicted, actual) == pytest.approx(
        sklearn.metrics.root_mean_squared_error(actual, predicted)
    )
    assert metrics.mae(predicted, actual) == pytest.approx(
        sklearn.metrics.mean_absolute_error(actual, predicted)
    )


def test_r2_is_that_of_sklearn_and_torchmetrics() -> None:
    predicted, actual = predictions()
    assert metrics.r2(predicted, actual) == pytest.approx(
        sklearn.metrics.r2_score(actual, predicted)
    )
    theirs = torchmetrics.r2_score(torch.tensor(predicted), torch.tensor(actual))
    assert metrics.r2(predicted, actual) == pytest.approx(float(theirs))


def test_errors_by_hand() -> None:
    predicted, actual = np.array([1.0, 2.0, 6.0]), np.array([1.0, 4.0, 4.0])
    assert metrics.rmse(predicted, actual) == pytest.approx(np.sqrt(8 / 3))
    assert metrics.mae(predicted, actual) == pytest.approx(4 / 3)
    assert metrics.bias(predicted, actual) == pytest.approx(0.0)
    assert metrics.r2(predicted, actual) == pytest.approx(1 - 8 / 6)


def test_bias_is_positive_where_predictions_are_too_high() -> None:
    assert metrics.bias(np.array([3.0, 3.0]), np.array([1.0, 2.0])) == 1.5


def test_perfect_predictions_have_no_error() -> None:
    actual = np.arange(10.0)
    assert (
        metrics.rmse(actual, actual),
        metrics.mae(actual, actual),
        metrics.r2(actual, actual),
    ) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    "actual",
    [[5.0], [5.0] * 10, [50.1] * 10, [0.1] * 77],
    ids=["one row", "whole", "broken", "many"],
)
def test_r2_of_rows_that_do_not_vary_is_nan(actual: list[float]) -> None:
    rows = np.array(actual)
    predicted = rows + np.linspace(0, 1, len(rows))
    assert np.isnan(metrics.r2(predicted, rows))
    interval = metrics.scores(predicted, rows)["r2"]
    assert np.isnan([interval.value, interval.low, interval.high]).all()


@pytest.mark.parametrize(
    "function",
    [
        metrics.rmse,
        metrics.mae,
        metrics.r2,
        metrics.bias,
        metrics.scores,
        metrics.conformal_half_width,
    ],
)
@pytest.mark.parametrize(
    ("predicted", "actual"),
    [
        pytest.param(EMPTY, EMPTY, id="no rows"),
        pytest.param(np.ones(3), np.ones(2), id="unequal"),
        pytest.param(np.ones(1), np.ones(3), id="one to be broadcast"),
        pytest.param(np.ones((3, 1)), np.ones(3), id="a column"),
        pytest.param(np.ones((3, 2)), np.ones((3, 2)), id="two columns"),
    ],
)
def test_arrays_that_are_no_equal_vectors_are_refused(
    function: Callable[..., object], predicted: FloatArray, actual: FloatArray
) -> None:
    with pytest.raises(ValueError, match="expected two equal vectors with at least one row, got "):
        function(predicted, actual)


def test_message_names_the_shapes() -> None:
    with pytest.raises(ValueError, match=r"got \(3, 1\) and \(3,\)"):
        metrics.rmse(np.ones((3, 1)), np.ones(3))


def test_differences_of_unequal_vectors_are_refused() -> None:
    three, two = np.ones(3), np.ones(2)
    with pytest.raises(ValueError, match="equal vectors"):
        metrics.paired_difference(three, two, three)
    with pytest.raises(ValueError, match="equal vectors"):
        metrics.paired_difference(two, three, three)


# Intervals


Statistic = Callable[[FloatArray, FloatArray], FloatArray]
STATISTICS: dict[str, Statistic] = {
    "rmse": lambda p, a: np.sqrt(np.mean((p - a) ** 2, axis=-1)),
    "mae": lambda p, a: np.mean(np.abs(p - a), axis=-1),
    "r2": lambda p, a: 1 - np.mean((p - a) ** 2, axis=-1) / np.var(a, axis=-1),
    "bias": lambda p, a: np.mean(p - a, axis=-1),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_interval_is_that_of_scipys_bootstrap(name: str) -> None:
    predicted, actual = predictions(200)
    ours = metrics.scores(predicted, actual)[name]
    theirs = scipy.stats.bootstrap(
        (predicted, actual),
        lambda p, a, axis: STATISTICS[name](p, a),  # axis is the last
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(
        (theirs.low, theirs.high), abs=0.08 * (theirs.high - theirs.low)
    )


def test_interval_of_the_mean_error_is_the_normal_one_for_many_rows() -> None:
    predicted, actual = predictions(3000)
    interval = metrics.scores(predicted, actual)["mae"]
    errors = np.abs(predicted - actual)
    half = 1.96 * errors.std() / np.sqrt(3000)
    assert interval.value == pytest.approx(errors.mean())
    assert (interval.low, interval.high) == pytest.approx(
        (errors.mean() - half, errors.mean() + half), abs=0.1 * half
    )


def test_interval_holds_the_truth_95_times_in_100() -> None:
    # The percentile bootstrap is a little narrow at 60 rows; three standard errors of 200 tries are 5 %.
    held = []
    for seed in range(200):
        predicted, actual = predictions(60, seed)
        interval = metrics.scores(predicted, actual)["bias"]
        held.append(interval.low <= 0.5 <= interval.high)
    assert 0.89 <= np.mean(held) <= 0.99


def test_intervals_are_the_same_each_time() -> None:
    assert metrics.scores(*predictions()) == metrics.scores(*predictions())


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_intervals_do_not_depend_on_where_the_scale_begins(scale: float) -> None:
    predicted, actual = predictions()
    near = metrics.scores(predicted * scale, actual * scale)["r2"]
    far = metrics.scores(predicted * scale + 1e6, actual * scale + 1e6)["r2"]
    assert (far.low, far.high) == pytest.approx((near.low, near.high), abs=1e-4)


def test_one_row_has_an_interval_of_no_width() -> None:
    interval = metrics.scores(np.array([3.0]), np.array([1.0]))["rmse"]
    assert (interval.value, interval.low, interval.high) == (2.0, 2.0, 2.0)


def test_blocks_of_many_rows_agree_with_the_plain_bootstrap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predicted, actual = predictions(7000)
    in_blocks = metrics.scores(predicted, actual)
    monkeypatch.setattr(metrics, "_MAX_BLOCKS", 7000)
    plain = metrics.scores(predicted, actual)
    for name, interval in plain.items():
        width = interval.high - interval.low
        assert in_blocks[name].value == interval.value
        assert (in_blocks[name].low, in_blocks[name].high) == pytest.approx(
            (interval.low, interval.high), abs=0.1 * width
        )


@pytest.mark.parametrize("n", [5001, 9999])
def test_every_row_counts_in_blocks(n: int) -> None:
    # An error of 1 in each row leaves no room for chance, whatever the blocks' sizes.
    interval = metrics.scores(np.arange(n) + 1.0, np.arange(n) + 0.0)["mae"]
    assert (interval.low, interval.high) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(
    ("low", "high", "excludes"),
    [
        (0.1, 0.2, True),
        (-0.2, -0.1, True),
        (-0.1, 0.1, False),
        (0.0, 0.1, False),
        (-0.1, 0.0, False),
    ],
)
def test_interval_tells_whether_its_sign_is_certain(
    low: float,
    high: float,
    excludes: bool,  # noqa: FBT001 - a case
) -> None:
    assert Interval((low + high) / 2, low, high).excludes_zero is excludes


# Differences


def correlated(n: int, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Two predictors that err alike, and the truth."""
    rng = np.random.default_rng(seed)
    actual, shared = rng.normal(57, 13, n), rng.normal(0, 5, n)
    return actual + shared + rng.normal(0, 1, n), actual + shared + rng.normal(0, 1.5, n), actual


def test_paired_difference_is_that_of_scipys_bootstrap() -> None:
    first, second, actual = correlated(300, 0)

    def difference(p: FloatArray, q: FloatArray, a: FloatArray, axis: int = -1) -> FloatArray:
        return np.sqrt(np.mean((p - a) ** 2, axis=axis)) - np.sqrt(np.mean((q - a) ** 2, axis=axis))

    ours = metrics.paired_difference(first, second, actual)
    theirs = scipy.stats.bootstrap(
        (first, second, actual),
        difference,
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours.value == pytest.approx(float(difference(first, second, actual)))
    assert (ours.low, ours.high) == pytest.approx(
        (theirs.low, theirs.high), abs=0.08 * (theirs.high - theirs.low)
    )


def test_paired_interval_is_narrower_than_unpaired_where_predictors_err_alike() -> None:
    first, second, actual = correlated(500, 0)
    paired = metrics.paired_difference(first, second, actual)
    alone = [metrics.scores(predicted, actual)["rmse"] for predicted in (first, second)]
    assert alone[0].value - alone[1].value == pytest.approx(paired.value)
    # Of two samples drawn apart, the variances would add up.
    unpaired_width = np.hypot(*(interval.high - interval.low for interval in alone))
    assert paired.high - paired.low < 0.5 * unpaired_width


def test_paired_difference_changes_its_sign_with_the_order() -> None:
    first, second, actual = correlated(300, 0)
    there, back = (
        metrics.paired_difference(first, second, actual),
        metrics.paired_difference(second, first, actual),
    )
    assert (there.value, there.low, there.high) == pytest.approx(
        (-back.value, -back.high, -back.low)
    )


def test_predictor_does_not_differ_from_itself() -> None:
    first, _, actual = correlated(300, 0)
    assert metrics.paired_difference(first, first, actual) == Interval(0.0, 0.0, 0.0)


def test_paired_interval_holds_the_true_difference_95_times_in_100() -> None:
    truth = np.sqrt(26) - np.sqrt(25 + 1.5**2)
    intervals = [metrics.paired_difference(*correlated(60, seed)) for seed in range(150)]
    assert 0.88 <= np.mean([i.low <= truth <= i.high for i in intervals]) <= 0.99


# Conformal


@pytest.mark.parametrize(
    ("n", "coverage", "expected"),
    [
        # ceil((n + 1) * coverage) -th smallest of the errors 1, 2, ... n
        (8, 0.9, np.inf),
        (9, 0.9, 9.0),
        (10, 0.9, 10.0),
        (18, 0.9, 18.0),
        (19, 0.9, 18.0),
        (99, 0.9, 90.0),
        (1, 0.5, 1.0),
        (3, 0.5, 2.0),
        (4, 0.5, 3.0),
        (1, 0.9, np.inf),
    ],
)
def test_half_width_by_hand(n: int, coverage: float, expected: float) -> None:
    errors = np.random.default_rng(0).permutation(np.arange(1.0, n + 1)) * np.where(
        np.arange(n) % 2, 1, -1
    )
    assert metrics.conformal_half_width(errors, np.zeros(n), coverage=coverage) == expected


def test_half_width_holds_a_new_error_as_often_as_promised() -> None:
    # With 19 rows the promise is exact: 18 of the 20 places that a new error can take lie within.
    rng = np.random.default_rng(0)
    held = [
        metrics.conformal_half_width(rng.normal(size=19), np.zeros(19)) >= abs(rng.normal())
        for _ in range(4000)
    ]
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)


# What a conformal interval promises


@pytest.mark.parametrize("n_val", [10, 26, 90, 800])
def test_conformal_promise_holds_over_draws_of_val_rows(n_val: int) -> None:
    rng = np.random.default_rng(0)
    low, high = metrics.conformal_coverage(n_val)
    covered = []
    for _ in range(600):
        half_width = metrics.conformal_half_width(rng.uniform(0, 1, n_val), np.zeros(n_val))
        covered.append(half_width)  # of uniform errors, the share of new rows below it
    is_within = (low <= np.array(covered)) & (np.array(covered) <= high)
    assert is_within.mean() == pytest.approx(0.9, abs=0.035)


def test_conformal_promise_of_too_few_rows_is_that_of_an_infinite_interval() -> None:
    assert metrics.conformal_half_width(np.zeros(8), np.zeros(8)) == np.inf
    assert metrics.conformal_coverage(8) == (1.0, 1.0)
