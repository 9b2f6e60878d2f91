"""Callbacks of a fit: the keeper of all that must outlive a kill, and the bar in the terminal."""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from studperf.config.files import write_atomically
from studperf.config.run import Monitor
from studperf.record.files import BEST, HISTORY, LAST
from studperf.record.lifecycle import LOG
from studperf.record.record import RunRecord

# Record, history and checkpoints take 10 ms to write, as long as an epoch of a small model. A kill
# costs at most this much work.
WRITE_EVERY_S = 1.0
_METRICS = ("train/loss", "val/loss", "val/rmse", "val/mae", "val/r2")
Row = dict[str, float | int]


class Keeper(Checkpoint):
    """A callback that keeps history, best weights and the state to resume from.

    They are in memory each epoch, and on disk about once a second and at the end. The last
    checkpoint holds the history up to its own epoch. What a kill finds written after it (a newer
    best epoch, a record of more epochs) comes again when the run is resumed, to the very same bits.

    Lightning calls a `Checkpoint` after all other callbacks, so that it sees their state of the
    same epoch.

    Args:
        record: gets a row an epoch.
        folder: of the run.
        monitor: which epoch is best; the first of equals, and never one whose value is no number.
    """

    def __init__(self, record: RunRecord, folder: Path, monitor: Monitor) -> None:
        self.record = record
        self.folder = folder
        self.monitor = monitor
        self.best: dict[str, Any] | None = None
        """Best epoch so far: `epoch`, the signed `value` (smaller is better) and `state_dict`."""
        self._is_best_written = True
        self._started = self._written = time.monotonic()

    @property
    def best_value(self) -> float | None:
        """Best value of the watched metric so far; None before the first epoch."""
        if self.best is None:
            return None
        return self._signed(self.best["value"])

    def on_train_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Stop a resumed run that early stopping had ended before it was killed."""
        stopper = trainer.early_stopping_callback
        trainer.should_stop = stopper is not None and stopper.stopped_epoch > 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row to the history, and keep its weights if they are the best.

        Validation closes an epoch, and callbacks of the epoch's end find the row in the history.
        """
        if trainer.sanity_checking:
            return

        row = self._read_row(trainer)
        self.record.history.append(row)
        shown = {name: round(row[name], 4) for name in _METRICS}
        LOG.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, shown)

        value = self._signed(float(row[self.monitor.metric]))
        best = math.inf
        if self.best is not None:
            best = self.best["value"]
        if value < best:
            weights = pl_module.state_dict()
            state = {name: tensor.detach().clone() for name, tensor in weights.items()}
            self.best = {"epoch": trainer.current_epoch, "value": value, "state_dict": state}
            self._is_best_written = False

    def _read_row(self, trainer: pl.Trainer) -> Row:
        """Return the history's row of the epoch that has just ended."""
        row: Row = {"epoch": trainer.current_epoch}
        for name in _METRICS:
            row[name] = float(trainer.callback_metrics[name])
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]

        now = time.monotonic()
        seconds = now - self._started
        # A resumed run counts on from the seconds that the checkpoint's history ends with.
        if self.record.history:
            seconds += float(self.record.history[-1]["seconds"])
        row["seconds"] = round(seconds, 4)
        self._started = now
        return row

    def on_train_epoch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Write everything to disk, when it is time.

        Of several processes the first one's clock counts, as saving takes all of them.
        """
        if trainer.strategy.broadcast(time.monotonic() - self._written >= WRITE_EVERY_S):
            self._write(trainer)

    def on_train_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Write everything to disk."""
        self._write(trainer)

    def on_exception(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's signature
        exception: BaseException,  # noqa: ARG002 - as above
    ) -> None:
        """Write the history of full epochs; the weights have moved on, so no checkpoint."""
        if trainer.is_global_zero:
            self._write_history()

    def state_dict(self) -> dict[str, Any]:
        """Return the history for the last checkpoint."""
        return {"history": self.record.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the epochs that the checkpoint knows, whatever the record says."""
        self.record.history = state_dict["history"]
        best = torch.load(self.folder / BEST, map_location="cpu", weights_only=True)
        if best["epoch"] < len(self.record.history):
            self.best = best

    def _signed(self, value: float) -> float:
        """Turn a value's sign where larger is better; turning it twice gives the value back."""
        return value if self.monitor.mode == "min" else -value

    def _write(self, trainer: pl.Trainer) -> None:
        """Write best weights, last checkpoint, record and history."""
        if trainer.is_global_zero and not self._is_best_written:
            (self.folder / BEST).parent.mkdir(exist_ok=True)
            write_atomically(self.folder / BEST, _to_bytes(self.best))
            self._is_best_written = True
        trainer.save_checkpoint(self.folder / LAST)
        if trainer.is_global_zero:
            self._write_history()
        self._written = time.monotonic()

    def _write_history(self) -> None:
        """Write the record and, once there is an epoch, the history."""
        self.record.save(self.folder)
        if self.record.history:
            write_history(self.folder, self.record.history)


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


class EpochBar(Callback):
    """A bar of epochs with the watched value, its best, and the time left.

    Without a terminal it prints plain lines.
    """

    def __init__(self, console: Console, keeper: Keeper) -> None:
        self.console = console
        self.keeper = keeper
        self.progress: Progress | None = None
        self.task: Any = None

    def on_train_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Open the bar."""
        if not self.console.is_terminal:
            return
        columns: list[ProgressColumn | str] = [
            TextColumn("epoch {task.completed}/{task.total}"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            _Left(),
        ]
        self.progress = Progress(*columns, console=self.console, transient=True)
        self.progress.start()
        self.task = self.progress.add_task(
            "", total=trainer.max_epochs, completed=trainer.current_epoch
        )

    def on_train_epoch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's signature
    ) -> None:
        """Move the bar on; an epoch that `trainer.max_steps` cut short has no row to show."""
        history = self.keeper.record.history
        if len(history) <= trainer.current_epoch:
            return

        metric = self.keeper.monitor.metric
        text = f"{metric} {history[-1][metric]:.4g}"
        best = self.keeper.best_value
        if best is not None:
            text += f" (best {best:.4g})"
        epoch = trainer.current_epoch + 1
        n_epochs = trainer.max_epochs or 0
        if self.progress is not None:
            self.progress.update(self.task, completed=epoch, description=text)
        elif epoch % max(1, n_epochs // 10) == 0 or epoch == n_epochs:
            self.console.print(f"epoch {epoch}/{n_epochs}  {text}")

    def on_train_end(
        self,
        trainer: pl.Trainer,  # noqa: ARG002 - lightning's signature
        pl_module: pl.LightningModule,  # noqa: ARG002 - as above
    ) -> None:
        """Close the bar."""
        self.close()

    def on_exception(
        self,
        trainer: pl.Trainer,  # noqa: ARG002 - lightning's signature
        pl_module: pl.LightningModule,  # noqa: ARG002 - as above
        exception: BaseException,  # noqa: ARG002 - as above
    ) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar, and give the terminal back."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


class _Left(ProgressColumn):
    """The word `left` behind the remaining time, once that is known."""

    def render(self, task: Task) -> Text:
        return Text("left" if task.time_remaining else "", style="dim")


def write_history(folder: Path, history: list[Row]) -> None:
    """Write `history.csv`, a row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(folder / HISTORY, text.getvalue())


def _to_bytes(state: object) -> bytes:
    """Return a checkpoint's bytes, as `torch.save` writes them."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
