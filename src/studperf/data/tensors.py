"""The encoded table: one set of tensors, and which of its rows each part has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from studperf.data.batches import Batch
from studperf.data.encode import Encoder
from studperf.data.schema import Table
from studperf.scoring.metrics import FloatArray


@dataclass(frozen=True)
class EncodedTable:
    """Tensors of all rows. A part is a choice of rows, so that no row lies in memory twice.

    Args:
        x_num: (N, F) float32.
        x_cat: (N, C) of any integer type.
        target: (N,) float32, in its own unit; zeros where there is none.
        rows: part -> its rows (n,) int64, in the order of the split: `train`, `val`, `test`, and, of the training rows, the `sample` by
            which baselines are fitted.
        on_disk: the tensors are maps of files: reading rows in their order is cheap, here and there is not.
    """

    x_num: Tensor
    x_cat: Tensor
    target: Tensor
    rows: Mapping[str, Tensor]
    on_disk: bool = False

    @property
    def tensors(self) -> Batch:
        """All rows."""
        return self.x_num, self.x_cat, self.target

    @property
    def n_bytes(self) -> int:
        """Of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def part(self, name: str) -> Batch:
        """A copy of one part's rows."""
        return gather(self.tensors, self.rows[name])


def gather(tensors: Batch, rows: Tensor) -> Batch:
    """A copy of these rows; codes become int64, as an embedding wants them."""
    x_num, x_cat, target = tensors
    return x_num[rows], x_cat[rows].long(), target[rows]


def encode_parts(parts: Mapping[str, Table], encoder: Encoder) -> EncodedTable:
    """Encodes a table that lies in memory, part after part."""
    encoded = [encoder.transform(part) for part in parts.values()]
    ends = np.cumsum([0, *(len(part) for part in parts.values())])
    rows = {name: torch.arange(int(ends[i]), int(ends[i + 1])) for i, name in enumerate(parts)}
    return EncodedTable(
        x_num=torch.from_numpy(np.concatenate([part.x_num for part in encoded])),
        x_cat=torch.from_numpy(np.concatenate([part.x_cat for part in encoded])),
        target=torch.cat([_target_of(part) for part in parts.values()]),
        rows=rows | {"sample": rows["train"]} if "train" in rows else rows,
    )


def encode_table(table: Table, encoder: Encoder) -> Batch:
    """The tensors of a small table, in its order."""
    return encode_parts({"all": table}, encoder).part("all")


def _target_of(table: Table) -> Tensor:
    values: FloatArray = table.target if table.has_target else np.zeros(len(table))
    return torch.tensor(values, dtype=torch.float32)
