import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studperf.data.hashes import (
    combine,
    group_rows,
    hash_levels,
    hash_numbers,
    hash_rows,
    hash_values,
    have_equals,
    join_cells,
)


@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=60), st.integers(0, 5))
def test_texts_have_equal_hashes_exactly_when_they_are_equal(
    texts: list[str | None], n_cut: int
) -> None:
    texts = [None if text is None else text.encode(errors="replace").decode() for text in texts]
    values = pa.array(texts, pa.string())[n_cut:]  # a slice begins within its buffers
    hashes = hash_values(values)
    assert len(set(hashes.tolist())) == len(set(texts[n_cut:]))
    known = dict(zip(texts[n_cut:], hashes.tolist(), strict=True))
    assert [known[text] for text in texts[n_cut:]] == hashes.tolist()


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_hash_of_a_text_does_not_depend_on_how_it_is_stored(kind: pa.DataType) -> None:
    texts = ["", "a", "seven77", "eight888", "nine99999", "a much longer text than that", None]
    assert hash_values(pa.array(texts).cast(kind)).tolist() == hash_values(pa.array(texts)).tolist()


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, None, 1]),
        pa.array([1.5, 2.5, None, 1.5]),
        pa.array([True, False, None, True]),
        pa.array([dt.date(2026, 1, 1), dt.date(2026, 1, 2), None, dt.date(2026, 1, 1)]),
        pa.array([[1], [2], None, [1]]),
    ],
    ids=lambda values: str(values.type),
)
def test_values_of_any_type_are_told_apart(values: pa.Array) -> None:
    one, other, nothing, again = hash_values(values).tolist()
    assert one == again
    assert len({one, other, nothing}) == 3


@pytest.mark.parametrize("n_columns", range(4))
def test_rows_have_the_same_hash_by_their_cells_as_in_a_frame(n_columns: int) -> None:
    codes, levels, numbers = (
        np.array([1, 0, -1, 1]),
        ["a", "b c"],
        np.array([0.5, np.nan, -0.0, 1e300]),
    )
    frame = pd.DataFrame(
        {"n": numbers, "c": pd.Categorical.from_codes(codes, levels), "m": -numbers}
    ).iloc[:, :n_columns]
    cells = [hash_numbers(numbers), hash_levels(levels)[codes], hash_numbers(-numbers)][:n_columns]
    assert join_cells(cells, len(cells), 4).tolist() == hash_rows(frame).tolist()


def test_both_zeros_are_one_number() -> None:
    assert len(set(hash_values(pa.array([0.0, -0.0])).tolist())) == 1


def test_order_matters_where_hashes_are_combined() -> None:
    first, second = hash_values(pa.array(["a"])), hash_values(pa.array(["b"]))
    assert combine(first, second) != combine(second, first)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=80))
def test_groups_are_numbered_as_they_first_come(values: list[int]) -> None:
    hashes = hash_values(pa.array(values))
    order = list(dict.fromkeys(values))
    assert group_rows(hashes).tolist() == [order.index(value) for value in values]
    is_repeated = len(order) < len(values)
    assert have_equals(hashes) == is_repeated
    assert have_equals(hashes.copy(), may_sort=True) == is_repeated


def test_all_bits_of_a_hash_are_used() -> None:
    hashes = hash_values(pa.array([f"student-{i}" for i in range(200_000)]))
    ones = np.unpackbits(hashes.view(np.uint8)).mean()
    assert ones == pytest.approx(0.5, abs=0.002)
    assert len(np.unique(hashes)) == 200_000
    assert (
        len(np.unique(hashes >> np.uint64(32))) > 199_970
    )  # n^2 / 2^33 = 5 pairs meet in half of the bits
