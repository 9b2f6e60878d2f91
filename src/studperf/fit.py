"""One fit: the Trainer, what it keeps on disk as it goes, and what the terminal shows."""

from __future__ import annotations

import copy
import csv
import hashlib
import importlib
import io
import logging
import math
import os
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from studperf.config.shape import RunConfig
from studperf.data.batches import Batch
from studperf.data.datamodule import TableDataModule
from studperf.errors import ConfigError, DivergedError, Interrupted, RunError
from studperf.module import ScoreModule
from studperf.record import BEST, HISTORY, LAST, LOG, RunRecord, read_hardware, write_atomically

# Below this, a second thread costs more in waiting than it saves in arithmetic (measured on two cores, 64-32 MLP: 193 against 180 us a
# step; four times the CPU when the cores are busy). TabM and FT-Transformer on 8,000 rows are above it.
ONE_THREAD_FLOPS = 1e8


@dataclass
class Keeper(Callback):
    """Keeps the record's history true as epochs end."""

    record: RunRecord
    folder: Path
    started: float = field(default_factory=time.monotonic)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
        """One row an epoch, in the record and in `history.csv`."""
        names = ("train/loss", "val/loss", "val/rmse", "val/mae", "val/r2")
        row: dict[str, float | int] = {"epoch": trainer.current_epoch}
        row |= {name: float(trainer.callback_metrics[name]) for name in names if name in trainer.callback_metrics}
        row |= {"lr": trainer.optimizers[0].param_groups[0]["lr"], "seconds": round(time.monotonic() - self.started, 3)}
        kept = [old for old in self.record.history if old["epoch"] < trainer.current_epoch]
        self.record.history = [*kept, row]
        LOG.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, {n: round(row[n], 4) for n in names if n in row})
        self.record.save(self.folder)
        write_history(self.folder, self.record.history)


class EpochBar(Callback):
    """A bar of epochs with the watched value, its best, and the time left; plain lines where there is no terminal."""

    def __init__(self, console: Console, monitor: str, mode: str, *, best: float | None = None) -> None:
        self.console = console
        self.monitor = monitor
        self.mode = mode
        self.best = best
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
        self.task = self.progress.add_task("", total=trainer.max_epochs, completed=trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
        """Moves the bar on."""
        value = float(trainer.callback_metrics[self.monitor])
        if self.best is None or (value < self.best if self.mode == "min" else value > self.best):
            self.best = value
        text = f"{self.monitor} {value:.4g} (best {self.best:.4g})"
        epoch, n_epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        if self.progress is not None:
            self.progress.update(self.task, completed=epoch, description=text)
        elif epoch % max(1, n_epochs // 10) == 0 or epoch == n_epochs:
            self.console.print(f"epoch {epoch}/{n_epochs}  {text}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
        """Closes the bar."""
        self.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
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


def fit(
    module: ScoreModule,
    data: TableDataModule,
    config: RunConfig,
    record: RunRecord,
    folder: Path,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Trains, or goes on from the last checkpoint where there is one, and loads the best weights into the module.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; every full epoch is kept.
        ConfigError: the Trainer refused its arguments.
    """
    n_threads = set_threads(config, module, data.tensors["train"])
    monitor = config.monitor
    early = EarlyStopping(
        monitor.metric, patience=monitor.patience, min_delta=monitor.min_delta, mode=monitor.mode, check_on_train_epoch_end=True
    )
    keep_best, keep_last = _checkpoints(config, folder)
    best = record.best_value if record.history else None
    own: list[Callback] = [Keeper(record, folder), early, keep_best, keep_last]
    if config.progress:
        own.append(EpochBar(console, monitor.metric, monitor.mode, best=best))
    last = folder / LAST
    trainer = build_trainer(config, folder, [*own, *callbacks])
    with _quiet_lightning():
        record.hardware = read_hardware(trainer.strategy.root_device.type, n_threads)
        _run_trainer(trainer, module, data, last if last.is_file() else None)
    record.best_epoch = _best_epoch(record, monitor.metric, monitor.mode)
    record.best_value = float(record.history[record.best_epoch][monitor.metric])
    record.is_stopped_early = early.stopped_epoch > 0
    record.weights_sha256 = load_best(module, folder)


def _run_trainer(trainer: pl.Trainer, module: ScoreModule, data: TableDataModule, checkpoint: Path | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        # Our checkpoints hold tensors and plain values only, so that loading one can't run code.
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except (KeyboardInterrupt, SystemExit) as error:  # lightning 2.6 turns Ctrl-C into SystemExit(1)
        signal.signal(signal.SIGINT, handler)
        raise Interrupted(f"interrupted; go on with: python -m studperf.train resume={trainer.default_root_dir}") from error


def _best_epoch(record: RunRecord, metric: str, mode: str) -> int:
    """The epoch whose weights `ModelCheckpoint` kept: the first of the best, values that are no numbers left aside.

    Raises:
        DivergedError: no epoch gave a finite value.
    """
    finite = [(float(row[metric]), i) for i, row in enumerate(record.history) if math.isfinite(row[metric])]
    if not finite:
        raise DivergedError(f"Training diverged: {metric} was never a finite number. Lower optimizer.lr, or set trainer.gradient_clip_val.")
    return min(finite, key=lambda pair: (pair[0] if mode == "min" else -pair[0], pair[1]))[1]


def _checkpoints(config: RunConfig, folder: Path) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """Best by the monitor, and the last epoch's for resuming."""
    common: dict[str, Any] = {
        "dirpath": folder / Path(BEST).parent,
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
        "auto_insert_metric_name": False,
    }
    best = ModelCheckpoint(filename=Path(BEST).stem, monitor=config.monitor.metric, mode=config.monitor.mode, **common)
    return best, ModelCheckpoint(filename=Path(LAST).stem, **common)


def build_trainer(config: RunConfig, folder: Path, callbacks: list[Callback]) -> pl.Trainer:
    """The Trainer that the configuration describes, with our callbacks.

    Raises:
        ConfigError: lightning refused the arguments, for instance a GPU where there is none.
    """
    module, _, name = str(config.trainer["_target_"]).rpartition(".")
    arguments = {key: value for key, value in config.trainer.items() if key != "_target_"}
    try:
        with _quiet_lightning():
            trainer: pl.Trainer = getattr(importlib.import_module(module), name)(
                **{"num_sanity_val_steps": 0, **arguments},
                callbacks=callbacks,
                logger=False,
                default_root_dir=folder,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise ConfigError(f"trainer: lightning refused these arguments: {error}") from error
    if not isinstance(trainer.accelerator, pl.accelerators.CUDAAccelerator):
        # `import lightning` sets this for fork safety; with a CUDA build of torch and no driver it costs 110 us in every optimizer step.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    return trainer


def set_threads(config: RunConfig, module: ScoreModule, rows: Batch) -> int:
    """Sets torch's threads: as asked, or by the arithmetic of one forward pass. Returns their number."""
    n_threads = config.threads if isinstance(config.threads, int) else choose_threads(module, rows, config.batch_size)
    torch.set_num_threads(n_threads)
    return n_threads


def choose_threads(module: ScoreModule, rows: Batch, batch_size: int) -> int:
    """One thread if a batch's forward pass takes fewer than `ONE_THREAD_FLOPS`, else one a core."""
    # torch 2.15's counter hooks into whatever asks for a gradient, and fails on views of parameters: a copy that asks for none.
    probe = copy.deepcopy(module.model).eval().requires_grad_(requires_grad=False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        probe(rows[0][:batch_size], rows[1][:batch_size])
    return 1 if counter.get_total_flops() < ONE_THREAD_FLOPS else (os.cpu_count() or 1)


def load_best(module: ScoreModule, folder: Path) -> str:
    """Puts the best epoch's weights into the module, on the CPU; returns their sha256.

    Raises:
        RunError: the checkpoint is missing, damaged, or of another model.
    """
    try:
        state = torch.load(folder / BEST, map_location="cpu", weights_only=True)["state_dict"]
        module.cpu().load_state_dict(state)
    except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
        raise RunError(f"{folder / BEST}: can't be loaded, it is missing, damaged or of another model: {error}") from error
    module.eval()
    return weights_sha256(state)


def weights_sha256(state: dict[str, Tensor]) -> str:
    """Of names, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def write_history(folder: Path, history: list[dict[str, float | int]]) -> None:
    """`history.csv`: a row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(folder / HISTORY, text.getvalue())


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning's banners and advice are about DataLoaders and loggers that we do not use; its errors stay."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
