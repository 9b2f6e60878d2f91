"""The encoded table, as lightning wants it."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningDataModule

from studperf.data.batches import Batch, Batches
from studperf.data.encode import Encoded, Encoder
from studperf.data.schema import Table

_SCORING_BATCH_SIZE = 8192


class TableDataModule(LightningDataModule):
    """Train, val and test rows as tensors.

    Args:
        parts: checked rows with their targets, by the part's name.
        encoder: fitted on the training rows.
        batch_size: rows a training step.
        seed: of the batch order.
    """

    def __init__(self, parts: dict[str, Table], encoder: Encoder, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        self.tensors = {name: to_tensors(encoder.transform(part), part) for name, part in parts.items()}

    def train_dataloader(self) -> Batches:
        """Shuffled anew each epoch."""
        return Batches(self.tensors["train"], self.batch_size, seed=self.seed, epoch=self._epoch)

    def val_dataloader(self) -> Batches:
        """In order."""
        return Batches(self.tensors["val"], _SCORING_BATCH_SIZE)

    def _epoch(self) -> int:
        return 0 if self.trainer is None else self.trainer.current_epoch


def to_tensors(encoded: Encoded, table: Table) -> Batch:
    """Encoded rows and their targets, float32, in the target's own unit; zeros where there is no target."""
    target = torch.tensor(table.target, dtype=torch.float32) if table.has_target else torch.zeros(len(table))
    return torch.from_numpy(encoded.x_num), torch.from_numpy(encoded.x_cat), target
