"""The encoded table, as lightning wants it."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningDataModule

from studperf.data.batches import Batch, Batches, Chunks, Prepare, as_it_is
from studperf.data.encoded import EncodedTable, gather

_SCORING_BATCH_SIZE = 8192
_DEVICE_SHARE = 0.5
"""Of a GPU's free memory, what the table may take; the rest is for the model and its gradients."""


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

    def setup(self, stage: str) -> None:  # noqa: ARG002 - lightning's
        """Moves the table to the GPU, where it fits; otherwise lightning moves it a chunk at a time."""
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        if (
            device.type == "cuda"
            and self.table.n_bytes < _DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
        ):
            x_num, x_cat, target = self.table.tensors
            self._tensors = (x_num.to(device), x_cat.to(device), target.to(device))

    def teardown(self, stage: str) -> None:  # noqa: ARG002 - lightning's
        """Gives the GPU's memory back."""
        self._tensors = self.table.tensors

    def train_batches(self) -> Batches:
        """Shuffled anew each epoch. On disk rows that are read together lie together."""
        rows = self.table.rows["train"]
        return Batches(
            self._tensors,
            self.batch_size,
            rows=rows.sort().values if self.table.on_disk else rows,
            seed=self.seed,
            epoch=self._epoch,
            share=self._share(),
            prepare=self.prepare,
            in_blocks=self.table.on_disk,
        )

    def train_dataloader(self) -> Batches | Chunks:
        """Batch by batch, or several at a time when `is_chunked`."""
        return Chunks(self.train_batches()) if self.is_chunked else self.train_batches()

    def val_dataloader(self) -> Batches:
        """In order, in large batches."""
        return Batches(
            self._tensors,
            _SCORING_BATCH_SIZE,
            rows=self.table.rows["val"],
            share=self._share(),
            prepare=self.prepare,
        )

    def first_rows(self, n_rows: int) -> Batch:
        """The first training rows."""
        return gather(self.table.tensors, self.table.rows["train"][:n_rows])

    def _epoch(self) -> int:
        return 0 if self.trainer is None else self.trainer.current_epoch

    def _share(self) -> tuple[int, int]:
        return (
            (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        )
