"""One fit: the Trainer, the checkpoints that it keeps, and what the terminal shows."""

from __future__ import annotations

import copy
import hashlib
import importlib
import logging
import math
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.utils.deterministic
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping
from rich.console import Console
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from studperf.config.run import RunConfig
from studperf.data.batches import Batch
from studperf.errors import ConfigError, DivergedError, Interrupted, RunError
from studperf.record.files import BEST, LAST
from studperf.record.lifecycle import LOG
from studperf.record.record import RunRecord
from studperf.record.shape import CutShort
from studperf.record.surroundings import read_hardware
from studperf.train.checkpoints import EpochBar, Keeper, LocalCheckpoints
from studperf.train.datamodule import TableDataModule
from studperf.train.module import ScoreModule

# Below this, a second thread costs more in waiting than it saves in arithmetic (measured on two
# cores, 64-32 MLP: 193 against 180 us a step; four times the CPU when the cores are busy). TabM and
# FT-Transformer on 8,000 rows are above it.
ONE_THREAD_FLOPS = 1e8
# The Trainer's arguments with which steps can be made by the chunk, the default first.
_CHUNKED: dict[str, tuple[Any, ...]] = {
    "precision": ("32-true", "32", 32, None),
    "accumulate_grad_batches": (1,),
    "devices": (1,),
    "num_nodes": (1,),
    "strategy": ("auto",),
}
# Training was cut short if the best epoch is among the last twentieth of all (at least the very
# last one), and the error fell by at least these shares over the last fifth, or the last half, of
# the epochs. A learning rate that has come to rest gains less; one that a schedule takes to 0 gains
# little in its last fifth even where training has hardly begun.
_LAST_EPOCHS = 20
_LATE_GAINS = {5: 0.001, 2: 0.003}
# Arguments that hold for a chunk of steps as for each of them. Any other one is lightning's to act
# upon, step by step.
_SAME_FOR_CHUNKS = frozenset(
    (
        "_target_",
        "max_epochs",
        "min_epochs",
        "accelerator",
        "gradient_clip_val",
        "gradient_clip_algorithm",
        "deterministic",
        "benchmark",
    )
)
_STEP_HOOKS = (
    *("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward"),
    *("on_after_backward", "on_before_optimizer_step"),
)


def fit(
    module: ScoreModule,
    data: TableDataModule,
    config: RunConfig,
    record: RunRecord,
    folder: Path,
    console: Console,
    callbacks: Sequence[Callback] = (),
    environment: ClusterEnvironment | None = None,
) -> None:
    """Train, or go on from the last checkpoint, and load the best weights into the module.

    Of several processes each trains on its share; the first one alone writes, and has the best
    weights in the end. Callbacks beside our own find the epoch's row in `record.history` at
    `on_train_epoch_end`. The environment knows of other machines.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; what is older than a second is kept.
        ConfigError: the Trainer refused its arguments.
    """
    n_threads = set_threads(config, module, data.first_rows(config.batch_size))
    last = folder / LAST
    if not last.is_file():
        record.history = []
    monitor = config.monitor

    # Not strict: the metric is always there, but for an epoch that trainer.max_steps cuts short.
    early = EarlyStopping(
        monitor.metric,
        patience=monitor.patience,
        min_delta=monitor.min_delta,
        mode=monitor.mode,
        strict=False,
        check_on_train_epoch_end=True,
    )
    keeper = Keeper(record, folder, monitor)
    bar = [EpochBar(console, keeper)] if config.progress else []
    reason = why_stepwise(config, callbacks)
    data.is_chunked = reason is None
    data.prepare = module.flatten
    if data.is_chunked:
        module.take_chunks(len(data.train_batches()))
    if reason is None:
        LOG.info("lightning is called for many steps at once")
    else:
        LOG.info("lightning is called for each step: %s", reason)

    ours = [early, keeper, *bar]
    trainer = build_trainer(
        config, folder, [*ours, *callbacks], environment, clips=reason is not None
    )

    with _quiet_lightning():
        record.hardware = read_hardware(trainer.strategy.root_device.type, n_threads)
        _run_trainer(trainer, module, data, last if last.is_file() else None)

    if not trainer.is_global_zero:
        return
    record.is_stopped_early = early.stopped_epoch > 0
    take_best(module, config, record, folder)


def take_best(module: ScoreModule, config: RunConfig, record: RunRecord, folder: Path) -> None:
    """Load the weights of the best epoch into the module, and record which they are.

    Raises:
        RunError: no epoch came to its end.
        DivergedError: no epoch gave a finite value.
    """
    if not record.history:
        raise RunError(
            "No epoch came to its end, so there is nothing to judge. "
            "Raise trainer.max_steps or trainer.max_time, or drop it."
        )
    monitor = config.monitor
    record.best_epoch = _best_epoch(record, monitor.metric, monitor.mode)
    record.best_value = float(record.history[record.best_epoch][monitor.metric])
    record.cut_short = find_cut(record, config)
    record.weights_sha256 = load_best(module, folder)


def find_cut(record: RunRecord, config: RunConfig) -> CutShort | None:
    """Return the finding that training ended too early, or None if it did not.

    It did if the last epochs were the best, and early stopping did not end it.
    """
    n_epochs, best = len(record.history), record.best_epoch
    if record.is_stopped_early or best is None:
        return None
    if best < n_epochs - max(1, n_epochs // _LAST_EPOCHS):
        return None
    metric = config.monitor.metric
    errors = [float(row.get(metric, math.nan)) for row in record.history]
    if config.monitor.mode == "max":
        errors = [1 - value for value in errors]

    for share, least in _LATE_GAINS.items():
        n_gained = max(1, n_epochs // share)
        gain = _late_gain(errors, best, n_gained)
        if gain >= least:
            return CutShort(
                metric=metric,
                best_epoch=best + 1,
                n_epochs=n_epochs,
                gain=gain,
                n_gained=n_gained,
                way_out=_find_longer(config, n_epochs),
            )
    return None


def _late_gain(errors: Sequence[float], best: int, n_late: int) -> float:
    """Return the share of the error that the last epochs took away; 0 where nothing can be said."""
    earlier = [error for error in errors[: len(errors) - n_late] if math.isfinite(error)]
    if not earlier or min(earlier) <= 0:
        return 0.0
    return 1 - errors[best] / min(earlier)


def _find_longer(config: RunConfig, n_epochs: int) -> str:
    """Return the key that would let training go on."""
    max_epochs = int(config.trainer["max_epochs"])
    if n_epochs >= max_epochs:
        return f"trainer.max_epochs={2 * max_epochs}"
    unlimited = (None, -1)
    limits = ("max_steps", "max_time")
    limiting = [key for key in limits if config.trainer.get(key) not in unlimited]
    names = " or ".join(f"trainer.{key}" for key in limiting)
    return f"a larger {names or 'trainer.max_epochs'}"


def why_stepwise(config: RunConfig, callbacks: Sequence[Callback]) -> str | None:
    """Return why lightning must be called for every single step, or None if it need not be.

    A chunk makes the same steps, to the last bit, and costs a fraction of the time; but lightning
    then sees no single batch.
    """
    trainer = config.trainer
    for name, values in _CHUNKED.items():
        value = trainer.get(name, values[0])
        is_one_device = name == "devices" and isinstance(value, list) and len(value) == 1
        if value not in values and not is_one_device:
            return f"trainer.{name}={value}"

    others = trainer.keys() - _CHUNKED.keys() - _SAME_FOR_CHUNKS
    given = sorted(name for name in others if trainer[name] is not None)
    if given:
        return f"trainer.{given[0]} is set"

    for callback in callbacks:
        hooks = [
            name
            for name in _STEP_HOOKS
            if getattr(type(callback), name) is not getattr(Callback, name)
        ]
        if hooks:
            return f"{type(callback).__name__} has {hooks[0]}"
    return None


def _run_trainer(
    trainer: pl.Trainer, module: ScoreModule, data: TableDataModule, checkpoint: Path | None
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        # Our checkpoints hold tensors and plain values only, so that loading one can't run code.
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    # lightning 2.6 turns Ctrl-C into SystemExit(1).
    except (KeyboardInterrupt, SystemExit) as error:
        signal.signal(signal.SIGINT, handler)
        raise Interrupted(
            f"interrupted; go on with: python -m studperf.train resume={trainer.default_root_dir}"
        ) from error


def _best_epoch(record: RunRecord, metric: str, mode: str) -> int:
    """Return the epoch whose weights `ModelCheckpoint` kept: the first of the best.

    Values that are no numbers are left aside.

    Raises:
        DivergedError: no epoch gave a finite value.
    """
    finite = [
        (float(row[metric]), epoch)
        for epoch, row in enumerate(record.history)
        if math.isfinite(row[metric])
    ]
    if not finite:
        raise DivergedError(
            f"Training diverged: {metric} was never a finite number. Lower optimizer.lr, "
            "or set trainer.gradient_clip_val."
        )
    if mode == "max":
        finite = [(-value, epoch) for value, epoch in finite]
    _, best = min(finite)
    return best


def build_trainer(
    config: RunConfig,
    folder: Path,
    callbacks: list[Callback],
    environment: ClusterEnvironment | None = None,
    *,
    clips: bool = True,
) -> pl.Trainer:
    """Build the Trainer that the configuration describes, with our callbacks.

    Args:
        config: its trainer is read.
        folder: the run's.
        callbacks: of lightning's.
        environment: how the processes of a run find each other; lightning finds out by default.
        clips: whether the Trainer clips gradients; a module that makes its steps itself does.

    Raises:
        ConfigError: lightning refused the arguments, for instance a GPU where there is none, or
            lacks a package for them.
    """
    module, _, name = str(config.trainer["_target_"]).rpartition(".")
    dropped = {"_target_"}
    if not clips:
        dropped |= {"gradient_clip_val", "gradient_clip_algorithm"}
    arguments = {key: value for key, value in config.trainer.items() if key not in dropped}

    plugins: list[Any] = [LocalCheckpoints()]
    if environment is not None:
        plugins.append(environment)
    try:
        with _quiet_lightning():
            trainer: pl.Trainer = getattr(importlib.import_module(module), name)(
                **{"num_sanity_val_steps": 0, "plugins": plugins, **arguments},
                callbacks=callbacks,
                logger=False,
                default_root_dir=folder,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
    except (MisconfigurationException, ValueError, RuntimeError, TypeError, ImportError) as error:
        raise ConfigError(f"trainer: lightning refused these arguments: {error}") from error

    # With deterministic algorithms torch fills fresh tensors with NaN, to expose a read of what was
    # never written. That costs a fifth of a step on a GPU.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # no stub
    if not isinstance(trainer.accelerator, pl.accelerators.CUDAAccelerator):
        # `import lightning` sets this for fork safety. With a CUDA build of torch and no driver it
        # costs 110 us in every optimizer step.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    return trainer


def set_threads(config: RunConfig, module: ScoreModule, rows: Batch) -> int:
    """Set the number of torch's threads, and return it.

    It is as asked, or follows from the arithmetic of one forward pass.
    """
    if isinstance(config.threads, int):
        n_threads = config.threads
    else:
        n_threads = choose_threads(module, rows, config.batch_size)
    torch.set_num_threads(n_threads)
    return n_threads


def choose_threads(module: ScoreModule, rows: Batch, batch_size: int) -> int:
    """Return one thread for a cheap forward pass, else one for each core.

    Cheap is a batch that takes fewer operations than `ONE_THREAD_FLOPS`.
    """
    # torch 2.15's counter hooks into whatever asks for a gradient, and fails on views of
    # parameters: hence a copy that asks for none.
    probe = copy.deepcopy(module.model).eval().requires_grad_(requires_grad=False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        probe(rows[0][:batch_size], rows[1][:batch_size])
    if counter.get_total_flops() < ONE_THREAD_FLOPS:
        return 1
    # Not every system says on which cores a process may run.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_best(module: ScoreModule, folder: Path) -> str:
    """Load the best epoch's weights into the module and return their sha256.

    The module ends on the CPU, in single precision.

    Raises:
        RunError: the checkpoint is missing, damaged, or of another model.
    """
    try:
        state = torch.load(folder / BEST, map_location="cpu", weights_only=True)["state_dict"]
        module.cpu().float().load_state_dict(state)
    except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
        raise RunError(
            f"{folder / BEST}: can't be loaded, it is missing, damaged or of another model: {error}"
        ) from error
    module.eval()
    return weights_sha256(state)


def weights_sha256(state: dict[str, Tensor]) -> str:
    """Return the sha256 of names, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        heading = f"{name}{tuple(tensor.shape)}{tensor.dtype}"
        digest.update(heading.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence lightning's banners and advice, but not its errors.

    They are about DataLoaders and loggers that we do not use.
    """
    names = ("lightning.pytorch", "lightning.fabric")
    loggers = [logging.getLogger(name) for name in names]
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
