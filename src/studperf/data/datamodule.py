"""The encoded table, as lightning wants it."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningDataModule

from studperf.data.batches import Batch, Batches, Chunks, Prepare, as_it_is
from studperf.data.encode import Encoded, Encoder
from studperf.data.schema import Table

_SCORING_BATCH_SIZE = 8192
_DEVICE_SHARE = 0.5
"""Of a GPU's free memory, what the table may take; the rest is for the model and its gradients."""


class TableDataModule(LightningDataModule):
    """Train, val and test rows as tensors.

    Args:
        parts: checked rows with their targets, by the part's name.
        encoder: fitted on the training rows.
        batch_size: rows a training step, over all processes.
        seed: of the batch order.
    """

    def __init__(self, parts: dict[str, Table], encoder: Encoder, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        self.is_chunked = False
        self.prepare: Prepare = as_it_is
        self.tensors = {name: to_tensors(encoder.transform(part), part) for name, part in parts.items()}
        self._on_device: dict[str, Batch] = {}

    def setup(self, stage: str) -> None:
        """Moves what training reads to the GPU, where it fits; otherwise lightning moves it a chunk at a time."""
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        shown = {name: self.tensors[name] for name in ("train", "val")} if stage == "fit" else {}
        n_bytes = sum(tensor.nbytes for tensors in shown.values() for tensor in tensors)
        fits = device.type == "cuda" and n_bytes < _DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
        self._on_device = {name: (x.to(device), c.to(device), y.to(device)) for name, (x, c, y) in shown.items()} if fits else shown

    def teardown(self, stage: str) -> None:  # noqa: ARG002 - lightning's
        """Gives the GPU's memory back."""
        self._on_device = {}

    def train_batches(self) -> Batches:
        """Shuffled anew each epoch."""
        return Batches(self._part("train"), self.batch_size, seed=self.seed, epoch=self._epoch, share=self._share(), prepare=self.prepare)

    def train_dataloader(self) -> Batches | Chunks:
        """Batch by batch, or several at a time when `is_chunked`."""
        return Chunks(self.train_batches()) if self.is_chunked else self.train_batches()

    def val_dataloader(self) -> Batches:
        """In order, in large batches."""
        return Batches(self._part("val"), _SCORING_BATCH_SIZE, share=self._share())

    def _part(self, name: str) -> Batch:
        return self._on_device.get(name, self.tensors[name])

    def _epoch(self) -> int:
        return 0 if self.trainer is None else self.trainer.current_epoch

    def _share(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


def to_tensors(encoded: Encoded, table: Table) -> Batch:
    """Encoded rows and their targets, float32, in the target's own unit; zeros where there is no target."""
    target = torch.tensor(table.target, dtype=torch.float32) if table.has_target else torch.zeros(len(table))
    return torch.from_numpy(encoded.x_num), torch.from_numpy(encoded.x_cat), target
