import pytest

from studperf.metrics import Interval
from studperf.report import interval_text


@pytest.mark.parametrize(
    ("interval", "digits", "text"),
    [
        (Interval(4.948, 4.703, 5.207), 2, "4.95 \\[4.70, 5.21]"),
        (Interval(123456.7, 120000.0, 130000.0), 2, "123457 \\[120000, 130000]"),
        (Interval(0.761, -1.4534597587053e13, 0.99), 3, "0.761 \\[-1e+13, 0.990]"),
    ],
    ids=["plain", "large numbers", "an end far off"],
)
def test_an_interval_keeps_the_digits_of_its_value(interval: Interval, digits: int, text: str) -> None:
    assert interval_text(interval, digits=digits) == text
