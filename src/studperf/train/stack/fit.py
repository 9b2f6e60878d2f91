"""The fit of a stack, in the place of `studperf.train.network.fit` for one run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from studperf.config.run import RunConfig
from studperf.data.batches import Batch, batch_starts, epoch_generator
from studperf.data.large.memory import enough_memory
from studperf.data.preparation import Prepared
from studperf.data.tensors import gather
from studperf.record.files import BEST
from studperf.record.lifecycle import LOG
from studperf.record.run import Row, Run
from studperf.record.surroundings import read_hardware
from studperf.train.best import find_longer, take_best
from studperf.train.interrupt import sigterm_interrupts
from studperf.train.network.checkpoints import write_history
from studperf.train.network.fit import build_trainer, set_threads
from studperf.train.network.module import ScoreModule, build_modules
from studperf.train.network.optimizer import lr_factor
from studperf.train.progress import EpochBar
from studperf.train.stack import stack_size
from studperf.train.stack.stack import Stack
from studperf.train.stack.trace import NotStackableError
from studperf.train.watch import Watch

# Rows x members in one forward pass: what lies between the layers stays in the cache.
_SCORING_VALUES = 1 << 18
# Largest share of the time that goes into writing records.
_SAVE_SHARE = 0.02


class StackLearner:
    """Trains networks of one architecture together, each to the numbers that it would get alone.

    Args:
        config: of one of them; they differ in `stack.VARIED` alone.

    Raises:
        NotStackableError: the Trainer would train elsewhere than on the CPU.
        ConfigError: lightning refused the arguments of the Trainer.
    """

    is_first = True

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        device = build_trainer(config, []).strategy.root_device.type
        if device != "cpu":
            raise NotStackableError(
                f"the trainer chose {device}, and a stack trains on the CPU "
                "(trainer.accelerator=cpu)"
            )

    def n_together(self, ready: Prepared) -> int:
        """Return how many runs are trained together at most."""
        return stack_size(self.config.batch_size, len(ready.rows.split.train))

    def build(self, configs: Sequence[RunConfig], ready: Prepared) -> list[ScoreModule]:
        """Return an untrained module for each configuration, and stack them.

        Raises:
            NotStackableError: the model has a step that can't be stacked.
        """
        modules = build_modules(configs, ready)
        with enough_memory(self.config):
            self.stack = Stack(modules, ready.table.part("train"))
        return modules

    def fit(self, runs: Sequence[Run], models: Sequence[ScoreModule], ready: Prepared) -> None:
        """Train all of them; write each one's history and best weights.

        One without an epoch of finite value has no best weights.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; histories are kept, weights are not.
        """
        table = ready.table
        first_rows = gather(table.tensors, table.rows["train"][: self.config.batch_size])
        n_threads = set_threads(self.config, models[0], first_rows)
        for run in runs:
            run.record.hardware = read_hardware("cpu", n_threads)

        # The layout of all members, since the stack's own shrinks when members stop.
        layout = self.stack.layout
        best = self.stack.values.clone()
        bar = EpochBar(runs[0].console, is_shown=self.config.progress)
        fit = _Fit(self.stack, runs, models[0], layout.split(best), bar)
        with sigterm_interrupts():
            fit.run_epochs(ready)

        for k, run in enumerate(runs):
            if fit.watches[k].best_epoch is not None:
                layout.write(best, k, models[k])
                # At the end alone: a stack that is killed has no checkpoint, and begins anew.
                (run.folder / BEST).parent.mkdir(exist_ok=True)
                torch.save({"state_dict": models[k].state_dict()}, run.folder / BEST)
            write_history(run)

    def take_best(self, run: Run, model: ScoreModule) -> None:
        """Load the weights of the best epoch into the model, and record which they are."""
        record = run.record
        LOG.info(
            "trained together with %d other runs: %d epochs",
            record.n_stacked - 1,
            len(record.history),
        )
        take_best(run, model, find_longer(run.config, len(record.history)))


class _Fit:
    """The epochs of a stack, and what is kept of them.

    Args:
        stack: of the runs' modules, untrained.
        runs: in the stack's order.
        module: the first run's, whose scaling of the target is that of all.
        best: (K, ...) weights of each run's best epoch, by the parameter's name; written here.
        bar: shows the epochs.
    """

    def __init__(
        self,
        stack: Stack,
        runs: Sequence[Run],
        module: ScoreModule,
        best: dict[str, Tensor],
        bar: EpochBar,
    ) -> None:
        self.stack = stack
        self.runs = runs
        self.module = module
        self.best = best
        self.bar = bar
        self.config = runs[0].config
        self.watches = [Watch(self.config.monitor) for _ in runs]
        self.started = self.saved = time.monotonic()
        self.save_cost_s = 0.0

    def run_epochs(self, ready: Prepared) -> None:
        """Train epoch by epoch, and leave out members that have stopped."""
        config = self.config
        train = _Part.read(self.stack, self.module, ready.table.part("train"))
        val = _Part.read(self.stack, self.module, ready.table.part("val"))
        starts = batch_starts(len(train.z), config.batch_size)
        n_epochs = int(config.trainer["max_epochs"])
        n_steps = n_epochs * len(starts)
        active = list(range(len(self.runs)))
        self.bar.start(n_epochs)
        try:
            for epoch in range(n_epochs):
                train_loss = _train_epoch(
                    self.stack, train, config, epoch=epoch, starts=starts, n_steps=n_steps
                )
                metrics = {"train/loss": train_loss, **_validate(self.stack, val, self.module)}
                last_step = (epoch + 1) * len(starts) - 1
                factor = lr_factor(last_step, n_steps, config.scheduler)
                going_on = self._take_epoch(active, epoch, metrics, factor)
                if not going_on:
                    return
                if len(going_on) < len(active):
                    self.stack.keep(going_on)
                    active = [active[i] for i in going_on]
        finally:
            self.bar.close()

    def _take_epoch(
        self, active: Sequence[int], epoch: int, metrics: dict[str, Tensor], factor: float
    ) -> list[int]:
        """Keep an epoch's rows and best weights; return the places in `active` that go on."""
        seconds = round(time.monotonic() - self.started, 3)
        columns = {name: values.tolist() for name, values in metrics.items()}
        better: list[int] = []
        going_on: list[int] = []
        for i, k in enumerate(active):
            run, watch = self.runs[k], self.watches[k]
            row: Row = {"epoch": epoch}
            for name, values in columns.items():
                row[name] = values[i]
            row["lr"] = run.config.optimizer.lr * factor
            row["seconds"] = seconds
            run.add_epoch(row)
            if watch.look(row):
                better.append(i)
            if not watch.is_over:
                going_on.append(i)
            run.record.is_stopped_early = watch.is_stopped_early

        members = [active[i] for i in better]
        for name, kept in self.best.items():
            kept[members] = self.stack.views[name][better]
        self._show(epoch + 1, len(active))
        # The longer the records take (0.2 s for 32 of them), the rarer they are written.
        if time.monotonic() - self.saved > max(1.0, self.save_cost_s / _SAVE_SHARE):
            self._save()
        return going_on

    def _save(self) -> None:
        """Save all records as they stand."""
        started = time.monotonic()
        for run in self.runs:
            run.save()
        self.saved = time.monotonic()
        self.save_cost_s = self.saved - started

    def _show(self, n_done: int, n_active: int) -> None:
        """Show how many are in training, and the range of the best values so far."""
        values = [watch.best_value for watch in self.watches]
        known = [value for value in values if value is not None]
        reach = "none finite"
        if known:
            reach = f"best {min(known):.4g} to {max(known):.4g}"
        metric = self.config.monitor.metric
        self.bar.move(n_done, f"{len(self.runs)} models, {n_active} in training, {metric} {reach}")


@dataclass(frozen=True)
class _Part:
    """Rows that all members share: x (N, F + levels), z (N,) standardised, target (N,)."""

    x: Tensor
    z: Tensor
    target: Tensor

    @classmethod
    def read(cls, stack: Stack, module: ScoreModule, rows: Batch) -> _Part:
        """Encode rows for the stack."""
        x_num, x_cat, target = rows
        z = (target - module.target_mean) / module.target_std
        return cls(x=stack.read_rows(x_num, x_cat), z=z, target=target)


def _train_epoch(
    stack: Stack,
    train: _Part,
    config: RunConfig,
    *,
    epoch: int,
    starts: Sequence[int],
    n_steps: int,
) -> Tensor:
    """Train all members for an epoch; return their mean training losses (K,).

    Each member takes the rows in the order of its own seed.
    """
    n_members = len(stack)
    n_rows = len(train.z)
    clip = config.trainer.get("gradient_clip_val")
    drawn = {}
    for seed in set(stack.seeds):
        drawn[seed] = torch.randperm(n_rows, generator=epoch_generator(seed, epoch))
    # Members of one seed, as in a search over learning rates, see the same batches: gathered once.
    seeds = stack.seeds if len(drawn) > 1 else stack.seeds[:1]
    order = torch.stack([drawn[seed] for seed in seeds])

    stack.start_epoch(epoch)
    losses = []
    for i, (start, stop) in enumerate(pairwise([*starts, n_rows])):
        n_batch = stop - start
        rows = order[:, start:stop].reshape(-1)
        x = train.x.index_select(0, rows).view(len(order), n_batch, -1)
        x = x.expand(n_members, -1, -1)
        z = train.z.index_select(0, rows).view(len(order), n_batch)
        z = z.expand(n_members, -1)
        factor = lr_factor(epoch * len(starts) + i, n_steps, config.scheduler)
        losses.append(stack.train_step(x, z, factor, clip))
    return torch.stack(losses).mean(0)


@torch.no_grad()
def _validate(stack: Stack, val: _Part, module: ScoreModule) -> dict[str, Tensor]:
    """Return each metric over val, (K,), as `ScoreModule.on_validation_epoch_end` reckons it."""
    n_members = len(stack)
    step = max(1, _SCORING_VALUES // n_members)
    parts = []
    for x in torch.split(val.x, step):
        shared = x.expand(n_members, -1, -1)
        parts.append(stack.forward(shared))
    y = torch.cat(parts, dim=1)
    error = y * module.target_std + module.target_mean - val.target
    mse = error.square().mean(1)
    return {
        "val/loss": stack.losses(y, val.z.expand_as(y)),
        "val/rmse": mse.sqrt(),
        "val/mae": error.abs().mean(1),
        "val/r2": 1 - mse / val.target.var(correction=0),
    }
