from types import SimpleNamespace

import pytest
import torch

from kit.plain_rows import encode_parts
from studperf.config.load import load_overrides
from studperf.data.encode import Encoder
from studperf.data.schema import Table
from studperf.data.split import split_rows, split_table
from studperf.train.network.datamodule import TableDataModule


@pytest.fixture(scope="module")
def parts(students_table: Table) -> dict[str, Table]:
    return split_rows(students_table, split_table(students_table))


@pytest.fixture(scope="module")
def encoder(parts: dict[str, Table]) -> Encoder:
    return Encoder.fit(parts["train"], load_overrides([]).encode)


@pytest.fixture
def data(parts: dict[str, Table], encoder: Encoder) -> TableDataModule:
    return TableDataModule(encode_parts(parts, encoder), batch_size=16, seed=0)


def test_training_rows_are_shuffled_anew_each_epoch(data: TableDataModule) -> None:
    loader = data.train_dataloader()
    orders = []
    for epoch in (0, 1, 0):
        data.trainer = SimpleNamespace(current_epoch=epoch)  # type: ignore[assignment]
        orders.append(torch.cat([target for _, _, target in loader]))
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])


def test_val_rows_come_in_order(data: TableDataModule) -> None:
    assert torch.equal(
        torch.cat([target for _, _, target in data.val_dataloader()]), data.table.part("val")[2]
    )


def test_first_rows_are_those_of_the_training_split(data: TableDataModule) -> None:
    first, train = data.first_rows(7), data.table.part("train")
    assert all(torch.equal(few, many[:7]) for few, many in zip(first, train, strict=True))
