from types import SimpleNamespace

import numpy as np
import pytest
import torch

from studperf.config import load_overrides
from studperf.data.datamodule import TableDataModule, to_tensors
from studperf.data.encode import Encoder
from studperf.data.schema import Table
from studperf.data.split import split_rows, split_table


@pytest.fixture(scope="module")
def parts(students_table: Table) -> dict[str, Table]:
    return split_rows(students_table, split_table(students_table))


@pytest.fixture(scope="module")
def encoder(parts: dict[str, Table]) -> Encoder:
    return Encoder.fit(parts["train"], load_overrides([]).encode)


def test_tensors_hold_encoded_rows_and_targets(parts: dict[str, Table], encoder: Encoder) -> None:
    data = TableDataModule(parts, encoder, batch_size=16, seed=0)
    assert {name: len(tensors[2]) for name, tensors in data.tensors.items()} == {"train": 160, "val": 20, "test": 20}
    x_num, x_cat, target = data.tensors["val"]
    assert (x_num.dtype, x_cat.dtype, target.dtype) == (torch.float32, torch.int64, torch.float32)
    np.testing.assert_array_equal(x_num.numpy(), encoder.transform(parts["val"]).x_num)
    np.testing.assert_array_equal(target.numpy(), parts["val"].target.astype(np.float32))


def test_training_rows_are_shuffled_anew_each_epoch(parts: dict[str, Table], encoder: Encoder) -> None:
    data = TableDataModule(parts, encoder, batch_size=16, seed=0)
    loader = data.train_dataloader()
    orders = []
    for epoch in (0, 1, 0):
        data.trainer = SimpleNamespace(current_epoch=epoch)  # type: ignore[assignment]
        orders.append(torch.cat([target for _, _, target in loader]))
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])


def test_val_rows_come_in_order(parts: dict[str, Table], encoder: Encoder) -> None:
    data = TableDataModule(parts, encoder, batch_size=16, seed=0)
    assert torch.equal(torch.cat([target for _, _, target in data.val_dataloader()]), data.tensors["val"][2])


def test_rows_without_a_target_get_zeros(parts: dict[str, Table], encoder: Encoder) -> None:
    part = parts["val"]
    bare = Table(part.frame.drop(columns="final_score"), part.dataset)
    assert torch.equal(to_tensors(encoder.transform(bare), bare)[2], torch.zeros(20))
