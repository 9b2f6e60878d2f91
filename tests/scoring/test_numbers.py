"""The one rule for digits, which terminal, verdict, page, card and W&B share."""

import math

import pytest

from studperf.scoring.metrics import Interval
from studperf.scoring.numbers import Digits, decimals_for, interval, number, short_number


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


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (Interval(4.948, 4.703, 5.207), 2, "4.95 [4.70, 5.21]"),
        (Interval(123456.7, 120000.0, 130000.0), 0, "123,457 [120,000, 130,000]"),
        (Interval(0.761, -1.4534597587053e13, 0.99), 3, "0.761 [-1e+13, 0.990]"),
        (Interval(-0.0006, -0.0088, -0.0000), 3, "-0.001 [-0.009, -0.000]"),
    ],
    ids=["plain", "large numbers", "an end far off", "nothing"],
)
def test_an_interval_keeps_the_digits_of_its_value(
    value: Interval, decimals: int, text: str
) -> None:
    assert interval(value, decimals) == text


def test_a_difference_shows_its_sign_and_one_digit_more() -> None:
    digits = Digits.of(0.494)
    assert digits.number(0.494) == "0.494"
    assert digits.signed_interval(Interval(0.0123, -0.004, 0.0286)) == "+0.0123 [-0.0040, +0.0286]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.94567, "4.946"), (0.1 + 0.2, "0.3"), (3.709327e-06, "3.709e-06"), (20000.4, "20,000")],
)
def test_other_numbers_have_four_digits(value: float, text: str) -> None:
    assert short_number(value) == text
