import io

import pytest
from rich.console import Console

from studperf.record.shape import Scores
from studperf.report import interval_text
from studperf.report.terminal import score_table
from studperf.scoring.metrics import Interval


@pytest.mark.parametrize(
    ("interval", "digits", "text"),
    [
        (Interval(4.948, 4.703, 5.207), 2, "4.95 [4.70, 5.21]"),
        (Interval(123456.7, 120000.0, 130000.0), 2, "123457 [120000, 130000]"),
        (Interval(0.0021, 0.0019, 0.0024), 2, "0.002 [0.002, 0.002]"),
        (Interval(0.761, -1.4534597587053e13, 0.99), 3, "0.761 [-1e+13, 0.990]"),
    ],
    ids=["plain", "large numbers", "small numbers", "an end far off"],
)
def test_an_interval_keeps_the_digits_of_its_value(
    interval: Interval, digits: int, text: str
) -> None:
    assert interval_text(interval, digits=digits) == text


def test_an_r2_of_nothing_is_shown_as_others_are() -> None:
    nothing = Interval(-0.0006, -0.0088, -0.0000)
    assert interval_text(nothing, digits=3, smallest=1.0) == "-0.001 [-0.009, -0.000]"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_digit_of_a_score_is_cut_off(width: int) -> None:
    wide = Interval(187_892.4, 163_011.2, 215_725.9)
    rows = {
        name: Scores(rmse=wide, mae=wide, r2=Interval(0.5, 0.4, 0.6), bias=wide)
        for name in ("mlp", "boosting (baseline)")
    }
    file = io.StringIO()
    Console(file=file, width=width).print(score_table(rows, title="", unit="EUR"))
    assert "…" not in file.getvalue()
    assert file.getvalue().count("215726") == 6
