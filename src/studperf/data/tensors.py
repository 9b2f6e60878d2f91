"""The encoded table: one set of tensors, and the rows of each part."""

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
    """Tensors of all rows, and each part's choice of them, so that no row lies in memory twice.

    Args:
        x_num: (N, F) float32.
        x_cat: (N, C) of any integer type.
        target: (N,) float32, in its own unit; zeros where there is none.
        rows: part -> its rows (n,) int64, in the order of the split: `train`, `val`, `test`, and
            the `sample` of training rows by which baselines are fitted.
        on_disk: the tensors are maps of files: reading rows in order is cheap, at random it is not.
    """

    x_num: Tensor
    x_cat: Tensor
    target: Tensor
    rows: Mapping[str, Tensor]
    on_disk: bool = False

    @property
    def tensors(self) -> Batch:
        """The tensors of all rows."""
        return self.x_num, self.x_cat, self.target

    @property
    def n_bytes(self) -> int:
        """Size of the tensors in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def part(self, name: str) -> Batch:
        """Return a copy of one part's rows."""
        return gather(self.tensors, self.rows[name])


def gather(tensors: Batch, rows: Tensor) -> Batch:
    """Return a copy of these rows; codes become int64, as an embedding wants them."""
    x_num, x_cat, target = tensors
    return x_num[rows], x_cat[rows].long(), target[rows]


def encode_table(table: Table, encoder: Encoder) -> Batch:
    """Return the tensors of a checked table, in its order; targets are zeros where there are none."""
    encoded = encoder.transform(table)
    target: FloatArray = table.target if table.has_target else np.zeros(len(table))
    return (
        torch.from_numpy(encoded.x_num),
        torch.from_numpy(encoded.x_cat),
        torch.tensor(target, dtype=torch.float32),
    )
