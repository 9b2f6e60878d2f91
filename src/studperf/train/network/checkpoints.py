"""The files by which a fit outlives a kill: history, best weights, and the state to resume from."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from studperf.config.files import write_atomically
from studperf.record.files import BEST, HISTORY, LAST
from studperf.record.lifecycle import LOG
from studperf.record.run import Row, Run
from studperf.train.progress import EpochBar
from studperf.train.watch import Watch

# Record, history and checkpoints take 10 ms to write, as long as an epoch of a small model. A kill
# costs at most this much work.
WRITE_EVERY_S = 1.0
_METRICS = ("train/loss", "val/loss", "val/rmse", "val/mae", "val/r2")


class Keeper(Checkpoint):
    """A callback that keeps history, best weights and the state to resume from, and stops early.

    They are in memory each epoch, and on disk about once a second and at the end. The last
    checkpoint holds the history up to its own epoch. What a kill finds written after it (a newer
    best epoch, a record of more epochs) comes again when the run is resumed, to the very same bits.

    Lightning calls a `Checkpoint` after all other callbacks, so that it sees their state of the
    same epoch.
    """

    run: Run
    watch: Watch
    bar: EpochBar

    def begin(self, run: Run) -> None:
        """Keep this run from here; the Trainer is built before there is one."""
        self.run = run
        self.watch = Watch(run.config.monitor)
        self.bar = EpochBar(run.console, is_shown=run.config.progress)
        self._best: dict[str, Any] | None = None
        """Best epoch's `epoch`, `value` and `state_dict`, where they are not on disk yet."""
        self._started = self._written = time.monotonic()

    def on_train_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Stop a resumed run that early stopping had ended before it was killed."""
        trainer.should_stop = self.watch.is_stopped_early
        self.bar.start(trainer.max_epochs or 0, n_done=trainer.current_epoch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row to the history, and keep its weights if they are the best.

        Validation closes an epoch, and callbacks of the epoch's end find the row in the history.
        """
        # A user may ask for lightning's trial of val before the first epoch, which is no epoch.
        if trainer.sanity_checking:
            return

        row = self._read_row(trainer)
        shown = {name: round(row[name], 4) for name in _METRICS}
        LOG.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, shown)
        self.run.add_epoch(row)
        if self.watch.look(row):
            weights = pl_module.state_dict()
            # Copies, since the next step writes over the parameters where they lie.
            state = {name: tensor.detach().clone() for name, tensor in weights.items()}
            value = self.watch.best_value
            self._best = {"epoch": trainer.current_epoch, "value": value, "state_dict": state}

        metric = self.run.config.monitor.metric
        text = f"{metric} {row[metric]:.4g}"
        if self.watch.best_value is not None:
            text += f" (best {self.watch.best_value:.4g})"
        self.bar.move(trainer.current_epoch + 1, text)

    def _read_row(self, trainer: pl.Trainer) -> Row:
        """Return the history's row of the epoch that has just ended."""
        row: Row = {"epoch": trainer.current_epoch}
        for name in _METRICS:
            row[name] = float(trainer.callback_metrics[name])
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]

        now = time.monotonic()
        seconds = now - self._started
        # A resumed run counts on from the seconds that the checkpoint's history ends with.
        history = self.run.record.history
        if history:
            seconds += float(history[-1]["seconds"])
        row["seconds"] = round(seconds, 4)
        self._started = now
        return row

    def on_train_epoch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Stop where it gets no better, and write everything to disk, when it is time.

        Of several processes the first one's clock counts, as saving takes all of them.
        """
        is_over = self.watch.is_over or self.run.is_over
        # All processes together: those that went on alone would wait for the others for ever.
        if trainer.strategy.reduce_boolean_decision(is_over, all=False):
            trainer.should_stop = True
        if trainer.strategy.broadcast(time.monotonic() - self._written >= WRITE_EVERY_S):
            self._write(trainer)

    def on_train_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Write everything to disk."""
        self.bar.close()
        self._write(trainer)

    def on_exception(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's signature
        exception: BaseException,  # noqa: ARG002 - as above
    ) -> None:
        """Write the history of full epochs; the weights have moved on, so no checkpoint."""
        self.bar.close()
        if trainer.is_global_zero:
            self._write_history()

    def state_dict(self) -> dict[str, Any]:
        """Return the history for the last checkpoint."""
        # Plain values alone, as a checkpoint is loaded with `weights_only`.
        return {"history": self.run.record.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the checkpoint's history, whatever epochs the record has."""
        history = state_dict["history"]
        self.run.record.history = history
        self.watch = Watch.of(history, self.run.config.monitor)

    def _write(self, trainer: pl.Trainer) -> None:
        """Write best weights, last checkpoint, record and history."""
        folder = self.run.folder
        # The best weights first: a resumed run goes on well with a best epoch that is newer than
        # its last checkpoint, and not with an older one.
        if trainer.is_global_zero and self._best is not None:
            (folder / BEST).parent.mkdir(exist_ok=True)
            write_atomically(folder / BEST, _to_bytes(self._best))
            self._best = None
        trainer.save_checkpoint(folder / LAST)
        if trainer.is_global_zero:
            self._write_history()
        self._written = time.monotonic()

    def _write_history(self) -> None:
        """Write the record and, once there is an epoch, the history."""
        self.run.save()
        write_history(self.run)


class LocalCheckpoints(TorchCheckpointIO):
    """Checkpoints that are written whole or not at all, to a local path.

    Lightning 2.6 would first import every cloud's client to ask whether the path is in one: 0.5 s.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401, ARG002 - lightning's signature
    ) -> None:
        """Write a checkpoint, over the one at `path`."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), _to_bytes(checkpoint))


def write_history(run: Run) -> None:
    """Write `history.csv`, a row an epoch; nothing before the first one."""
    history = run.record.history
    if not history:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(run.folder / HISTORY, text.getvalue())


def _to_bytes(state: object) -> bytes:
    """Return a checkpoint's bytes, as `torch.save` writes them."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
