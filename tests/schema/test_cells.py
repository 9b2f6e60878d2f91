import math

import pandas as pd
import pytest

from studperf.data.schema import as_flags
from studperf.schema.cells import is_missing, read_flag, to_text


@pytest.mark.parametrize(
    "cell",
    ["TRUE", " no ", True, 1.0, "1.0", 0, "n", "Y", "maybe", 2, 0.5, "", None, math.nan, "1.00"],
)
def test_a_cell_is_the_same_flag_in_a_request_and_in_a_table(cell: object) -> None:
    (expected,) = as_flags(pd.Series([cell], dtype=object))
    found = read_flag(cell)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


def test_missing_are_nothing_nan_and_the_words_for_it_alone() -> None:
    assert all(is_missing(cell, ("", "NA")) for cell in (None, math.nan, "", "NA"))
    assert not any(is_missing(cell, ("", "NA")) for cell in (0, 0.0, "None", "na", " "))


def test_an_integer_that_python_does_not_write_has_a_name_all_the_same() -> None:
    assert to_text(10**5000) == "an integer of thousands of digits"
