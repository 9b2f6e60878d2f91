import numpy as np
import pytest
import torch

from studperf.config.load import load_overrides
from studperf.data.encode import Encoder
from studperf.data.schema import Table
from studperf.data.split import split_rows, split_table
from studperf.data.tensors import EncodedTable, encode_table


@pytest.fixture(scope="module")
def parts(students_table: Table) -> dict[str, Table]:
    return split_rows(students_table, split_table(students_table))


@pytest.fixture(scope="module")
def encoder(parts: dict[str, Table]) -> Encoder:
    return Encoder.fit(parts["train"], load_overrides([]).encode)


def test_a_table_becomes_encoded_rows_and_targets(
    parts: dict[str, Table], encoder: Encoder
) -> None:
    x_num, x_cat, target = encode_table(parts["val"], encoder)
    assert (x_num.dtype, x_cat.dtype, target.dtype) == (torch.float32, torch.int64, torch.float32)
    np.testing.assert_array_equal(x_num.numpy(), encoder.transform(parts["val"]).x_num)
    np.testing.assert_array_equal(x_cat.numpy(), encoder.transform(parts["val"]).x_cat)
    np.testing.assert_array_equal(target.numpy(), parts["val"].target.astype(np.float32))


def test_rows_without_a_target_get_zeros(parts: dict[str, Table], encoder: Encoder) -> None:
    part = parts["val"]
    bare = Table(part.frame.drop(columns="final_score"), part.dataset)
    assert torch.equal(encode_table(bare, encoder)[2], torch.zeros(20))


def test_a_part_is_a_choice_of_rows_and_its_codes_are_int64() -> None:
    x_num, x_cat = (
        torch.arange(6.0).reshape(3, 2),
        torch.tensor([[7], [200], [9]], dtype=torch.uint8),
    )
    table = EncodedTable(x_num, x_cat, torch.tensor([1.0, 2.0, 3.0]), {"val": torch.tensor([2, 0])})
    numbers, codes, target = table.part("val")
    assert numbers.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert (codes.dtype, codes.tolist()) == (torch.int64, [[9], [7]])
    assert target.tolist() == [3.0, 1.0]
    assert table.n_bytes == 6 * 4 + 3 + 3 * 4
