"""The encoded table, as lightning wants it."""

from __future__ import annotations

from lightning.pytorch import LightningDataModule

from studperf.data.batches import Batch, Batches
from studperf.data.encoded import EncodedTable, gather

_SCORING_BATCH_SIZE = 8192


class TableDataModule(LightningDataModule):
    """Train, val and test rows as tensors.

    Args:
        table: encoded rows, and which of them each part has.
        batch_size: rows a training step.
        seed: of the batch order.
    """

    def __init__(self, table: EncodedTable, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self.table = table
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> Batches:
        """Shuffled anew each epoch."""
        return Batches(self.table.tensors, self.batch_size, rows=self.table.rows["train"], seed=self.seed, epoch=self._epoch)

    def val_dataloader(self) -> Batches:
        """In order."""
        return Batches(self.table.tensors, _SCORING_BATCH_SIZE, rows=self.table.rows["val"])

    def first_rows(self, n_rows: int) -> Batch:
        """The first training rows."""
        return gather(self.table.tensors, self.table.rows["train"][:n_rows])

    def _epoch(self) -> int:
        return 0 if self.trainer is None else self.trainer.current_epoch
