from typing import Any

import numpy as np
import pandas as pd
import pytest

from studperf.config.dataset import Dataset
from studperf.data.schema import Table
from studperf.judge.judge import conformal, judge, score, slice_errors
from studperf.judge.verdict import Evidence, count_rows_needed, give_verdict
from studperf.record.shape import DataFacts, Scores, Verdict
from studperf.scoring import metrics
from studperf.scoring.baselines.fit import Choice, Standing
from studperf.scoring.metrics import Interval, paired_difference

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
LIKE_RIDGE = Interval(0.01, -0.05, 0.07)


def scores_of(rmse: float, r2: float = 0.8) -> Scores:
    return Scores(
        rmse=Interval(rmse, rmse - 0.2, rmse + 0.2),
        mae=Interval(4, 3.9, 4.1),
        r2=Interval(r2, r2 - 0.0005, r2 + 0.0005),
        bias=Interval(0, -1, 1),
    )


def evidence(
    *,
    rmse: float = 5.2,
    r2: float = 0.8,
    against: dict[str, Interval] | None = None,
    rmses: dict[str, float] | None = None,
    r2s: dict[str, float] | None = None,
    rivals: tuple[str, ...] = ("ridge",),
    skill: float = 0.5,
    n_rows: int = 1000,
    **facts: Any,
) -> Evidence:
    """Of a good model like ridge, clearly better than boosting, unless told otherwise."""
    intervals = {
        "mean": CLEARLY_BETTER,
        "ridge": LIKE_RIDGE,
        "boosting": Interval(-0.5, -0.6, -0.4),
    }
    sizes = {"mean": 10.2, "ridge": 5.2, "boosting": 5.7} | (rmses or {})
    fits = {"mean": 0.0, "ridge": 0.8, "boosting": 0.78} | (r2s or {})
    return Evidence(
        scores=scores_of(rmse, r2),
        baselines={name: scores_of(sizes[name], fits[name]) for name in sizes},
        against=intervals | (against or {}),
        rivals=rivals,
        skill=skill,
        n_rows=n_rows,
        scored_on="test",
        data=DataFacts(**FACTS | facts),
    )


def verdict(**told: Any) -> Verdict:
    return give_verdict(evidence(**told))


# Plain verdicts


def test_difference_that_is_surely_small_is_a_match() -> None:
    found = verdict()
    assert (found.kind, found.baseline) == ("matches", "ridge")
    told = "Matches ridge: RMSE +0.010 points, 95 % interval -0.050 to +0.070, at most 1.3% above ridge's."
    assert found.line == told


@pytest.mark.parametrize(("high", "kind"), [(0.26, "matches"), (0.27, "can't tell")])
def test_match_ends_at_a_twentieth_of_the_baselines_error(high: float, kind: str) -> None:
    found = verdict(against={"ridge": Interval(0.05, -0.1, high)})
    assert found.kind == kind  # 5 % of 5.2 is 0.26


def test_wide_interval_can_not_tell_and_says_how_many_rows_would() -> None:
    found = verdict(against={"ridge": Interval(0.1, -1.1, 1.3)}, n_rows=40)
    assert found.kind == "can't tell"
    # The interval's upper half must shrink from 1.2 to 0.26 - 0.1: by 7.5, which takes 56 times the rows.
    assert found.n_rows_needed == 2300
    told = "Can't tell from ridge: RMSE +0.100 points, 95 % interval -1.100 to +1.300, up to 25% above ridge's"
    assert found.line == f"{told}; about 2,300 test rows would tell, there are 40."


@pytest.mark.parametrize(
    ("difference", "goal", "expected"),
    [
        pytest.param(Interval(0.0, -2.0, 2.0), 1.0, 400, id="to be a match"),
        pytest.param(Interval(2.0, -2.0, 6.0), 1.0, 400, id="to be worse"),
        pytest.param(Interval(-1.0, -5.0, 3.0), 1.0, 400, id="to be a match though it leads"),
        pytest.param(Interval(-2.0, -6.0, 2.0), 0.0, 400, id="to be better"),
        pytest.param(Interval(0.0, -2.0, 2.0), 0.0, None, id="never"),
        pytest.param(Interval(0.1, float("nan"), float("nan")), 1.0, None, id="no interval"),
    ],
)
def test_rows_needed_by_hand(difference: Interval, goal: float, expected: int | None) -> None:
    assert count_rows_needed(difference, 100, goal=goal) == expected


def test_rows_needed_are_about_those_that_tell() -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(0, 10, 40_000)
    model, ridge = (actual + rng.normal(0, 5, 40_000) for _ in range(2))
    few = paired_difference(model[:100], ridge[:100], actual[:100])
    n_needed = count_rows_needed(few, 100, goal=0.25)
    assert n_needed is not None
    many = paired_difference(model[:n_needed], ridge[:n_needed], actual[:n_needed])
    half_width = (few.high - few.low) / 2 * np.sqrt(100 / n_needed)
    assert (many.high - many.low) / 2 == pytest.approx(half_width, rel=0.25)


def test_beats_needs_every_interval_below_zero() -> None:
    found = verdict(against={"ridge": Interval(-0.1, -0.15, -0.05)})
    assert (found.kind, found.baseline) == ("beats", "ridge")
    assert found.line == "Beats ridge: RMSE -0.100 points, 95 % interval -0.150 to -0.050."


def test_lead_over_the_chosen_baseline_is_no_verdict_where_another_is_level() -> None:
    leads = Interval(-0.1, -0.15, -0.05)
    found = verdict(against={"ridge": leads, "boosting": LIKE_RIDGE}, rivals=("ridge", "boosting"))
    assert (found.kind, found.baseline) == ("matches", "boosting")


def test_lead_over_the_mean_alone_is_worse_where_boosting_is_better() -> None:
    behind = {"ridge": Interval(30, 10, 50), "boosting": Interval(122, 20, 199)}
    found = verdict(against=behind, rmses={"boosting": 4.0}, rivals=("mean",))
    assert (found.kind, found.baseline) == ("worse", "boosting")
    assert found.line.startswith("Worse than boosting: RMSE +122")


def test_beats_names_the_rival_that_comes_closest() -> None:
    against = {"ridge": Interval(-0.4, -0.5, -0.3), "boosting": Interval(-0.1, -0.15, -0.05)}
    found = verdict(against=against, rivals=("ridge", "boosting"))
    assert (found.kind, found.baseline) == ("beats", "boosting")


def test_match_must_hold_against_each_baseline_that_is_tied() -> None:
    against = {"boosting": Interval(0.1, -1.0, 1.2)}
    assert verdict(against=against, rivals=("ridge",)).kind == "matches"
    found = verdict(against=against, rivals=("ridge", "boosting"))
    assert (found.kind, found.baseline) == ("can't tell", "boosting")


def test_interval_above_zero_is_worse_than_the_best_baseline() -> None:
    found = verdict(against={"ridge": Interval(0.1, 0.05, 0.15)})
    assert found.kind == "worse"
    assert found.line == "Worse than ridge: RMSE +0.100 points, 95 % interval +0.050 to +0.150."


@pytest.mark.parametrize(
    "end", [Interval(0.05, 0.0, 0.1), Interval(-0.05, -0.1, 0.0)], ids=["from zero", "up to zero"]
)
def test_interval_that_touches_zero_is_a_match(end: Interval) -> None:
    assert verdict(against={"ridge": end}).kind == "matches"


def test_narrow_interval_against_the_mean_that_holds_zero_is_no_better() -> None:
    found = verdict(against={"mean": Interval(-0.2, -0.5, 0.1)}, skill=0.02)
    assert found.kind == "no better than the mean"
    assert found.line == "No better than the mean: skill +2.0%."


def test_wide_interval_against_the_mean_can_not_tell() -> None:
    found = verdict(
        against={"mean": Interval(-2.0, -4.1, 0.1)}, rmses={"mean": 10.0}, skill=0.199, n_rows=22
    )
    assert (found.kind, found.baseline) == ("can't tell", "mean")
    told = "Can't tell from the mean: skill +19.9%, 95 % interval -1.0% to +41.0%"
    assert found.line == f"{told}; about 25 test rows would tell, there are 22."


def test_skill_below_one_percent_is_no_better_though_it_is_certain() -> None:
    found = verdict(against={"mean": Interval(-0.1, -0.15, -0.05)}, skill=0.009)
    assert found.kind == "no better than the mean"
    assert found.line == "No better than the mean but for less than 1% of its error: skill +0.9%."


def test_model_worse_than_the_mean_is_no_better() -> None:
    against = {"mean": Interval(2, 1, 3), "ridge": Interval(7, 6, 8)}
    assert verdict(against=against, skill=-0.2).line == "No better than the mean: skill -20.0%."


def test_target_without_a_unit_leaves_no_gap() -> None:
    assert "RMSE +0.010, 95 % interval" in verdict(unit="").line


def test_baseline_without_errors_is_no_division_by_zero() -> None:
    exact = {"ridge": Interval(0.0, 0.0, 0.0)}
    assert verdict(against=exact, rmses={"ridge": 0.0}).kind == "matches"


# Suspicion


def test_allowed_leak_is_told_beside_a_verdict_by_the_numbers() -> None:
    found = verdict(allowed_leaks={"passed": "exact"})
    assert found.kind == "matches"
    assert found.line.endswith(" A leak was allowed: passed gives the target away.")


def test_allowed_leaks_are_all_named() -> None:
    line = verdict(allowed_leaks={"passed": "exact", "band": "exact"}).line
    assert "Leaks were allowed: passed, band give the target away." in line


def test_run_behind_its_baselines_is_not_suspicious_for_an_allowed_leak() -> None:
    behind = {"ridge": Interval(1, 0.5, 1.5)}
    assert verdict(allowed_leaks={"passed": "exact"}, against=behind).kind == "worse"


def test_error_that_is_surely_below_the_noise_floor_is_suspicious() -> None:
    found = verdict(rmse=4.5)
    assert found.kind == "suspicious"
    told = "Suspiciously good, look for a leak: RMSE 4.500 (at most 4.774) is below the noise floor of 4.9."
    assert found.line == told


@pytest.mark.parametrize(("rmse", "n_rows"), [(4.8, 1000), (4.5, 100)], ids=["near", "few rows"])
def test_error_that_may_be_at_the_noise_floor_is_not_suspicious(rmse: float, n_rows: int) -> None:
    assert verdict(rmse=rmse, n_rows=n_rows).kind == "matches"


def test_noise_floor_that_is_not_known_makes_nothing_suspicious() -> None:
    assert verdict(rmse=3.0, noise_floor=None).kind == "matches"


@pytest.mark.parametrize(("r2", "kind"), [(0.9965, "suspicious"), (0.995, "matches")])
def test_r2_close_to_one_is_suspicious_where_no_baseline_gets_there(r2: float, kind: str) -> None:
    found = verdict(r2=r2, noise_floor=None)
    assert found.kind == kind
    told = "R2 0.9965 is more than such data allow, and no baseline is above 0.8000"
    assert (told in found.line) == (kind == "suspicious")


def test_easy_table_that_a_baseline_fits_as_well_is_not_suspicious() -> None:
    assert verdict(r2=0.9975, r2s={"ridge": 0.9974}, noise_floor=None).kind == "matches"


@pytest.mark.parametrize("told", [{"r2": 0.9998}, {"r2": 0.9975, "allowed_leaks": {"a": "exact"}}])
def test_almost_exact_fit_is_suspicious_whatever_the_baselines(told: dict[str, Any]) -> None:
    assert verdict(r2s={"ridge": 0.9999}, noise_floor=None, **told).kind == "suspicious"


@pytest.mark.parametrize(("high", "kind"), [(-2.61, "suspicious"), (-2.59, "beats")])
def test_error_surely_below_half_of_the_strongest_baselines_is_suspicious(
    high: float, kind: str
) -> None:
    found = verdict(rmse=2.3, against={"ridge": Interval(-2.9, -3.1, high)}, noise_floor=None)
    assert found.kind == kind
    told = "RMSE 2.300 is surely less than half of ridge's 5.200, the smallest of the baselines"
    assert (told in found.line) == (kind == "suspicious")


def test_half_of_the_chosen_baselines_error_is_not_suspicious_where_another_is_near() -> None:
    against = {"ridge": Interval(-0.1, -0.15, -0.05), "boosting": Interval(-0.2, -0.25, -0.15)}
    assert verdict(against=against, rivals=("mean",), skill=0.6).kind == "beats"


# What was left out


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="matches"),
        pytest.param({"against": {"ridge": Interval(-0.1, -0.15, -0.05)}}, id="beats"),
        pytest.param({"against": {"ridge": Interval(0.1, 0.05, 0.15)}}, id="worse"),
        pytest.param({"against": {"ridge": Interval(0.1, -5, 5)}}, id="can't tell"),
        pytest.param({"skill": 0.0, "against": {"mean": Interval(0, -0.1, 0.1)}}, id="no better"),
        pytest.param({"rmse": 1.0}, id="suspicious"),
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
    first, second = (
        Standing(Interval(6, 5, 7), None),
        Standing(Interval(9, 8, 10), Interval(3, 2, 4)),
    )
    choice = Choice("ridge", {"ridge": first, "mean": second}, n_fits=5, n_rows=800)
    found = judge(
        scored_on=scored_on,
        table=table,
        predicted=predicted,
        reference=reference,
        choice=choice,
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
    assert (found.against["ridge"], found.against["mean"]) == (
        found.against_best,
        found.against_mean,
    )


def test_judgement_says_how_the_best_baseline_was_chosen() -> None:
    choice = judged()[0].choice
    assert list(choice.standings) == ["ridge", "mean"]
    assert (choice.standings["ridge"].is_tied, choice.standings["mean"].is_tied) == (True, False)
    assert choice.standings["mean"].behind == Interval(3, 2, 4)
    assert (choice.n_fits, choice.n_rows) == (5, 800)


def test_conformal_width_comes_from_val_and_is_tried_on_the_scored_rows() -> None:
    found, predicted, actual = judged()
    assert found.conformal.level == 0.9
    assert found.conformal.half_width == 18.0  # of the errors 1 to 19, the 18th
    assert found.conformal.coverage == np.mean(np.abs(predicted - actual) <= 18)
    assert found.conformal.n_val == 19
    assert found.conformal.likely == metrics.conformal_coverage(19)


def test_scores_on_val_have_no_conformal_width() -> None:
    assert judged(scored_on="val", with_val=False)[0].conformal is None


def test_coverage_counts_errors_on_the_edge() -> None:
    found = conformal(np.arange(1.0, 10.0), np.zeros(9), np.array([9.0, -9.0, 9.5]), np.zeros(3))
    assert (found.half_width, found.coverage) == (9.0, pytest.approx(2 / 3))
