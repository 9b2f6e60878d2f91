import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from studperf.bundle.rows import to_feeds, with_points
from studperf.bundle.schema import InputColumn, Schema, TargetColumn
from studperf.data.numbers import Marks, read_numbers
from studperf.errors import DataError

SCHEMA = Schema(
    dataset="small",
    columns=(
        InputColumn(name="age", kind="number", unit="years", range=(0, 120), seen=(14, 24)),
        InputColumn(name="height", kind="number", fill=170.0),
        InputColumn(name="smokes", kind="flag"),
        InputColumn(
            name="city", kind="category", levels=("Bonn", "Ulm", "3"), fill="Ulm", missing=""
        ),
        InputColumn(
            name="tool", kind="category", levels=("a", "other"), unseen="other", missing=""
        ),
    ),
    missing=("", "NA"),
    target=TargetColumn(column="y", unit="points"),
    output="prediction",
)
GOOD: dict[str, list[Any]] = {
    "age": ["17", 18],
    "height": ["1.5e2", None],
    "smokes": ["yes", 0],
    "city": ["Bonn", "NA"],
    "tool": ["a", "a"],
}


def read(**changes: list[Any]) -> tuple[dict[str, list[Any]], list[str]]:
    feeds, warnings = to_feeds(GOOD | changes, SCHEMA)
    assert all(values.shape == (2, 1) for values in feeds.values())
    return {name: values[:, 0].tolist() for name, values in feeds.items()}, warnings


def test_text_and_values_become_the_graphs_inputs() -> None:
    feeds, warnings = read()
    assert feeds["age"] == [17.0, 18.0]
    assert feeds["height"][0] == 150.0
    assert math.isnan(feeds["height"][1])
    assert feeds["smokes"] == [1.0, 0.0]
    assert feeds["city"] == ["Bonn", ""]
    assert warnings == []


@pytest.mark.parametrize(
    ("cell", "flag"),
    [
        ("TRUE", 1.0),
        (" no ", 0.0),
        (True, 1.0),
        (1.0, 1.0),
        ("1.0", 1.0),
        (np.int64(0), 0.0),
        ("n", 0.0),
    ],
)
def test_a_flag_may_be_said_in_many_words(cell: object, flag: float) -> None:
    assert read(smokes=[cell, 0])[0]["smokes"][0] == flag


def test_a_level_is_the_same_as_a_number_and_as_text() -> None:
    assert read(city=[3.0, None])[0]["city"] == ["3", ""]
    assert read(city=[3, "Ulm"])[0]["city"] == ["3", "Ulm"]


@pytest.mark.parametrize("missing", [None, math.nan, "", "NA"])
def test_missing_may_be_said_in_the_datasets_words(missing: object) -> None:
    assert math.isnan(read(height=[missing, 1.0])[0]["height"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": ["", 17]}, r"age: 1 missing value \(row 1\), and training had none"),
        ({"age": [17, 130]}, r"age: 1 value outside of 0 to 120 years: '130' \(row 2\)"),
        (
            {"age": ["17y", "x"]},
            r"age: 2 values that are no number: '17y' \(row 1\), 'x' \(row 2\)",
        ),
        ({"age": ["1_000", 17]}, r"age: 1 value that is no number: '1_000'"),
        ({"height": ["inf", 1]}, r"height: 1 infinite value \(row 1\)"),
        ({"height": [10**400, -(10**5000)]}, r"height: 2 infinite values \(rows 1, 2\)"),
        ({"age": [10**5000, 17]}, r"age: 1 infinite value \(row 1\)"),
        ({"smokes": [10**5000, 0]}, r"smokes: a flag is .* got 'an integer of thousands of digit"),
        ({"city": [10**5000, "Ulm"]}, r"city: unknown level in 1 row: 'an integer of thousands"),
        (
            {"smokes": ["maybe", 0]},
            r"smokes: a flag is 0/1, true/false or yes/no, got 'maybe' \(row 1\)",
        ),
        ({"smokes": np.array([0.5, 0.0])}, r"smokes: a flag is .* got '0\.5' \(row 1\)"),
        (
            {"city": ["Rome", "Ulm"]},
            r"city: unknown level in 1 row: 'Rome' \(row 1\); known: Bonn, Ulm, 3",
        ),
        ({"city": ["Ulm"]}, r"the columns differ in their number of rows: 1, 2"),
    ],
)
def test_a_cell_that_the_model_was_not_made_for_is_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        to_feeds(GOOD | change, SCHEMA)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(DataError, match=r"\(3 faults\)") as raised:
        to_feeds({"age": [200], "smokes": [7], "height": [1.0], "tool": ["a"]}, SCHEMA)
    assert "city: the column is missing" in str(raised.value)


def test_extrapolation_and_levels_taken_as_another_are_warned_of() -> None:
    _, warnings = read(age=[17, 60], tool=["new", "a"], more=[1, 2], most=[1, 2])
    assert len(warnings) == 3
    assert "more, most: not used by the model" in warnings
    assert any(
        "age: 1 value outside of the training range 14 to 24 years (row 2)" in w for w in warnings
    )
    assert any(
        "tool: unknown level in 1 row taken as 'other': 'new' (row 1)" in w for w in warnings
    )


def test_no_rows_are_rows_too() -> None:
    feeds, _ = to_feeds({name: [] for name in GOOD}, SCHEMA)
    assert {values.shape for values in feeds.values()} == {(0, 1)}


def test_examples_are_few_and_short() -> None:
    with pytest.raises(DataError) as raised:
        to_feeds(
            {name: values * 50 for name, values in GOOD.items()} | {"age": ["x" * 1000] * 100},
            SCHEMA,
        )
    assert "and 97 more" in str(raised.value)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("cell", "decimal", "thousands", "number"),
    [
        ("1,5", ",", None, 1.5),
        ("-1.234,5", ",", ".", -1234.5),
        ("1.234", ",", ".", 1234.0),
        ("1,234.5", ".", ",", 1234.5),
        ("1\u202f234,5", ",", " ", 1234.5),
        ("1e3", ",", None, 1000.0),
        ("170", ",", ".", 170.0),
    ],
)
def test_numbers_of_a_text_file_are_read_as_they_are_written(
    cell: str, decimal: str, thousands: str | None, number: float
) -> None:
    columns = {"height": [cell], "city": ["1,5"]}
    read = with_points(columns, SCHEMA, decimal, thousands)
    assert float(read["height"][0]) == number
    assert read["city"] == ["1,5"]
    # The commands about tables read them alike.
    assert read_numbers(pd.Series([cell]), Marks(decimal, thousands)).tolist() == [number]


@pytest.mark.parametrize(
    ("cell", "decimal", "thousands"),
    [
        ("1.5", ",", None),
        ("1.5", ",", "."),
        ("12.34,5", ",", "."),
        ("1,5", ".", ","),
        ("1,5", ".", None),
    ],
)
def test_number_that_is_written_otherwise_is_refused(
    cell: str, decimal: str, thousands: str | None
) -> None:
    columns = GOOD | with_points({"height": [cell, cell]}, SCHEMA, decimal, thousands)
    with pytest.raises(DataError, match="2 values that are no number"):
        to_feeds(columns, SCHEMA)
    assert read_numbers(pd.Series([cell]), Marks(decimal, thousands)).isna().all()
