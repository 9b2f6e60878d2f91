import itertools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from studperf.config.dataset import Dataset
from studperf.config.run import Encode
from studperf.data.encode import Encoded, Encoder, FeatureSpec, flatten
from studperf.data.schema import Table, check_table
from studperf.data.split import split_table
from studperf.errors import DataError

MakeDataset = Callable[..., Dataset]
STYLES = [
    Encode(numbers=n, categories=c)
    for n, c in itertools.product(("standard", "quantile"), ("codes", "onehot"))
]
STANDARD, ONEHOT, QUANTILE = STYLES[0], STYLES[1], STYLES[2]
MIXED: dict[str, dict[str, Any]] = {
    "a": {"kind": "number", "fill": "median"},
    "b": {"kind": "number"},
    "flag": {"kind": "flag", "fill": "mode"},
    "level": {"kind": "category", "fill": "mode", "unseen": "other", "levels": ["x", "y"]},
    "grade": {"kind": "category"},
}


def id_of(encode: Encode) -> str:
    return f"{encode.numbers}, {encode.categories}"


def table_of(dataset: Dataset, **columns: list[Any]) -> Table:
    n = len(next(iter(columns.values())))
    levels = {
        name: pd.Series(values, dtype=object)
        for name, values in columns.items()
        if name in dataset.of_kind("category")
    }
    numbers = {
        name: np.array(values, dtype=float)
        for name, values in columns.items()
        if name not in levels
    }
    return Table(pd.DataFrame({**numbers, **levels, "y": np.arange(n, dtype=float)}), dataset)


def mixed_table(dataset: Dataset, n: int, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    return table_of(
        dataset,
        a=np.where(rng.random(n) < 0.2, np.nan, rng.normal(5, 2, n)).tolist(),
        b=rng.gamma(1, 1e3, n).tolist(),
        flag=np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 2, n)).tolist(),
        level=rng.choice(np.array(["x", "y", "z", None], dtype=object), n).tolist(),
        grade=rng.choice(["1", "2", "3"], n).tolist(),
    )


def encode_one(
    dataset: Dataset, train: list[Any], later: list[Any] | None = None, encode: Encode = STANDARD
) -> Encoded:
    """The only column `v`, learnt from `train`, encoded for the rows of `later`."""
    encoder = Encoder.fit(table_of(dataset, v=train), encode)
    return encoder.transform(table_of(dataset, v=train if later is None else later))


# Learnt from the training rows, and kept exactly


@pytest.mark.parametrize("encode", STYLES, ids=id_of)
def test_rows_outside_of_train_teach_nothing(encode: Encode, students_table: Table) -> None:
    split = split_table(students_table)
    held = np.concatenate([split.val, split.test])
    permuted, other = students_table.frame.copy(), students_table.frame.copy()
    names = list(students_table.dataset.feature_names)
    permuted.loc[held, names] = students_table.frame.loc[
        np.random.default_rng(0).permutation(held), names
    ].to_numpy()
    for name in students_table.dataset.of_kind("number", "flag"):
        other.loc[held, name] = 99.0
    expected = Encoder.fit(students_table.rows(split.train), encode)
    for frame in (permuted, other):
        table = Table(frame, students_table.dataset)
        assert not frame.equals(students_table.frame)
        assert Encoder.fit(table.rows(split.train), encode) == expected


@settings(deadline=None, max_examples=25)
@given(n=st.integers(2, 60), seed=st.integers(0, 10_000), encode=st.sampled_from(STYLES))
def test_encoder_comes_back_from_json_as_it_was(
    n: int, seed: int, encode: Encode, make_dataset: MakeDataset
) -> None:
    dataset = make_dataset(MIXED)
    train = mixed_table(dataset, n, seed)
    if train.frame[["a", "flag", "level"]].isna().all().any():
        return  # a column without any value is refused
    encoder = Encoder.fit(train, encode)
    again = Encoder.model_validate_json(encoder.model_dump_json())
    assert again == encoder
    # Levels of `grade` that these training rows lack would be refused.
    later = mixed_table(dataset, 200, seed + 1)
    later = later.rows(np.flatnonzero(later.frame["grade"].isin(train.frame["grade"].unique())))
    for before, after in zip(
        vars(encoder.transform(later)).values(), vars(again.transform(later)).values(), strict=True
    ):
        assert before.tobytes() == after.tobytes()


@settings(deadline=None, max_examples=100)
@given(values=st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=20))
def test_numbers_come_back_from_json_to_the_last_bit(
    values: list[float], make_dataset: MakeDataset
) -> None:
    encoder = Encoder.fit(table_of(make_dataset({"v": {"kind": "number"}}), v=values), QUANTILE)
    assert Encoder.model_validate_json(encoder.model_dump_json()) == encoder


def test_encoder_is_plain_json(make_dataset: MakeDataset) -> None:
    encoder = Encoder.fit(mixed_table(make_dataset(MIXED), 50, 0), STANDARD)
    plain = json.loads(encoder.model_dump_json())
    assert [code["name"] for code in plain["categories"]] == ["level", "grade"]


@pytest.mark.parametrize("encode", STYLES, ids=id_of)
def test_blocks_of_rows_end_as_all_rows_at_once(
    encode: Encode, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = mixed_table(make_dataset(MIXED), 200, 3)
    seen = []
    for n_rows in (200, 7):
        monkeypatch.setattr("studperf.data.encode._N_BLOCK", n_rows)
        seen.append(Encoder.fit(table, encode).transform(table))
    np.testing.assert_array_equal(seen[1].x_num, seen[0].x_num)
    np.testing.assert_array_equal(seen[1].x_cat, seen[0].x_cat)


# Numbers


def test_standardised_numbers_are_those_of_sklearn(students_table: Table) -> None:
    split = split_table(students_table)
    train = students_table.rows(split.train)
    names = list(students_table.dataset.of_kind("number"))
    scaler = StandardScaler().fit(train.frame[names])
    encoded = Encoder.fit(train, STANDARD).transform(students_table)
    np.testing.assert_allclose(
        encoded.x_num[:, : len(names)], scaler.transform(students_table.frame[names]), atol=1e-5
    )


@pytest.mark.parametrize("n", [4095, 4096, 4097, 32768, 36864, 40000, 70001])
def test_deviation_of_many_numbers_is_that_of_numpy(n: int, make_dataset: MakeDataset) -> None:
    values = np.random.default_rng(n).normal(1e4, 3, n)
    code = Encoder.fit(
        table_of(make_dataset({"v": {"kind": "number"}}), v=values.tolist()), STANDARD
    ).numbers[0]
    assert code.std == pytest.approx(values.std(), rel=1e-13)


def test_quantile_numbers_are_those_of_sklearn(make_dataset: MakeDataset) -> None:
    rng = np.random.default_rng(0)
    train, later = rng.gamma(1, 3, 1500), rng.gamma(1, 4, 500)
    sklearn = QuantileTransformer(output_distribution="normal", n_quantiles=1000).fit(
        train[:, None]
    )
    encoded = encode_one(
        make_dataset({"v": {"kind": "number"}}), train.tolist(), later.tolist(), QUANTILE
    )
    assert later.max() > train.max()
    np.testing.assert_allclose(
        encoded.x_num[:, 0], sklearn.transform(later[:, None])[:, 0], atol=1e-5
    )


def test_repeated_values_share_the_middle_of_their_ranks(make_dataset: MakeDataset) -> None:
    # Of 101 ranks 0 to 1, the 1s hold 0 to 0.2, the 2s 0.21 to 0.6, the 3s 0.61 to 1: normal quantiles of 0.1, 0.405 and 0.805.
    values = [1.0] * 21 + [2.0] * 40 + [3.0] * 40
    encoded = encode_one(make_dataset({"v": {"kind": "number"}}), values, [1.0, 2.0, 3.0], QUANTILE)
    assert encoded.x_num[:, 0] == pytest.approx([-1.281552, -0.240426, 0.859617], abs=1e-5)


@pytest.mark.parametrize("encode", [STANDARD, QUANTILE], ids=id_of)
@pytest.mark.parametrize("n", [1, 2, 10, 50, 77, 200])
@pytest.mark.parametrize("value", [0.0, 0.1, 7.7, 1e9 + 0.1])
def test_constant_column_stays_small(
    value: float, n: int, encode: Encode, make_dataset: MakeDataset
) -> None:
    # numpy's standard deviation of seventy-seven times 0.1 is 4e-17, and not zero.
    encoded = encode_one(
        make_dataset({"v": {"kind": "number"}}), [value] * n, [value, value + 1], encode
    )
    assert np.abs(encoded.x_num).max() < 6


def test_constant_column_is_only_centred(make_dataset: MakeDataset) -> None:
    encoded = encode_one(make_dataset({"v": {"kind": "number"}}), [5.0] * 20, [5.0, 7.0])
    assert encoded.x_num[:, 0].tolist() == [0.0, 2.0]


def test_numbers_outside_of_training_are_told(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"v": {"kind": "number"}})
    encoder = Encoder.fit(table_of(dataset, v=[1.0, 5.0]), STANDARD)
    (finding,) = encoder.extrapolated(table_of(dataset, v=[0.0, 1.0, 5.0, 5.1]))
    assert (finding.level, finding.where) == ("warning", "v")
    assert finding.what.startswith("2 values outside of the training range 1 to 5")
    assert encoder.extrapolated(table_of(dataset, v=[1.0, 3.0])) == []


def test_flags_stay_as_they_are(make_dataset: MakeDataset) -> None:
    assert encode_one(make_dataset({"v": {"kind": "flag"}}), [0.0, 1.0, 1.0]).x_num[
        :, 0
    ].tolist() == [0.0, 1.0, 1.0]


# Missing values


@pytest.mark.parametrize(
    ("fill", "filled"),
    # known: 1, 1, 4, 10; mean and sd of the six values with two filled in
    [("median", 2.5), ("mode", 1.0), (7, 7.0)],
)
def test_missing_number_is_filled_and_flagged(
    fill: float | str, filled: float, make_dataset: MakeDataset
) -> None:
    train = [1.0, 1.0, 4.0, 10.0, np.nan, np.nan]
    encoded = encode_one(
        make_dataset({"v": {"kind": "number", "fill": fill}}), train, [np.nan, 4.0]
    )
    whole = np.array([1, 1, 4, 10, filled, filled])
    assert encoded.x_num[:, 0] == pytest.approx(
        (np.array([filled, 4.0]) - whole.mean()) / whole.std(), abs=1e-6
    )
    assert encoded.x_num[:, 1].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("fill", "filled"), [("mode", 1.0), (0, 0.0), (1, 1.0)])
def test_missing_flag_is_filled_and_flagged(
    fill: float | str, filled: float, make_dataset: MakeDataset
) -> None:
    encoded = encode_one(
        make_dataset({"v": {"kind": "flag", "fill": fill}}), [1.0, 1.0, 0.0, np.nan], [np.nan, 0.0]
    )
    assert encoded.x_num.tolist() == [[filled, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize(("fill", "code"), [("mode", 1), ("a", 0), ("none given", 2)])
def test_missing_category_is_filled_and_flagged(
    fill: str, code: int, make_dataset: MakeDataset
) -> None:
    column = {"kind": "category", "levels": ["a", "b"], "fill": fill}
    encoded = encode_one(make_dataset({"v": column}), ["b", "b", "a", None], [None, "a"])
    assert encoded.x_cat[:, 0].tolist() == [code, 0]
    assert encoded.x_num.tolist() == [[1.0], [0.0]]


def test_fill_of_a_category_may_be_a_number(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"v": {"kind": "category", "levels": [1, 2, 3], "fill": 3}})
    encoder = Encoder.fit(table_of(dataset, v=["1", "2", None]), STANDARD)
    assert encoder.categories[0].levels == ("1", "2", "3")
    assert encoder.categories[0].fill == "3"


@pytest.mark.parametrize("fill", ["maybe", 7], ids=str)
def test_fill_of_a_flag_must_be_a_flag(fill: str | float, make_dataset: MakeDataset) -> None:
    with pytest.raises(ValueError, match="fill"):
        make_dataset({"v": {"kind": "flag", "fill": fill}})


def test_no_missing_flag_stands_beside_a_column_without_a_fill(make_dataset: MakeDataset) -> None:
    encoder = Encoder.fit(table_of(make_dataset({"v": {"kind": "number"}}), v=[1.0, 2.0]), STANDARD)
    assert encoder.number_names == ("v",)


@pytest.mark.parametrize("kind", ["number", "category", "flag"])
def test_column_without_a_value_in_train_is_refused(kind: str, make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"v": {"kind": kind, "fill": "mode"}})
    with pytest.raises(DataError, match="v: "):
        Encoder.fit(table_of(dataset, v=[None, None, None]), STANDARD)


# Categories


def test_levels_have_the_order_of_the_dataset(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"v": {"kind": "category", "levels": ["low", "middle", "high"]}})
    assert encode_one(dataset, ["high", "low", "high"]).x_cat[:, 0].tolist() == [2, 0, 2]


def test_levels_are_learnt_where_the_dataset_names_none(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"v": {"kind": "category"}})
    encoder = Encoder.fit(table_of(dataset, v=["b", "a", "b", "c"]), STANDARD)
    assert encoder.categories[0].levels == ("a", "b", "c")
    assert encoder.transform(table_of(dataset, v=["c", "a"])).x_cat[:, 0].tolist() == [2, 0]


def test_unseen_level_is_refused_by_name(make_dataset: MakeDataset) -> None:
    with pytest.raises(
        DataError,
        match=r"v: levels that no training row has: d, e\. Name them in `levels`, or set unseen: other",
    ):
        encode_one(make_dataset({"v": {"kind": "category"}}), ["a", "b"], ["a", "e", "d", "d"])


def test_unseen_level_becomes_other_where_train_taught_it(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"v": {"kind": "category", "levels": ["a", "b"], "unseen": "other"}})
    encoder = Encoder.fit(table_of(dataset, v=["a", "b", "b", "z"]), STANDARD)
    assert encoder.categories[0].levels == ("a", "b", "other")
    assert encoder.transform(table_of(dataset, v=["z", "q", "a"])).x_cat[:, 0].tolist() == [2, 2, 0]


def test_unseen_level_becomes_the_most_frequent_where_train_taught_no_other(
    make_dataset: MakeDataset,
) -> None:
    dataset = make_dataset({"v": {"kind": "category", "levels": ["a", "b"], "unseen": "other"}})
    encoder = Encoder.fit(table_of(dataset, v=["a", "b", "b"]), STANDARD)
    assert encoder.categories[0].levels == ("a", "b")
    assert encoder.transform(table_of(dataset, v=["z", "a"])).x_cat[:, 0].tolist() == [1, 0]


def test_level_named_other_takes_the_unseen(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"v": {"kind": "category", "levels": ["a", "other"], "unseen": "other"}})
    encoded = encode_one(dataset, ["a", "a", "other"], ["z", "other", "a"])
    assert encoded.x_cat[:, 0].tolist() == [1, 1, 0]


def test_one_hot_columns_are_named_by_their_levels(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(
        {
            "n": {"kind": "number"},
            "v": {"kind": "category", "levels": ["a", "b"]},
            "w": {"kind": "category"},
        }
    )
    table = table_of(dataset, n=[1.0, 2.0, 3.0], v=["b", "a", "b"], w=["p", "q", "r"])
    encoder = Encoder.fit(table, ONEHOT)
    encoded = encoder.transform(table)
    assert encoder.number_names == ("n", "v=a", "v=b", "w=p", "w=q", "w=r")
    assert encoded.x_num[:, 1:].tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 1]]
    assert encoded.x_cat.shape == (3, 0)
    assert encoder.features == FeatureSpec(6)


# Shapes


@pytest.mark.parametrize("encode", STYLES, ids=id_of)
@pytest.mark.parametrize("n", [0, 1, 7])
def test_encoded_rows_have_the_sizes_of_the_features(
    n: int, encode: Encode, make_dataset: MakeDataset
) -> None:
    dataset = make_dataset(MIXED)
    table = mixed_table(dataset, 100, 0)
    encoder = Encoder.fit(table, encode)
    encoded = encoder.transform(table.rows(np.arange(n)))
    assert encoded.x_num.shape == (n, encoder.features.n_numbers) == (n, len(encoder.number_names))
    assert encoded.x_cat.shape == (n, len(encoder.features.cardinalities))
    assert (encoded.x_num.dtype, encoded.x_cat.dtype) == (np.float32, np.int64)
    assert np.isfinite(encoded.x_num).all()
    assert (encoded.x_cat < np.array(encoder.features.cardinalities, dtype=int)).all()


@pytest.mark.parametrize("encode", STYLES, ids=id_of)
def test_one_training_row_is_enough(encode: Encode, make_dataset: MakeDataset) -> None:
    dataset = make_dataset(MIXED)
    table = table_of(dataset, a=[1.0], b=[2.0], flag=[1.0], level=["x"], grade=["1"])
    assert np.isfinite(Encoder.fit(table, encode).transform(table).x_num).all()


def test_target_is_not_looked_at(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"v": {"kind": "number"}})
    table = table_of(dataset, v=[1.0, 2.0, 4.0])
    bare = Table(table.frame.drop(columns="y"), dataset)
    assert Encoder.fit(bare, STANDARD) == Encoder.fit(table, STANDARD)
    np.testing.assert_array_equal(
        Encoder.fit(table, STANDARD).transform(bare).x_num,
        Encoder.fit(table, STANDARD).transform(table).x_num,
    )


def test_flattened_rows_are_those_of_the_one_hot_style(make_dataset: MakeDataset) -> None:
    table = mixed_table(make_dataset(MIXED), 50, 0)
    codes, onehot = Encoder.fit(table, STANDARD), Encoder.fit(table, ONEHOT)
    np.testing.assert_array_equal(
        flatten(codes.transform(table), codes.features),
        onehot.transform(table).x_num.astype(np.float64),
    )
    np.testing.assert_array_equal(
        flatten(onehot.transform(table), onehot.features),
        onehot.transform(table).x_num.astype(np.float64),
    )


def test_csv_and_parquet_of_one_table_encode_alike(
    students: Dataset, students_raw: pd.DataFrame
) -> None:
    typed, text = (
        check_table(students_raw, students),
        check_table(students_raw.astype(str), students),
    )
    first, second = (Encoder.fit(table, STANDARD).transform(table) for table in (typed, text))
    np.testing.assert_array_equal(first.x_num, second.x_num)
    np.testing.assert_array_equal(first.x_cat, second.x_cat)


def test_rare_levels_are_taken_together(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"c": {"kind": "category", "unseen": "other", "rare": 3}})
    levels = ["a"] * 5 + ["b"] * 3 + ["d"] * 2 + ["e"]
    frame = pd.DataFrame({"c": levels, "y": range(11)})
    table = check_table(frame, dataset)
    encoder = Encoder.fit(table, STANDARD)
    assert encoder.categories[0].levels == ("a", "b", "other")
    codes = encoder.transform(table).x_cat[:, 0]
    assert codes.tolist() == [0] * 5 + [1] * 3 + [2] * 3
    new = check_table(pd.DataFrame({"c": ["never seen"]}), dataset, for_training=False)
    assert encoder.transform(new).x_cat.tolist() == [[2]]


def test_level_that_is_frequent_enough_must_be_there(make_dataset: MakeDataset) -> None:
    dataset = make_dataset({"c": {"kind": "category", "unseen": "other", "rare": 4}})
    table = check_table(pd.DataFrame({"c": ["a", "a", "b"], "y": [1, 2, 3]}), dataset)
    with pytest.raises(DataError, match="no level comes in 4 training rows or more"):
        Encoder.fit(table, STANDARD)
