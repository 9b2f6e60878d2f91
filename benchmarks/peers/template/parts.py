"""A LightningModule and a DataModule as popular Lightning-Hydra templates write them, for the students table."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning as L  # noqa: N812 - as everyone writes it
import pandas as pd
import torch
from peers.raw import Net
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanAbsoluteError, MeanMetric, MeanSquaredError, MinMetric, R2Score

Batch = list[Tensor]
_TARGET = "final_score"
_DROPPED = ["student_id", "passed", "performance_category"]


class TabularModule(L.LightningModule):
    """Automatic optimisation, a torchmetrics object for each value, `self.log` in every step.

    Args:
        d_in: columns of the encoded table.
        is_plain: of the network.
        optimizer: partial of a torch optimizer.
        scheduler: partial of a torch scheduler that watches val.
    """

    def __init__(
        self,
        d_in: int,
        *,
        is_plain: bool = False,
        optimizer: Any = partial(torch.optim.Adam, lr=1e-3, weight_decay=0.0),  # noqa: ANN401, B008 - as Hydra builds it
        scheduler: Any = partial(  # noqa: ANN401, B008
            torch.optim.lr_scheduler.ReduceLROnPlateau, mode="min", factor=0.1, patience=10
        ),
    ) -> None:
        super().__init__()
        # A template's save_hyperparameters would pickle the network's class into the checkpoint, which torch then refuses to load.
        self.net = Net(d_in, is_plain=is_plain)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.criterion = nn.MSELoss()
        self.train_loss, self.val_loss, self.test_loss = MeanMetric(), MeanMetric(), MeanMetric()
        self.train_mae, self.val_mae, self.test_mae = (
            MeanAbsoluteError(),
            MeanAbsoluteError(),
            MeanAbsoluteError(),
        )
        self.val_rmse, self.test_rmse = (
            MeanSquaredError(squared=False),
            MeanSquaredError(squared=False),
        )
        self.val_r2, self.test_r2 = R2Score(), R2Score()
        self.val_rmse_best = MinMetric()

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B,)."""
        y: Tensor = self.net(x)
        return y

    def on_train_start(self) -> None:
        """Forgets what the sanity check left."""
        self.val_loss.reset()
        self.val_mae.reset()
        self.val_rmse_best.reset()

    def model_step(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, predictions, targets."""
        x, target = batch
        predicted = self.forward(x)
        return self.criterion(predicted, target), predicted, target

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 - lightning's
        """Loss and mean absolute error, logged."""
        loss, predicted, target = self.model_step(batch)
        self.train_loss(loss)
        self.train_mae(predicted, target)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("train/mae", self.train_mae, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - lightning's
        """Loss, RMSE, MAE and R2, logged."""
        loss, predicted, target = self.model_step(batch)
        self.val_loss(loss)
        self.val_rmse(predicted, target)
        self.val_mae(predicted, target)
        self.val_r2(predicted, target)
        self.log("val/loss", self.val_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("val/rmse", self.val_rmse, on_step=False, on_epoch=True, prog_bar=True)
        self.log("val/mae", self.val_mae, on_step=False, on_epoch=True, prog_bar=True)
        self.log("val/r2", self.val_r2, on_step=False, on_epoch=True, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        """The best so far."""
        self.val_rmse_best(self.val_rmse.compute())
        self.log("val/rmse_best", self.val_rmse_best.compute(), sync_dist=True, prog_bar=True)

    def test_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 - lightning's
        """Loss, RMSE, MAE and R2, logged."""
        loss, predicted, target = self.model_step(batch)
        self.test_loss(loss)
        self.test_rmse(predicted, target)
        self.test_mae(predicted, target)
        self.test_r2(predicted, target)
        self.log("test/loss", self.test_loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("test/rmse", self.test_rmse, on_step=False, on_epoch=True, prog_bar=True)
        self.log("test/mae", self.test_mae, on_step=False, on_epoch=True, prog_bar=True)
        self.log("test/r2", self.test_r2, on_step=False, on_epoch=True, prog_bar=True)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - a dict, whose keys lightning types one by one
        """Adam, and a rate that falls when val stands still."""
        optimizer = self.make_optimizer(
            params=self.trainer.model.parameters() if self.trainer.model else self.parameters()
        )
        scheduler = self.make_scheduler(optimizer=optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": scheduler,
                "monitor": "val/loss",
                "interval": "epoch",
                "frequency": 1,
            },
        }


class TabularDataModule(L.LightningDataModule):
    """The CSV through pandas and a ColumnTransformer, served by DataLoaders."""

    def __init__(
        self,
        path: str,
        batch_size: int,
        num_workers: int = 0,
        pin_memory: bool = False,  # noqa: FBT001, FBT002 - as Hydra builds it
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.path, self.batch_size, self.num_workers, self.pin_memory = (
            path,
            batch_size,
            num_workers,
            pin_memory,
        )
        self.parts: dict[str, TensorDataset] = {}
        self.d_in = 0

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - lightning's
        """Reads, splits and encodes once."""
        if self.parts:
            return
        frame = pd.read_csv(self.path, keep_default_na=False).drop(columns=_DROPPED)
        train, rest = train_test_split(frame, test_size=0.2, random_state=42)
        val, test = train_test_split(rest, test_size=0.5, random_state=42)
        features = train.drop(columns=_TARGET)
        categories = features.select_dtypes(exclude="number").columns
        encoder = ColumnTransformer(
            [
                ("numbers", StandardScaler(), features.columns.difference(categories, sort=False)),
                (
                    "categories",
                    OneHotEncoder(sparse_output=False, handle_unknown="ignore"),
                    categories,
                ),
            ]
        )
        encoder.fit(features)
        for name, part in {"train": train, "val": val, "test": test}.items():
            x = torch.tensor(encoder.transform(part.drop(columns=_TARGET)), dtype=torch.float32)
            self.parts[name] = TensorDataset(
                x, torch.tensor(part[_TARGET].to_numpy(), dtype=torch.float32)
            )
            self.d_in = x.shape[1]

    def _loader(self, part: str, *, shuffle: bool = False) -> DataLoader[Any]:
        return DataLoader(
            self.parts[part],
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            shuffle=shuffle,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """In order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """In order."""
        return self._loader("test")
