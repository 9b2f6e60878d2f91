import math

import pytest

from studperf.card import excluded_columns, limits, reproduce_commands, write_card
from studperf.figures import Figures, decimals_for, number
from studperf.metrics import Interval
from studperf.record import RunRecord


def test_the_cards_numbers_are_the_records(record: RunRecord) -> None:
    assert record.judgement is not None
    card, show = write_card(record).replace("\\", ""), Figures.of(record)
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
    width = Figures.of(record).with_unit(record.judgement.conformal.half_width)
    assert any(
        f"can't tell two rows apart whose predictions differ by less than {width}" in line
        for line in limits(record)
    )
    record.judgement.conformal = None
    assert not any("tell two rows apart" in line for line in limits(record))


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


@pytest.mark.parametrize(
    ("size", "decimals"),
    [
        (4.9, 2),
        (99.9, 2),
        (123.4, 1),
        (5678.0, 0),
        (0.5, 3),
        (0.0123, 4),
        (0.0, 2),
        (math.nan, 2),
        (math.inf, 2),
    ],
)
def test_numbers_get_the_decimals_that_their_size_calls_for(size: float, decimals: int) -> None:
    assert decimals_for(size) == decimals


def test_what_is_no_number_is_said_in_words() -> None:
    assert [number(value, 2) for value in (math.nan, math.inf, -math.inf, 1234.5)] == [
        "unknown",
        "∞",
        "-∞",
        "1,234.50",
    ]
