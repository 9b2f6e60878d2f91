from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from studperf.config.dataset import Dataset
from studperf.data.schema import Finding, Table, check_table, inspect_table, suggest_line
from studperf.errors import DataError

MakeDataset = Callable[..., Dataset]
ABC = {"number": {"kind": "number"}, "level": {"kind": "category"}, "flag": {"kind": "flag"}}


def text_table(**columns: list[str]) -> pd.DataFrame:
    """As read from a CSV: every cell is text."""
    return pd.DataFrame(columns, dtype=str)


def whats(table: Table) -> dict[str, str]:
    return {warning.where: warning.what for warning in table.warnings}


def test_checked_table_has_its_types(make_dataset: MakeDataset) -> None:
    raw = text_table(
        number=["1", "2.5", "-3e2"],
        level=["a", "b", "a"],
        flag=["0", "1", "1"],
        y=["5", "6.5", "7"],
    )
    frame = check_table(raw, make_dataset(ABC)).frame
    assert frame["number"].dtype == frame["flag"].dtype == frame["y"].dtype == np.float64
    assert frame["number"].tolist() == [1.0, 2.5, -300.0]
    assert frame["level"].tolist() == ["a", "b", "a"]
    assert frame["flag"].tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("no", "yes"),
    [
        ("0", "1"),
        ("false", "true"),
        ("False", "TRUE"),
        ("no", "yes"),
        ("N", "Y"),
        ("0.0", "1.0"),
        (" no", "yes "),
        (False, True),
        (0.0, 1.0),
    ],
    ids=repr,
)
def test_flag_is_known_by_any_of_its_spellings(
    no: object, yes: object, make_dataset: MakeDataset
) -> None:
    table = check_table(
        pd.DataFrame({"flag": [no, yes], "y": [1, 2]}), make_dataset({"flag": {"kind": "flag"}})
    )
    assert table.frame["flag"].tolist() == [0.0, 1.0]


def test_missing_cells_become_nan_and_none(make_dataset: MakeDataset) -> None:
    columns = {
        "number": {"kind": "number", "fill": "median"},
        "level": {"kind": "category", "fill": "mode"},
        "flag": {"kind": "flag", "fill": "mode"},
    }
    raw = text_table(
        number=["1", "", "3"], level=["", "b", "a"], flag=["0", "1", ""], y=["5", "6", "7"]
    )
    frame = check_table(raw, make_dataset(columns)).frame
    assert frame.isna().to_numpy().tolist() == [
        [False, True, False, False],
        [True, False, False, False],
        [False, False, True, False],
    ]


def test_only_the_words_that_the_dataset_names_are_missing(make_dataset: MakeDataset) -> None:
    source = {"path": "table.csv", "otherwise": "fail", "missing": ["", "-", "NA"]}
    dataset = make_dataset(
        {
            "level": {"kind": "category", "fill": "mode"},
            "number": {"kind": "number", "fill": "median"},
        },
        source=source,
    )
    table = check_table(
        text_table(level=["NA", "None", "nan"], number=["-", "1", "2"], y=["1", "2", "3"]), dataset
    )
    assert table.frame["level"].isna().tolist() == [True, False, False]
    assert table.frame["level"].tolist()[1:] == ["None", "nan"]
    assert np.isnan(table.frame["number"][0])


def test_whole_floats_and_integers_are_one_level(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"grade": {"kind": "category", "levels": [1, 2, 3], "fill": "mode"}})
    frame = check_table(
        pd.DataFrame({"grade": [1.0, np.nan, 3.0], "y": [1.0, 2.0, 3.0]}), dataset
    ).frame
    assert frame["grade"].dropna().to_dict() == {0: "1", 2: "3"}


def test_broken_floats_keep_their_digits_as_levels(make_dataset: MakeDataset) -> None:
    frame = check_table(
        pd.DataFrame({"grade": [1.5, 2.0], "y": [1.0, 2.0]}),
        make_dataset({"grade": {"kind": "category"}}),
    ).frame
    assert frame["grade"].tolist() == ["1.5", "2.0"]


@pytest.mark.parametrize(
    "dtype", ["int8", "Int64", "float32", "uint16", "bool", "category", "object"]
)
def test_parquet_types_become_numbers(dtype: str, make_dataset: MakeDataset) -> None:
    raw = pd.DataFrame({"number": pd.Series([0, 1, 1]).astype(dtype), "y": [1.0, 2.0, 3.0]})
    number = check_table(raw, make_dataset({"number": {"kind": "number"}})).frame["number"]
    assert number.dtype == np.float64
    assert number.tolist() == [0.0, 1.0, 1.0]


def test_ends_of_a_range_lie_within_it(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(
        {"number": {"kind": "number", "range": [0, 10]}}, target={"column": "y", "range": [1, 2]}
    )
    assert len(check_table(text_table(number=["0", "10"], y=["1", "2"]), dataset)) == 2


def test_columns_of_other_kinds_are_kept_as_they_are(make_dataset: MakeDataset) -> None:
    columns = {
        "number": {"kind": "number"},
        "note": {"kind": "unused"},
        "passed": {"kind": "leak"},
        "id": {"kind": "id"},
    }
    raw = text_table(
        number=["1", "2"], note=["x", ""], passed=["maybe", "1"], id=["a", "b"], y=["1", "2"]
    )
    frame = check_table(raw, make_dataset(columns)).frame
    assert frame["note"].dropna().to_dict() == {0: "x"}
    assert frame["passed"].tolist() == ["maybe", "1"]


def test_feature_that_is_switched_off_is_not_checked(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(
        {"a": {"kind": "number"}, "b": {"kind": "number", "range": [0, 1]}}, features=["a"]
    )
    assert len(check_table(text_table(a=["1", "2"], b=["9", "x"], y=["1", "2"]), dataset)) == 2


def test_rows_without_an_id_are_no_repetition(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"a": {"kind": "number"}, "id": {"kind": "id"}})
    assert (
        len(
            check_table(text_table(a=["1", "2", "3"], id=["", "", "7"], y=["1", "2", "3"]), dataset)
        )
        == 3
    )


def test_message_counts_rows_from_one_below_the_header(make_dataset: MakeDataset) -> None:
    raw = pd.DataFrame({"a": ["1", "x"], "y": ["1", "2"]}, index=[70, 71])
    with pytest.raises(DataError, match=r"'x' \(row 2\)"):
        check_table(raw, make_dataset({"a": {"kind": "number"}}))


def test_message_shows_three_rows_and_counts_the_others(make_dataset: MakeDataset) -> None:
    raw = text_table(a=["p", "q", "r", "s", "t", "1"], y=list("123456"))
    with pytest.raises(
        DataError,
        match=r"5 values are not numbers: 'p' \(row 1\), 'q' \(row 2\), 'r' \(row 3\) and 2 more",
    ):
        check_table(raw, make_dataset({"a": {"kind": "number"}}))


def test_category_of_few_levels_in_few_rows_is_no_identifier(make_dataset: MakeDataset) -> None:
    raw = text_table(level=[f"name {i}" for i in range(49)], y=[str(i) for i in range(49)])
    assert len(check_table(raw, make_dataset({"level": {"kind": "category"}}))) == 49


# Warnings


def test_constant_column_is_warned_of(make_dataset: MakeDataset) -> None:
    table = check_table(
        text_table(number=["7", "7"], level=["a", "b"], flag=["1", "0"], y=["1", "2"]),
        make_dataset(ABC),
    )
    assert list(whats(table)) == ["number"]
    assert whats(table)["number"] == "every row has the value 7: the column carries no information"


def test_repeated_rows_are_warned_of(make_dataset: MakeDataset) -> None:
    table = check_table(
        text_table(number=["1", "2", "1"], y=["5", "6", "5"]),
        make_dataset({"number": {"kind": "number"}}),
    )
    assert whats(table)["table"] == (
        "1 row equals one above (row 3) in every column; the split keeps them together"
    )


def test_rows_that_differ_in_unused_columns_are_no_copies(make_dataset: MakeDataset) -> None:
    raw = text_table(
        key=list("abcd"),
        number=["1", "1", "1", "2"],
        note=["p", "q", "p", "r"],
        y=["5", "5", "5", "6"],
    )
    kinds = {"key": "id", "number": "number", "note": "unused"}
    dataset = make_dataset({name: {"kind": kind} for name, kind in kinds.items()})
    _, findings = inspect_table(raw, dataset)
    told = [finding.what for finding in findings if finding.where == "table"]
    # The third row equals the first in number, note and y; the second one differs from it in its note.
    assert "1 row equals one above (row 3) in every column but ids; the split keeps them" in told[0]
    assert "1 row equals one above (row 2) in all features and the target" in told[1]
    assert "no copies" in told[1]


def test_id_that_repeats_says_the_way_out(make_dataset: MakeDataset) -> None:
    columns = {"school": {"kind": "id"}, "number": {"kind": "number"}}
    with pytest.raises(DataError, match="kind: category, unseen: other, rare: 5"):
        check_table(
            text_table(school=["a", "b", "a"], number=["1", "2", "3"], y=["5", "6", "7"]),
            make_dataset(columns),
        )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (["1e300", "2e300", "3e300"], r"y: 3 values are beyond 1e\+30: 1e\+300"),
        (["1e-300", "2e-300", "3e-300"], "y: the targets differ by 2e-300 at most"),
        (["1000000000", "1000000000.5", "1000000001"], "single precision does not keep"),
    ],
)
def test_target_that_can_not_be_computed_with_is_refused(
    target: list[str], message: str, make_dataset: MakeDataset
) -> None:
    with pytest.raises(DataError, match=message):
        check_table(
            text_table(number=["1", "2", "3"], y=target),
            make_dataset({"number": {"kind": "number"}}),
        )


def test_unused_column_that_is_not_there_is_warned_of(make_dataset: MakeDataset) -> None:
    table = check_table(
        text_table(number=["1", "2"], y=["5", "6"]),
        make_dataset({"number": {"kind": "number"}, "id": {"kind": "id"}}),
    )
    assert whats(table) == {"id": "the column, of kind id, is not in the file"}


def test_unseen_level_is_warned_of_where_it_may_be_other(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"level": {"kind": "category", "levels": ["a", "b"], "unseen": "other"}})
    table = check_table(text_table(level=["a", "z", "b"], y=["1", "2", "3"]), dataset)
    assert "1 row taken as 'other': 'z' (row 2)" in whats(table)["level"]
    assert table.frame["level"].tolist() == ["a", "z", "b"]


def test_rows_without_a_target_are_left_out_on_request(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"number": {"kind": "number"}}, drop_missing_target=True)
    table = check_table(text_table(number=["1", "2", "3"], y=["5", "", "7"]), dataset)
    assert table.frame["number"].tolist() == [1.0, 3.0]
    assert table.target.tolist() == [5.0, 7.0]
    assert "1 row without a target left out" in whats(table)["y"]


def test_table_whose_rows_all_lack_a_target_has_no_rows(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"number": {"kind": "number"}}, drop_missing_target=True)
    with pytest.raises(DataError, match="no rows"):
        check_table(text_table(number=["1", "2"], y=["", ""]), dataset)


# Tables to predict for


def test_table_to_predict_for_needs_no_target(make_dataset: MakeDataset) -> None:
    table = check_table(
        text_table(number=["1"]), make_dataset({"number": {"kind": "number"}}), for_training=False
    )
    assert not table.has_target
    assert table.warnings == ()


def test_table_to_predict_for_may_have_empty_targets(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"number": {"kind": "number"}})
    table = check_table(text_table(number=["1", "2"], y=["", "3"]), dataset, for_training=False)
    assert np.isnan(table.target[0])
    assert table.target[1] == 3


def test_table_to_predict_for_may_have_columns_too_many(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"number": {"kind": "number"}})
    table = check_table(text_table(number=["1"], town=["Bonn"]), dataset, for_training=False)
    assert whats(table) == {"town": "unknown column, ignored"}
    assert "town" not in table.frame


def test_table_to_predict_for_needs_every_feature(make_dataset: MakeDataset) -> None:
    with pytest.raises(DataError, match="flag: the column is missing"):
        check_table(text_table(number=["1"], level=["a"]), make_dataset(ABC), for_training=False)


def test_table_to_predict_for_keeps_its_ranges(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"number": {"kind": "number", "range": [0, 10], "unit": "hours"}})
    with pytest.raises(DataError, match=r"1 value is outside of 0 to 10 hours: 11 \(row 1\)"):
        check_table(text_table(number=["11"]), dataset, for_training=False)


# Parts


def test_inspection_tells_findings_of_both_levels(make_dataset: MakeDataset) -> None:
    raw = text_table(number=["x", "1"], level=["a", "a"], flag=["0", "1"], y=["1", "2"])
    _, findings = inspect_table(raw, make_dataset(ABC))
    assert [(f.level, f.where) for f in findings] == [("error", "number"), ("warning", "level")]


def test_finding_reads_as_a_line() -> None:
    assert str(Finding("error", "age", "is missing")) == "age: is missing"


def test_rows_keep_the_order_asked_for(make_dataset: MakeDataset) -> None:
    table = check_table(
        text_table(number=["0", "1", "2", "3"], y=["5", "6", "7", "8"]),
        make_dataset({"number": {"kind": "number"}}),
    )
    part = table.rows(np.array([3, 0]))
    assert part.frame["number"].tolist() == [3.0, 0.0]
    assert part.target.tolist() == [8.0, 5.0]
    assert len(table.rows(np.array([], dtype=int))) == 0


@pytest.mark.parametrize(
    ("values", "kind"),
    [(["1", "2", ""], "number"), (["a", "b", "1"], "category"), ([1.5, 2.5, None], "number")],
)
def test_suggested_line_tells_numbers_from_text(values: list[object], kind: str) -> None:
    assert suggest_line("shoe", pd.Series(values)).startswith(f"shoe: {{kind: {kind}}}")


def test_check_leaves_the_raw_table_as_it_was(
    students: Dataset, students_raw: pd.DataFrame
) -> None:
    before = students_raw.copy()
    check_table(students_raw, students)
    pd.testing.assert_frame_equal(students_raw, before)
