"""Every reader of numbers reads the same: cells of requests, columns of tables, and Arrow's chunks."""

import io
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest

from studperf.data.numbers import read_numbers
from studperf.schema.numbers import PLAIN, Marks, read_number

RNG = np.random.default_rng(0)
TEXTS = {
    "of 17 digits": [repr(float(v)) for v in RNG.normal(size=2000)],
    "of three decimals": [f"{v:.3f}" for v in RNG.normal(5, 2, size=2000)],
    "near both ends of floats": [
        f"{v:.17e}" for v in RNG.normal(size=2000) * 10.0 ** RNG.integers(-300, 300, 2000)
    ],
}


@pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS.keys())
def test_a_text_is_the_same_number_to_the_last_bit_in_a_table_a_chunk_and_a_request(
    texts: list[str],
) -> None:
    cells = [read_number(text) for text in texts]
    assert read_numbers(pd.Series(texts), PLAIN).tolist() == cells
    types = pyarrow.csv.ConvertOptions(column_types={"x": pa.float64()})
    chunk = pyarrow.csv.read_csv(io.BytesIO("\n".join(["x", *texts]).encode()), None, None, types)
    assert chunk["x"].to_pylist() == cells


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1e5",
            "1E+5",
            "inf",
            "-Infinity",
            "nan",
            " 7 ",
            "\t7",
            "+7",
            "1.",
            ".5",
            "1e400",
            "1e-400",
        ),
        *("", "-", "1e", "--5", "1,5", "1_000", "0x10", "1d5", "1 000", "true", "1f", "∞"),
        *("\uff11\uff12", "\u0663", "\u00a07", "7\u2009"),  # digits and spaces of other scripts
    ],
)
def test_a_strange_text_is_a_number_for_a_request_only_if_it_is_one_for_a_table(text: str) -> None:
    (expected,) = read_numbers(pd.Series([text], dtype=object), PLAIN)
    found = read_number(text)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


def test_other_marks_are_read_only_where_they_are_named() -> None:
    assert Marks(",", ".").to_point("-1.234,5") == "-1234.5"
    assert Marks(",").to_point("1.5") is None
    assert Marks(".", ",").to_point("1,5") == "1,5"
