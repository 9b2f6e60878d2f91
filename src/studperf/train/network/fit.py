"""The fit of a network by lightning."""

from __future__ import annotations

import copy
import importlib
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
from lightning.pytorch.callbacks import Callback
from torch.utils.flop_counter import FlopCounterMode

from studperf.config.quiet import errors_only
from studperf.config.run import RunConfig
from studperf.data.batches import Batch
from studperf.data.preparation import Prepared
from studperf.errors import ConfigError
from studperf.record.files import LAST
from studperf.record.lifecycle import LOG
from studperf.record.run import Run
from studperf.record.surroundings import read_hardware
from studperf.train.best import find_longer, take_best
from studperf.train.network.checkpoints import Keeper, LocalCheckpoints
from studperf.train.network.datamodule import TableDataModule
from studperf.train.network.fast import why_stepwise
from studperf.train.network.module import ScoreModule, build_modules

# Below this, a second thread costs more in waiting than it saves in arithmetic (measured on two
# cores, 64-32 MLP: 193 against 180 us a step; four times the CPU when the cores are busy). TabM and
# FT-Transformer on 8,000 rows are above it.
ONE_THREAD_FLOPS = 1e8


class LightningLearner:
    """Trains networks by lightning, one run at a time.

    Args:
        config: its trainer is read.
        callbacks: beside our own; they find the epoch's row in the history at
            `on_train_epoch_end`.
        environment: how the processes of a run find each other; lightning finds out by default.

    Raises:
        ConfigError: lightning refused the arguments of the Trainer.
    """

    def __init__(
        self,
        config: RunConfig,
        callbacks: Sequence[Callback] = (),
        environment: ClusterEnvironment | None = None,
    ) -> None:
        self.keeper = Keeper()
        self.why_stepwise = why_stepwise(config, callbacks)
        # A module that makes its steps itself clips gradients itself.
        clips = self.why_stepwise is not None
        ours = [self.keeper, *callbacks]
        self.trainer = build_trainer(config, ours, environment, clips=clips)
        self.is_first: bool = self.trainer.is_global_zero

    def n_together(self, ready: Prepared) -> int:  # noqa: ARG002 - the contract's
        """Return 1: each run has lightning for itself."""
        return 1

    def build(self, configs: Sequence[RunConfig], ready: Prepared) -> list[ScoreModule]:
        """Return an untrained module for each configuration."""
        return build_modules(configs, ready)

    def fit(self, runs: Sequence[Run], models: Sequence[ScoreModule], ready: Prepared) -> None:
        """Train, or go on from the last checkpoint.

        Of several processes each trains on its share; the first one alone writes.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; what is older than a second is kept.
        """
        (run,) = runs
        (module,) = models
        config = run.config
        data = TableDataModule(ready.table, batch_size=config.batch_size, seed=config.seed)
        n_threads = set_threads(config, module, data.first_rows(config.batch_size))
        data.prepare = module.flatten
        if self.why_stepwise is None:
            LOG.info("lightning is called for many steps at once")
            data.is_chunked = True
            module.take_chunks(len(data.train_batches()))
        else:
            LOG.info("lightning is called for each step: %s", self.why_stepwise)

        last = run.folder / LAST
        checkpoint = last if last.is_file() else None
        trainer = self.trainer
        # Lightning has no public way to name the folder of a Trainer that is built already.
        trainer._default_root_dir = str(run.folder)  # type: ignore[attr-defined] # noqa: SLF001 - see above
        self.keeper.begin(run)
        with _quiet_lightning():
            run.record.hardware = read_hardware(trainer.strategy.root_device.type, n_threads)
            _run_trainer(trainer, module, data, checkpoint)
        run.record.is_stopped_early = self.keeper.watch.is_stopped_early

    def take_best(self, run: Run, model: ScoreModule) -> None:
        """Load the weights of the best epoch into the model, and record which they are."""
        take_best(run, model, find_longer(run.config, len(run.record.history)))


def _run_trainer(
    trainer: pl.Trainer, module: ScoreModule, data: TableDataModule, checkpoint: Path | None
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        # Our checkpoints hold tensors and plain values only, so that loading one can't run code.
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    # lightning 2.6 turns Ctrl-C into SystemExit(1), and from there on ignores the signal.
    except (KeyboardInterrupt, SystemExit) as error:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from error


def build_trainer(
    config: RunConfig,
    callbacks: list[Callback],
    environment: ClusterEnvironment | None = None,
    *,
    clips: bool = True,
) -> pl.Trainer:
    """Build the Trainer that the configuration describes, with our callbacks.

    Args:
        config: its trainer is read.
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
                # The user's arguments come last, so that they can replace these two.
                **{"num_sanity_val_steps": 0, "plugins": plugins, **arguments},
                callbacks=callbacks,
                # By default lightning logs into a folder of its own, `lightning_logs`.
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
    except (MisconfigurationException, ValueError, RuntimeError, TypeError, ImportError) as error:
        raise ConfigError(f"trainer: lightning refused these arguments: {error}") from error
    n_cores = os.cpu_count() or 1
    is_on_cpu = isinstance(trainer.accelerator, pl.accelerators.CPUAccelerator)
    # Lightning starts a process for each, however many there are. Two run on any machine.
    if is_on_cpu and trainer.num_devices > max(n_cores, 2):
        raise ConfigError(
            f"trainer.devices: {trainer.num_devices} processes, "
            f"and this machine has {n_cores} cores; take fewer"
        )

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


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence lightning's banners and advice, but not its errors.

    They are about DataLoaders and loggers that we do not use.
    """
    with errors_only("lightning.pytorch", "lightning.fabric"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        yield
