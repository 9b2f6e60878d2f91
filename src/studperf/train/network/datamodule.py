"""The encoded table as a lightning data module."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningDataModule

from studperf.data.batches import Batch, Batches, Chunks, Prepare, as_it_is
from studperf.data.tensors import EncodedTable, gather
from studperf.train.network.module import SCORING_BATCH_SIZE

# Share of a GPU's free memory that the table may take; the rest is for the model and its gradients.
_DEVICE_SHARE = 0.5


class TableDataModule(LightningDataModule):
    """Train, val and test rows as tensors.

    Args:
        table: encoded rows, and which of them each part has.
        batch_size: rows a training step, over all processes.
        seed: of the batch order.
    """

    def __init__(self, table: EncodedTable, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self.table = table
        self.batch_size = batch_size
        self.seed = seed
        self.is_chunked = False
        self.prepare: Prepare = as_it_is
        self._tensors = table.tensors

    def setup(self, stage: str) -> None:  # noqa: ARG002 - lightning's signature
        """Move the table to the GPU, where it fits.

        Otherwise lightning moves it a chunk at a time.
        """
        if self.trainer is None:
            return
        device = self.trainer.strategy.root_device
        if device.type != "cuda":
            return
        n_free, _ = torch.cuda.mem_get_info(device)
        if self.table.n_bytes < _DEVICE_SHARE * n_free:
            x_num, x_cat, target = (tensor.to(device) for tensor in self.table.tensors)
            self._tensors = (x_num, x_cat, target)

    def teardown(self, stage: str) -> None:  # noqa: ARG002 - lightning's signature
        """Give the GPU's memory back."""
        self._tensors = self.table.tensors

    def train_batches(self) -> Batches:
        """Return the training batches, shuffled anew each epoch."""
        rows = self.table.rows["train"]
        # On disk, rows that are read together have to lie together.
        if self.table.on_disk:
            rows = rows.sort().values
        return Batches(
            self._tensors,
            self.batch_size,
            rows=rows,
            seed=self.seed,
            # Asked for when it begins: lightning 2.6 begins the first epoch's loader twice, so that
            # an order that counts beginnings would not be that of (seed, epoch).
            epoch=self._epoch,
            share=self._share(),
            prepare=self.prepare,
            in_blocks=self.table.on_disk,
        )

    def train_dataloader(self) -> Batches | Chunks:
        """Return the training batches, one by one or, when `is_chunked`, several at a time."""
        batches = self.train_batches()
        return Chunks(batches) if self.is_chunked else batches

    def val_dataloader(self) -> Batches:
        """Return the val rows in order, in large batches."""
        return Batches(
            self._tensors,
            SCORING_BATCH_SIZE,
            rows=self.table.rows["val"],
            share=self._share(),
            prepare=self.prepare,
        )

    def first_rows(self, n_rows: int) -> Batch:
        """Return the first training rows."""
        return gather(self.table.tensors, self.table.rows["train"][:n_rows])

    def _epoch(self) -> int:
        """Return the current epoch."""
        if self.trainer is None:
            return 0
        return self.trainer.current_epoch

    def _share(self) -> tuple[int, int]:
        """Return this process's rank and the number of processes."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size
