import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from studperf.config.dataset import Dataset
from studperf.data.schema import Table
from studperf.data.split import Split, split_rows, split_table
from studperf.errors import DataError

MakeDataset = Callable[..., Dataset]
FRACTIONS = [
    ("0.8", "0.1", "0.1"),
    ("0.7", "0.15", "0.15"),
    ("0.5", "0.3", "0.2"),
    ("0.6", "0.1", "0.3"),
]


def table_of(
    make_dataset: MakeDataset,
    x: np.ndarray,
    fractions: tuple[str, str, str] = FRACTIONS[0],
    seed: int = 0,
) -> Table:
    split = dict(zip(("train", "val", "test"), map(float, fractions), strict=True)) | {"seed": seed}
    dataset = make_dataset({"x": {"kind": "number"}, "k": {"kind": "number"}}, split=split)
    frame = pd.DataFrame({"x": x, "k": np.zeros(len(x)), "y": np.arange(len(x), dtype=float)})
    return Table(frame, dataset)


def all_rows(split: Split) -> list[int]:
    return sorted(np.concatenate([split.train, split.val, split.test]).tolist())


def test_parts_are_those_of_sklearn(make_dataset: MakeDataset) -> None:
    split = split_table(table_of(make_dataset, np.arange(8000.0), seed=42))
    train, held = train_test_split(np.arange(8000), test_size=0.2, random_state=42)
    val, test = train_test_split(held, test_size=0.5, random_state=42)
    for part, expected in zip(
        (split.train, split.val, split.test), (train, val, test), strict=True
    ):
        np.testing.assert_array_equal(part, expected)


@settings(deadline=None, max_examples=50)
@given(
    n=st.integers(100, 1500), seed=st.integers(0, 2**32 - 1), fractions=st.sampled_from(FRACTIONS)
)
def test_parts_are_those_of_sklearn_for_any_size(
    n: int, seed: int, fractions: tuple[str, str, str], make_dataset: MakeDataset
) -> None:
    split = split_table(table_of(make_dataset, np.arange(float(n)), fractions, seed))
    _, val_share, test_share = map(Fraction, fractions)
    # In whole rows, so that 0.3 * 10 = 3.0000000000000004 can't bring a row more.
    n_held = math.ceil(n * (val_share + test_share))
    train, held = train_test_split(np.arange(n), test_size=n_held, random_state=seed)
    val, test = train_test_split(
        held, test_size=math.ceil(n_held * test_share / (val_share + test_share)), random_state=seed
    )
    for part, expected in zip(
        (split.train, split.val, split.test), (train, val, test), strict=True
    ):
        np.testing.assert_array_equal(part, expected)


@settings(deadline=None, max_examples=50)
@given(n=st.integers(150, 600), n_values=st.integers(80, 700), seed=st.integers(0, 1000))
def test_every_row_is_in_one_part_and_equal_rows_together(
    n: int, n_values: int, seed: int, make_dataset: MakeDataset
) -> None:
    x = np.random.default_rng(seed).integers(0, n_values, n).astype(float)
    table = table_of(make_dataset, x, FRACTIONS[2], seed)
    table = Table(table.frame.assign(y=x), table.dataset)
    split = split_table(table)
    assert all_rows(split) == list(range(n))
    values = [set(x[part]) for part in (split.train, split.val, split.test)]
    assert not values[0] & values[1]
    assert not values[0] & values[2]
    assert not values[1] & values[2]


def test_rows_that_lack_the_same_values_are_equal(make_dataset: MakeDataset) -> None:
    x = np.arange(200.0)
    x[::20] = np.nan
    table = table_of(make_dataset, x)
    split = split_table(Table(table.frame.assign(y=x), table.dataset))
    assert sum(bool(np.isnan(x[part]).any()) for part in (split.train, split.val, split.test)) == 1


def test_order_of_columns_makes_no_difference(make_dataset: MakeDataset) -> None:
    table = table_of(make_dataset, np.arange(300.0) % 250)
    turned = Table(table.frame[["y", "k", "x"]], table.dataset)
    assert split_table(table).sha256 == split_table(turned).sha256


def test_parts_do_not_depend_on_the_features_chosen(students_table: Table) -> None:
    dataset = students_table.dataset
    few = Dataset.model_validate(
        dataset.model_dump(exclude_unset=True) | {"features": ["uses_ai", "gender"]}
    )
    assert (
        split_table(Table(students_table.frame, few)).sha256 == split_table(students_table).sha256
    )


def test_students_alike_in_a_few_features_leave_the_fractions_as_they_are(
    students_table: Table,
) -> None:
    few = Dataset.model_validate(
        students_table.dataset.model_dump(exclude_unset=True) | {"features": ["uses_ai", "gender"]}
    )
    split = split_table(Table(students_table.frame, few))
    assert (len(split.train), len(split.val), len(split.test)) == (160, 20, 20)


def test_same_seed_gives_the_same_hash(make_dataset: MakeDataset) -> None:
    table = table_of(make_dataset, np.arange(200.0))
    assert split_table(table).sha256 == split_table(table).sha256


def test_hash_changes_with_the_seed(make_dataset: MakeDataset) -> None:
    hashes = {
        split_table(table_of(make_dataset, np.arange(200.0), seed=seed)).sha256
        for seed in range(20)
    }
    assert len(hashes) == 20


def test_hash_tells_parts_apart() -> None:
    first, second = np.array([1, 2]), np.array([3])
    none = np.array([], dtype=int)
    hashes = {
        Split(first, second, none).sha256,
        Split(first, none, second).sha256,
        Split(none, first, second).sha256,
    }
    assert len(hashes) == 3


def test_hash_is_the_same_for_any_type_of_integers() -> None:
    parts = [np.array([1, 2]), np.array([3]), np.array([4])]
    assert Split(*parts).sha256 == Split(*(part.astype(np.int32) for part in parts)).sha256


def test_part_of_fewer_than_ten_rows_is_refused(make_dataset: MakeDataset) -> None:
    # scikit-learn's rounding up: 19 rows are held out, 10 of them for test.
    with pytest.raises(
        DataError,
        match=r"95 rows are too few: each part needs at least 10, but there would be val 9\. ",
    ):
        split_table(table_of(make_dataset, np.arange(95.0)))


def test_parts_of_ten_rows_are_enough(make_dataset: MakeDataset) -> None:
    split = split_table(table_of(make_dataset, np.arange(96.0)))
    assert (len(split.train), len(split.val), len(split.test)) == (76, 10, 10)


def test_table_without_rows_is_refused(make_dataset: MakeDataset) -> None:
    with pytest.raises(DataError, match="0 rows are too few"):
        split_table(table_of(make_dataset, np.array([])))


def test_parts_hold_the_rows_of_the_split(make_dataset: MakeDataset) -> None:
    table = table_of(make_dataset, np.arange(200.0))
    split = split_table(table)
    parts = split_rows(table, split)
    assert list(parts) == ["train", "val", "test"]
    for name, part in parts.items():
        np.testing.assert_array_equal(part.target, getattr(split, name))
