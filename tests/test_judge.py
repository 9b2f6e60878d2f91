from typing import Any

import numpy as np
import pandas as pd
import pytest

from studperf import metrics
from studperf.config.dataset import Dataset
from studperf.data.schema import Table
from studperf.judge import conformal, give_verdict, judge, score, slice_errors
from studperf.metrics import Interval
from studperf.record import DataFacts, Scores, Verdict

FACTS: dict[str, Any] = {
    "name": "students",
    "path": None,
    "md5": None,
    "is_simulated": True,
    "n_rows": 1000,
    "n_train": 800,
    "n_val": 100,
    "n_test": 100,
    "split_sha256": "0",
    "target": "y",
    "unit": "points",
    "noise_floor": 4.9,
    "features": ["x"],
    "left_out_signal": {},
    "allowed_leaks": {},
    "warnings": [],
}
CLEARLY_BETTER = Interval(-5.0, -5.5, -4.5)
"""Than the mean, in RMSE."""


def scores_of(rmse: float, r2: float = 0.8) -> Scores:
    return Scores(
        rmse=Interval(rmse, rmse - 0.2, rmse + 0.2),
        mae=Interval(4, 3.9, 4.1),
        r2=Interval(r2, r2, r2),
        bias=Interval(0, -1, 1),
    )


def verdict(
    *,
    rmse: float = 5.2,
    r2: float = 0.8,
    best_rmse: float = 5.2,
    against_best: Interval | None = None,
    against_mean: Interval = CLEARLY_BETTER,
    skill: float = 0.5,
    **facts: Any,
) -> Verdict:
    """Of a good model like ridge, unless told otherwise."""
    against_best = against_best or Interval(0.01, -0.05, 0.07)
    data = DataFacts(**FACTS | facts)
    return give_verdict(
        scores_of(rmse, r2), "ridge", scores_of(best_rmse), against_best, against_mean, skill, data
    )


# Plain verdicts


def test_difference_whose_interval_holds_zero_is_a_match() -> None:
    found = verdict()
    assert found.kind == "matches"
    assert (
        found.line
        == "Matches ridge: RMSE +0.010 points, 95 % interval -0.050 to +0.070, so the difference is noise."
    )


def test_interval_below_zero_beats_the_best_baseline() -> None:
    found = verdict(against_best=Interval(-0.1, -0.15, -0.05))
    assert found.kind == "beats"
    assert found.line == "Beats ridge: RMSE -0.100 points, 95 % interval -0.150 to -0.050."


def test_interval_above_zero_is_worse_than_the_best_baseline() -> None:
    found = verdict(against_best=Interval(0.1, 0.05, 0.15))
    assert found.kind == "worse"
    assert found.line == "Worse than ridge: RMSE +0.100 points, 95 % interval +0.050 to +0.150."


@pytest.mark.parametrize(
    "end", [Interval(0.05, 0.0, 0.1), Interval(-0.05, -0.1, 0.0)], ids=["from zero", "up to zero"]
)
def test_interval_that_touches_zero_is_a_match(end: Interval) -> None:
    assert verdict(against_best=end).kind == "matches"


def test_interval_against_the_mean_that_holds_zero_is_no_better() -> None:
    found = verdict(against_mean=Interval(-0.2, -0.5, 0.1), skill=0.015)
    assert found.kind == "no better than the mean"
    assert found.line == "No better than the mean: skill +1.5%."


def test_skill_below_one_percent_is_no_better_though_it_is_certain() -> None:
    found = verdict(against_mean=Interval(-0.1, -0.15, -0.05), skill=0.009)
    assert found.line == "No better than the mean: skill +0.9%."


def test_model_worse_than_the_mean_is_no_better() -> None:
    found = verdict(against_mean=Interval(2, 1, 3), skill=-0.2, against_best=Interval(7, 6, 8))
    assert found.line == "No better than the mean: skill -20.0%."


def test_target_without_a_unit_leaves_no_gap() -> None:
    assert "RMSE +0.010, 95 % interval" in verdict(unit="").line


# Suspicion


def test_allowed_leak_is_suspicious() -> None:
    found = verdict(allowed_leaks={"passed": "exact"})
    assert found.kind == "suspicious"
    assert (
        found.line
        == "Suspiciously good, look for a leak: passed gives the target away, allowed by data.allow_leaks."
    )


def test_allowed_leaks_are_all_named() -> None:
    assert (
        "passed, band give the target away"
        in verdict(allowed_leaks={"passed": "exact", "band": "exact"}).line
    )


def test_allowed_leak_is_suspicious_even_where_the_model_is_no_better_than_the_mean() -> None:
    assert verdict(allowed_leaks={"passed": "exact"}, skill=0.0).kind == "suspicious"


def test_error_that_is_surely_below_the_noise_floor_is_suspicious() -> None:
    found = verdict(rmse=4.6)
    assert found.kind == "suspicious"
    assert (
        found.line
        == "Suspiciously good, look for a leak: RMSE 4.600 (at most 4.800) is below the noise floor of 4.9."
    )


def test_error_whose_interval_holds_the_noise_floor_is_not_suspicious() -> None:
    assert verdict(rmse=4.8).kind == "matches"


def test_noise_floor_that_is_not_known_makes_nothing_suspicious() -> None:
    assert verdict(rmse=3.0, noise_floor=None).kind == "matches"


@pytest.mark.parametrize(("r2", "kind"), [(0.996, "suspicious"), (0.994, "matches")])
def test_r2_close_to_one_is_suspicious(r2: float, kind: str) -> None:
    found = verdict(r2=r2, noise_floor=None)
    assert found.kind == kind
    assert ("R2 0.9960 is more than such data allow" in found.line) == (kind == "suspicious")


@pytest.mark.parametrize(("rmse", "kind"), [(4.9, "suspicious"), (5.1, "beats")])
def test_less_than_half_of_the_best_baselines_error_is_suspicious(rmse: float, kind: str) -> None:
    found = verdict(rmse=rmse, best_rmse=10.0, against_best=Interval(-5, -6, -4), noise_floor=None)
    assert found.kind == kind
    assert ("RMSE 4.900 is less than half of ridge's 10.000" in found.line) == (
        kind == "suspicious"
    )


# What was left out


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="matches"),
        pytest.param({"against_best": Interval(-0.1, -0.15, -0.05)}, id="beats"),
        pytest.param({"against_best": Interval(0.1, 0.05, 0.15)}, id="worse"),
        pytest.param({"skill": 0.0}, id="no better"),
    ],
)
def test_left_out_columns_are_named_whatever_the_verdict(change: dict[str, Any]) -> None:
    line = verdict(left_out_signal={"last_exam_score": 0.462, "concept": 0.18}, **change).line
    told = " Left out though they carry signal: last_exam_score (46% of the variance alone), concept (18% of the variance alone)."
    assert line.endswith(told)


def test_further_left_out_columns_are_named_without_their_shares() -> None:
    line = verdict(left_out_signal={"a": 0.5, "b": 0.4, "c": 0.3, "d": 0.2}).line
    assert line.endswith("c (30% of the variance alone), d.")


def test_of_very_many_left_out_columns_the_first_ten_are_named() -> None:
    line = verdict(left_out_signal={f"c{i}": 0.5 for i in range(12)}).line
    assert line.endswith("c8, c9 and 2 more.")


# Slices


def table_of(columns: dict[str, dict[str, Any]], **values: Any) -> Table:
    dataset = Dataset.model_validate(
        {
            "name": "small",
            "source": {"path": "table.csv", "otherwise": "fail"},
            "target": {"column": "y"},
            "columns": columns,
            "split": {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 0},
        }
    )
    return Table(pd.DataFrame(values), dataset)


def test_slices_by_hand() -> None:
    table = table_of(
        {"gender": {"kind": "category"}, "ai": {"kind": "flag"}, "age": {"kind": "number"}},
        gender=["f", "m", "f", "m", "f", "x"],
        ai=[0.0, 0.0, 1.0, 1.0, 1.0, np.nan],
        age=np.arange(6.0),
        y=np.zeros(6),
    )
    slices = slice_errors(table, np.array([1.0, 2.0, -1.0, 4.0, 3.0, 9.0]))
    told = [(s.column, s.level, s.n, s.mae.value, s.bias.value) for s in slices]
    # The level x has one row, and numbers are not sliced.
    assert told == [
        ("gender", "f", 3, pytest.approx(5 / 3), 1.0),
        ("gender", "m", 2, 3.0, 3.0),
        ("ai", "0", 2, 1.5, 1.5),
        ("ai", "1", 3, pytest.approx(8 / 3), 2.0),
    ]
    assert [s.rmse for s in slices] == pytest.approx(
        [np.sqrt(11 / 3), np.sqrt(10), np.sqrt(2.5), np.sqrt(26 / 3)]
    )


def test_slice_has_intervals() -> None:
    rng = np.random.default_rng(0)
    levels = np.array(["a", "b"])[np.arange(200) % 2]
    table = table_of({"level": {"kind": "category"}}, level=levels, y=np.zeros(200))
    predicted = rng.normal(0.3, 1, 200)
    (first, _) = slice_errors(table, predicted)
    expected = metrics.scores(predicted[::2], np.zeros(100))
    assert (first.mae, first.bias) == (expected["mae"], expected["bias"])


def test_feature_that_is_switched_off_is_not_sliced() -> None:
    table = table_of(
        {"level": {"kind": "unused"}, "x": {"kind": "number"}},
        level=["a"] * 4,
        x=np.zeros(4),
        y=np.zeros(4),
    )
    assert slice_errors(table, np.zeros(4)) == []


# The whole judgement


def judged(*, scored_on: str = "test", with_val: bool = True) -> tuple[Any, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    actual = rng.normal(50, 10, 200)
    predicted = actual + rng.normal(0, 5, 200)
    table = table_of({"x": {"kind": "number"}}, x=np.zeros(200), y=actual)
    reference = {"mean": np.full(200, 50.0), "ridge": actual + rng.normal(0, 6, 200)}
    val = (np.arange(1.0, 20.0), np.zeros(19)) if with_val else None
    found = judge(
        scored_on=scored_on,
        table=table,
        predicted=predicted,
        reference=reference,
        best="ridge",
        val=val,
        data=DataFacts(**FACTS),
    )
    return found, predicted, actual


def test_judgement_holds_all_scores() -> None:
    found, predicted, actual = judged()
    assert found.scored_on == "test"
    assert found.best_baseline == "ridge"
    assert found.scores == score(predicted, actual)
    assert list(found.baselines) == ["mean", "ridge"]
    assert found.skill == pytest.approx(
        1 - metrics.rmse(predicted, actual) / metrics.rmse(np.full(200, 50.0), actual)
    )
    assert found.against_best.value == pytest.approx(
        found.scores.rmse.value - found.baselines["ridge"].rmse.value
    )
    assert found.against_mean.value == pytest.approx(
        found.scores.rmse.value - found.baselines["mean"].rmse.value
    )
    assert found.verdict.kind == "beats"


def test_conformal_width_comes_from_val_and_is_tried_on_the_scored_rows() -> None:
    found, predicted, actual = judged()
    assert found.conformal.level == 0.9
    assert found.conformal.half_width == 18.0  # of the errors 1 to 19, the 18th
    assert found.conformal.coverage == np.mean(np.abs(predicted - actual) <= 18)


def test_scores_on_val_have_no_conformal_width() -> None:
    assert judged(scored_on="val", with_val=False)[0].conformal is None


def test_coverage_counts_errors_on_the_edge() -> None:
    found = conformal(np.arange(1.0, 10.0), np.zeros(9), np.array([9.0, -9.0, 9.5]), np.zeros(3))
    assert (found.half_width, found.coverage) == (9.0, pytest.approx(2 / 3))
