"""What watches a fit: the keeper of all that must outlive a kill, and the bar in the terminal."""

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

from studperf.config.shape import Monitor
from studperf.record import BEST, HISTORY, LAST, LOG, RunRecord, write_atomically

# Record, history and checkpoints take 10 ms to write, as long as an epoch of a small model. A kill costs at most this much work.
WRITE_EVERY_S = 1.0
_METRICS = ("train/loss", "val/loss", "val/rmse", "val/mae", "val/r2")
Row = dict[str, float | int]


class Keeper(Checkpoint):
    """Keeps history, best weights and the state to resume from: in memory each epoch, on disk about once a second and at the end.

    The last checkpoint holds the history up to its own epoch. What a kill finds written after it (a newer best epoch, a record of more
    epochs) comes again when the run is resumed, to the very same bits.

    Lightning calls a `Checkpoint` after all other callbacks, so that it sees their state of the same epoch.

    Args:
        record: gets a row an epoch.
        folder: the run's.
        monitor: which epoch is best; the first of equals, and never one whose value is no number.
    """

    def __init__(self, record: RunRecord, folder: Path, monitor: Monitor) -> None:
        self.record = record
        self.folder = folder
        self.monitor = monitor
        self.best: dict[str, Any] | None = None
        """`epoch`, the signed `value` (smaller is better) and `state_dict`."""
        self._is_best_written = True
        self._started = self._written = time.monotonic()

    @property
    def best_value(self) -> float | None:
        """The best value of the watched metric so far."""
        return None if self.best is None else self._signed(self.best["value"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
        """A run that was killed after early stopping had spoken has nothing left to train."""
        stopper = trainer.early_stopping_callback
        trainer.should_stop = stopper is not None and stopper.stopped_epoch > 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A row in the history: validation closes an epoch, and callbacks of the epoch's end find the row there."""
        if trainer.sanity_checking:
            return
        history, metrics = self.record.history, trainer.callback_metrics
        row: Row = {"epoch": trainer.current_epoch}
        row |= {name: float(metrics[name]) for name in _METRICS}
        now = time.monotonic()
        seconds = now - self._started + (float(history[-1]["seconds"]) if history else 0.0)
        row |= {"lr": trainer.optimizers[0].param_groups[0]["lr"], "seconds": round(seconds, 4)}
        self._started = now
        history.append(row)
        LOG.info(
            "epoch %d of %s: %s",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            {name: round(row[name], 4) for name in _METRICS},
        )
        value = self._signed(float(row[self.monitor.metric]))
        if value < (math.inf if self.best is None else self.best["value"]):
            state = {
                name: tensor.detach().clone() for name, tensor in pl_module.state_dict().items()
            }
            self.best = {"epoch": trainer.current_epoch, "value": value, "state_dict": state}
            self._is_best_written = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
        """Everything to disk, when it is time; of several processes the first one's clock counts, as saving takes all of them."""
        if trainer.strategy.broadcast(time.monotonic() - self._written >= WRITE_EVERY_S):
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
        """Everything to disk."""
        self._write(trainer)

    def on_exception(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's
        exception: BaseException,  # noqa: ARG002
    ) -> None:
        """The full epochs' history; the weights have moved on, so the last checkpoint stays."""
        if trainer.is_global_zero:
            self._write_history()

    def state_dict(self) -> dict[str, Any]:
        """Goes into the last checkpoint."""
        return {"history": self.record.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A resumed run goes on from the epochs that the checkpoint knows, whatever the record says."""
        self.record.history = state_dict["history"]
        best = torch.load(self.folder / BEST, map_location="cpu", weights_only=True)
        if best["epoch"] < len(self.record.history):
            self.best = best

    def _signed(self, value: float) -> float:
        return value if self.monitor.mode == "min" else -value

    def _write(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero and not self._is_best_written:
            (self.folder / BEST).parent.mkdir(exist_ok=True)
            write_atomically(self.folder / BEST, _to_bytes(self.best))
            self._is_best_written = True
        trainer.save_checkpoint(self.folder / LAST)
        if trainer.is_global_zero:
            self._write_history()
        self._written = time.monotonic()

    def _write_history(self) -> None:
        self.record.save(self.folder)
        if self.record.history:
            write_history(self.folder, self.record.history)


class LocalCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint in one step. Lightning 2.6 would first import every cloud's client to ask whether the path is in one: 0.5 s."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401, ARG002
    ) -> None:
        """Replaces the file at `path`."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), _to_bytes(checkpoint))


class EpochBar(Callback):
    """A bar of epochs with the watched value, its best, and the time left; plain lines where there is no terminal."""

    def __init__(self, console: Console, keeper: Keeper) -> None:
        self.console = console
        self.keeper = keeper
        self.progress: Progress | None = None
        self.task: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
        """Opens the bar."""
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

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
        """Moves the bar on; an epoch that `trainer.max_steps` cut short has no row to show."""
        if len(self.keeper.record.history) <= trainer.current_epoch:
            return
        metric, best = self.keeper.monitor.metric, self.keeper.best_value
        text = f"{metric} {self.keeper.record.history[-1][metric]:.4g}" + (
            "" if best is None else f" (best {best:.4g})"
        )
        epoch, n_epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        if self.progress is not None:
            self.progress.update(self.task, completed=epoch, description=text)
        elif epoch % max(1, n_epochs // 10) == 0 or epoch == n_epochs:
            self.console.print(f"epoch {epoch}/{n_epochs}  {text}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
        """Closes the bar."""
        self.close()

    def on_exception(
        self,
        trainer: pl.Trainer,  # noqa: ARG002 - lightning's
        pl_module: pl.LightningModule,  # noqa: ARG002 - lightning's
        exception: BaseException,  # noqa: ARG002
    ) -> None:
        """Closes the bar."""
        self.close()

    def close(self) -> None:
        """Gives the terminal back."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("left" if task.time_remaining else "", style="dim")


def write_history(folder: Path, history: list[Row]) -> None:
    """`history.csv`: a row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(folder / HISTORY, text.getvalue())


def _to_bytes(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
