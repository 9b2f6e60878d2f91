"""The fit of a stack: `studperf.train.fit` does the same for one run."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Self

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from studperf.config.run import Monitor, RunConfig
from studperf.data.batches import Batch, batch_starts, epoch_generator
from studperf.record.files import BEST
from studperf.record.record import RunRecord
from studperf.record.surroundings import read_hardware
from studperf.train.checkpoints import write_history
from studperf.train.datamodule import TableDataModule
from studperf.train.fit import set_threads
from studperf.train.module import ScoreModule, lr_factor
from studperf.train.stack.stack import Stack

# Rows x members in one forward pass: what lies between the layers stays in the cache.
_SCORING_VALUES = 1 << 18
# Largest share of the time that goes into writing records.
_SAVE_SHARE = 0.02


@dataclass
class Member:
    """One run of a stack."""

    config: RunConfig
    module: ScoreModule
    record: RunRecord
    folder: Path


@dataclass
class Watch:
    """Early stopping and best weights of each member.

    The rules are those of lightning's `EarlyStopping` and `ModelCheckpoint`.
    """

    monitor: Monitor
    best: Tensor
    """(K,) best value so far, with its sign turned where larger is better."""
    weights: dict[str, Tensor]
    """(K, ...) weights of the epoch with the best value, by the parameter's name."""
    stop_best: Tensor = field(init=False)
    n_waited: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.stop_best = self.best.clone()
        self.n_waited = torch.zeros(len(self.best), dtype=torch.int64)

    def look(self, active: Tensor, values: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Note an epoch's values of the members in training; return which of those are to stop.

        The result holds booleans, one for each active member.
        """
        if self.monitor.mode == "max":
            values = -values
        is_finite = values.isfinite()
        is_best = is_finite & (values < self.best[active])
        self.best[active[is_best]] = values[is_best]
        for name, kept in self.weights.items():
            kept[active[is_best]] = weights[name][is_best]

        # As in lightning: the best weights need any gain, patience is kept only by min_delta.
        is_better = is_finite & (values + self.monitor.min_delta < self.stop_best[active])
        self.stop_best[active[is_better]] = values[is_better]
        self.n_waited[active] = torch.where(is_better, 0, self.n_waited[active] + 1)
        return ~is_finite | (self.n_waited[active] >= self.monitor.patience)


def fit_stack(
    stack: Stack, members: Sequence[Member], data: TableDataModule, console: Console
) -> None:
    """Train all members; write each one's history and best weights.

    A member without an epoch of finite value has no best weights.

    Args:
        stack: of the members' modules, untrained.
        members: in the stack's order.
        data: the encoded rows of all of them.
        console: for the bar.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; histories are kept, weights are not.
    """
    config = members[0].config
    n_threads = set_threads(config, members[0].module, data.first_rows(config.batch_size))
    for member in members:
        member.record.hardware = read_hardware("cpu", n_threads)
        member.record.n_stacked = len(members)
        member.record.history = []

    # The layout of all members, since the stack's own shrinks when members stop.
    layout = stack.layout
    best = stack.values.clone()
    worst = torch.full((len(members),), torch.inf)
    watch = Watch(config.monitor, worst, layout.split(best))
    with _sigterm_as_interrupt(), _EpochBar(config, console, len(members)) as bar:
        _run_epochs(stack, members, data, watch, bar)

    for k, member in enumerate(members):
        if watch.best[k].isfinite():
            layout.write(best, k, member.module)
            (member.folder / BEST).parent.mkdir(exist_ok=True)
            torch.save({"state_dict": member.module.state_dict()}, member.folder / BEST)
        write_history(member.folder, member.record.history)


def _run_epochs(
    stack: Stack, members: Sequence[Member], data: TableDataModule, watch: Watch, bar: _EpochBar
) -> None:
    """Train the stack epoch by epoch, and leave out members that have stopped."""
    config = members[0].config
    module = members[0].module
    keeper = _Keeper(members)
    train = _Part.read(stack, module, data.table.part("train"))
    val = _Part.read(stack, module, data.table.part("val"))
    starts = batch_starts(len(train.z), config.batch_size)
    n_epochs = int(config.trainer["max_epochs"])
    n_steps = n_epochs * len(starts)
    active = torch.arange(len(members))

    for epoch in range(n_epochs):
        train_loss = _train_epoch(stack, train, config, epoch=epoch, starts=starts, n_steps=n_steps)
        metrics = {"train/loss": train_loss, **_validate(stack, val, module)}
        last_step = (epoch + 1) * len(starts) - 1
        factor = lr_factor(last_step, n_steps, config.scheduler)
        keeper.add(active, epoch, metrics, factor)

        watched = metrics[config.monitor.metric]
        is_stopped = watch.look(active, watched, stack.views)
        for k in active[is_stopped].tolist():
            members[k].record.is_stopped_early = epoch > 0
        bar.move(epoch + 1, watched, watch.best)
        if is_stopped.all():
            return
        if is_stopped.any():
            active = active[~is_stopped]
            stack.keep((~is_stopped).nonzero().flatten().tolist())


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


class _Keeper:
    """The members' histories, saved on disk at a small share of the time.

    32 records take 0.2 s to write.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.started = self.saved = time.monotonic()
        self.cost_s = 0.0

    def add(self, active: Tensor, epoch: int, metrics: dict[str, Tensor], factor: float) -> None:
        """Add a row for each member still in training."""
        seconds = round(time.monotonic() - self.started, 3)
        columns = {name: values.tolist() for name, values in metrics.items()}
        for i, k in enumerate(active.tolist()):
            member = self.members[k]
            row: dict[str, float | int] = {"epoch": epoch}
            for name, values in columns.items():
                row[name] = values[i]
            row["lr"] = member.config.optimizer.lr * factor
            row["seconds"] = seconds
            member.record.history.append(row)

        # The longer the records take, the rarer they are written.
        if time.monotonic() - self.saved > max(1.0, self.cost_s / _SAVE_SHARE):
            self.save()

    def save(self) -> None:
        """Save all records as they stand."""
        started = time.monotonic()
        for member in self.members:
            member.record.save(member.folder)
        self.saved = time.monotonic()
        self.cost_s = self.saved - started


class _EpochBar:
    """A bar of epochs with the range of the watched value; plain lines without a terminal."""

    def __init__(self, config: RunConfig, console: Console, n_members: int) -> None:
        self.monitor = config.monitor
        self.console = console
        self.is_shown = config.progress
        self.n_epochs = int(config.trainer["max_epochs"])
        self.n_members = n_members
        columns = (
            TextColumn("epoch {task.completed}/{task.total}"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
        )
        self.progress = Progress(
            *columns,
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self.is_shown,
        )
        self.task = self.progress.add_task("", total=self.n_epochs)

    def __enter__(self) -> Self:
        # Without a terminal rich would print an empty line.
        if self.console.is_terminal:
            self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self.progress.stop()

    def move(self, epoch: int, values: Tensor, best: Tensor) -> None:
        """Show an epoch's values, and the best ones so far.

        Args:
            epoch: number of epochs done.
            values: (active members,).
            best: (K,), with their sign turned where larger is better.
        """
        signed = best if self.monitor.mode == "min" else -best
        known = signed[signed.isfinite()]
        reach = "none finite"
        if len(known):
            reach = f"best {known.min():.4g} to {known.max():.4g}"
        text = f"{self.n_members} models, {len(values)} in training, {self.monitor.metric} {reach}"
        self.progress.update(self.task, completed=epoch, description=text)
        is_due = epoch % max(1, self.n_epochs // 10) == 0 or epoch == self.n_epochs
        if self.is_shown and is_due and not self.console.is_terminal:
            self.console.print(f"epoch {epoch}/{self.n_epochs}  {text}")


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, as it does under lightning.

    Python allows only a process's main thread to set this.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
