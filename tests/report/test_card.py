import math

import pytest

from studperf.record.record import RunRecord
from studperf.record.shape import BaselineChoice, BaselineStanding, Conformal, CutShort, Slice
from studperf.report.pages.card import write_card
from studperf.report.views.run import (
    band_line,
    choice_line,
    digits_of,
    excluded_columns,
    limits,
    reproduce_commands,
)
from studperf.scoring.metrics import Interval, conformal_coverage


def test_the_cards_numbers_are_the_records(record: RunRecord) -> None:
    assert record.judgement is not None
    card, show = write_card(record).replace("\\", ""), digits_of(record)
    for value in (
        record.judgement.scores.rmse,
        record.judgement.scores.mae,
        record.judgement.baselines["ridge"].rmse,
    ):
        assert show.interval(value) in card
    record.judgement.scores.rmse = Interval(9.8765, 8.1111, 11.2222)
    assert "9.88 [8.11, 11.22]" in write_card(record).replace("\\", "")


def test_the_card_says_what_the_model_can_not_tell_apart(record: RunRecord) -> None:
    assert record.judgement is not None
    assert record.judgement.conformal is not None
    width = digits_of(record).with_unit(record.judgement.conformal.half_width)
    assert any(
        f"can't tell two rows apart whose predictions differ by less than {width}" in line
        for line in limits(record)
    )
    record.judgement.conformal = None
    assert not any("tell two rows apart" in line for line in limits(record))


def group(level: str, mae: Interval, n: int = 40) -> Slice:
    return Slice(
        column="gender", level=level, n=n, rmse=mae.value, mae=mae, bias=Interval(0, -1, 1)
    )


def told_of_groups(record: RunRecord, *groups: Slice) -> str:
    assert record.judgement is not None
    record.judgement.scores.mae = Interval(4.0, 3.8, 4.2)
    record.judgement.slices = list(groups)
    (line,) = [line for line in limits(record) if "differ among" in line]
    return line


def test_groups_whose_intervals_hold_the_overall_error_do_not_differ(record: RunRecord) -> None:
    groups = [group("f", Interval(4.4, 3.9, 4.9)), group("m", Interval(3.8, 3.5, 4.1))]
    line = told_of_groups(record, *groups)
    assert line == "Errors do not differ among the 2 groups by more than noise."


def test_the_group_that_differs_most_is_named(record: RunRecord) -> None:
    groups = [group("f", Interval(5.0, 4.6, 5.4)), group("m", Interval(3.0, 2.8, 3.2))]
    line = told_of_groups(record, *groups)
    assert "the largest mean absolute error is 5.00 [4.60, 5.40] points at gender = f" in line
    assert "where all rows have 4.00" in line
    only_better = told_of_groups(record, groups[1])
    assert (
        "the smallest mean absolute error is 3.00 [2.80, 3.20] points at gender = m" in only_better
    )


def test_among_many_groups_one_that_just_leaves_out_the_overall_error_is_noise(
    record: RunRecord,
) -> None:
    just_outside = group("f", Interval(4.5, 4.05, 4.95))
    assert "beyond noise" in told_of_groups(record, just_outside)
    others = [group(f"level {i}", Interval(4.0, 3.5, 4.5)) for i in range(19)]
    assert "do not differ among the 20 groups" in told_of_groups(record, just_outside, *others)


def test_groups_too_small_to_be_shown_are_not_compared(record: RunRecord) -> None:
    assert record.judgement is not None
    record.judgement.slices = [group("f", Interval(50, 49, 51), n=19)]
    assert not any("differ among" in line for line in limits(record))


@pytest.mark.parametrize("n_val", [26, 800])
def test_the_band_says_what_few_val_rows_allow_to_promise(record: RunRecord, n_val: int) -> None:
    record.data.n_val = n_val
    likely = conformal_coverage(n_val)
    band = Conformal(level=0.9, half_width=7.934, coverage=0.891, n_val=n_val, likely=likely)
    told = f"90 % interval: prediction ± 7.93 points (calibrated on {n_val} val rows); it covered 89.1 % of test rows."
    promise = " So few val rows promise only that it covers between 83 and 99 % of new rows."
    assert band_line(record, band) == (told + promise if n_val == 26 else told)


def test_a_band_that_val_is_too_small_for_is_none(record: RunRecord) -> None:
    assert record.judgement is not None
    record.data.n_val = 8
    record.judgement.conformal = Conformal(level=0.9, half_width=math.inf, coverage=1.0)
    assert "No 90% interval: the 8 val rows are too few to promise one." in limits(record)
    assert not any("tell two rows apart" in line for line in limits(record))


def test_the_card_tells_how_the_best_baseline_was_chosen(record: RunRecord) -> None:
    assert record.judgement is not None
    assert record.judgement.choice is not None
    assert choice_line(record.judgement.choice) in write_card(record).replace("\\", "")
    record.judgement.choice = None  # as in records of earlier versions
    assert "cross-validation" not in write_card(record)


def test_baselines_that_are_level_are_said_to_be() -> None:
    first = BaselineStanding(rmse=Interval(5.05, 4.9, 5.2), behind=None, is_tied=True)
    tied = BaselineStanding(
        rmse=Interval(5.1, 4.9, 5.3), behind=Interval(0.05, -0.1, 0.2), is_tied=True
    )
    last = BaselineStanding(rmse=Interval(13, 12, 14), behind=Interval(8, 7, 9), is_tied=False)
    choice = BaselineChoice(
        standings={"ridge": first, "boosting": tied, "mean": last}, n_fits=3, n_rows=6400
    )
    told = "ridge, RMSE 5.05 [4.90, 5.20]; then boosting 5.10 (within noise), mean 13.00."
    assert choice_line(choice).endswith(told)


def test_training_that_was_cut_short_is_a_limit(record: RunRecord) -> None:
    record.cut_short = CutShort(
        metric="val/rmse",
        best_epoch=30,
        n_epochs=30,
        gain=0.031,
        n_gained=6,
        way_out="trainer.max_epochs=60",
    )
    told = "epoch 30 of 30 was the best, and val/rmse was still getting better, by 3.1 % over the last 6; try trainer.max_epochs=60."
    assert f"Training was cut short: {told}" in limits(record)


def test_a_model_that_knows_nothing_is_called_unfit(record: RunRecord) -> None:
    assert record.judgement is not None
    record.judgement.verdict.kind = "no better than the mean"
    record.judgement.verdict.line = "No better than the mean: skill +0.1%."
    assert any(
        line.startswith("Not fit for use. No better than the mean") for line in limits(record)
    )


def test_every_column_left_out_has_its_reason(record: RunRecord) -> None:
    record.data.features.remove("last_exam_score")
    record.data.left_out_signal = {"last_exam_score": 0.46}
    why = {exclusion.column: exclusion.why for exclusion in excluded_columns(record)}
    assert why["student_id"] == "names a row and says nothing about others"
    assert why["passed"] == "follows from the target: final_score >= 40"
    assert (
        why["last_exam_score"]
        == "left out by data.features; explains 46% of the target's variance alone"
    )
    assert set(why) | set(record.data.features) == set(record.config["data"]["columns"])


def test_simulated_rows_are_said_first(record: RunRecord) -> None:
    assert "**SIMULATED data. " in write_card(record)
    assert "SIMULATED" in limits(record)[0]


def test_a_run_that_was_not_scored_has_a_card_that_says_so(record: RunRecord) -> None:
    record.status, record.judgement, record.error = "failed", None, "DivergedError: never finite"
    card = write_card(record)
    assert "This run is failed; it was not scored. DivergedError: never finite" in card
    assert "## Scores" not in card


def test_names_can_not_break_out_of_the_card(record: RunRecord) -> None:
    record.data.features[0] = "a`|<script>x</script>\n# big"
    record.config["data"]["columns"]["b|<b>\n## c"] = {"kind": "unused", "why": "x | y <i>"}
    card = write_card(record)
    assert "<script>" not in card.replace("`a'|<script>x</script> # big`", "")
    assert "<b>" not in card
    assert "\n# big" not in card
    assert "\n## c" not in card
    assert "b\\|&lt;b&gt; ## c" in card


def test_words_of_the_command_line_are_quoted_for_a_shell(record: RunRecord) -> None:
    record.overrides = ["model=mlp", "data.source.path=my file.csv", "x='$(rm -rf /)'"]
    assert (
        reproduce_commands(record)[-1]
        == "python -m studperf.train model=mlp 'data.source.path=my file.csv' 'x='\\''$(rm -rf /)'\\'''"
    )
