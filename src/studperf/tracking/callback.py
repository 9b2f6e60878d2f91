"""A lightning callback that logs each epoch's row to the tracker."""

from __future__ import annotations

from dataclasses import dataclass

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from studperf.record.record import RunRecord
from studperf.tracking.tracker import Tracker


@dataclass
class LogEpochs(Callback):
    """Logs the row that the record has just been given."""

    tracker: Tracker
    record: RunRecord

    def on_train_epoch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Log the newest row; an epoch that `trainer.max_steps` cut short has none."""
        if len(self.record.history) > trainer.current_epoch:
            self.tracker.log_epoch(self.record.history[-1])
