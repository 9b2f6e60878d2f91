"""The fit of a stack: what `studperf.fit` does for one run, for K at once."""

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

from studperf.callbacks import write_history
from studperf.config.shape import Monitor, RunConfig
from studperf.data.batches import Batch, batch_starts, epoch_generator
from studperf.data.datamodule import TableDataModule
from studperf.fit import set_threads
from studperf.module import ScoreModule, lr_factor
from studperf.record import BEST, RunRecord, read_hardware
from studperf.stacked.stack import Stack

_SCORING_VALUES = (
    1 << 18
)  # rows x members in one forward pass: what lies between the layers stays in the cache
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
    """Early stopping and best weights of each member, by the rules of lightning's `EarlyStopping` and `ModelCheckpoint`."""

    monitor: Monitor
    best: Tensor
    """(K,) the best value so far, turned so that smaller is better."""
    weights: dict[str, Tensor]
    """(K, ...) by the parameter's name, of the epoch with the best value."""
    stop_best: Tensor = field(init=False)
    n_waited: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.stop_best = self.best.clone()
        self.n_waited = torch.zeros(len(self.best), dtype=torch.int64)

    def look(self, active: Tensor, values: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Takes in an epoch's values of the members still in training; returns which of those are to stop, as booleans."""
        values = values if self.monitor.mode == "min" else -values
        is_finite = values.isfinite()
        is_best = is_finite & (values < self.best[active])
        self.best[active[is_best]] = values[is_best]
        for name, kept in self.weights.items():
            kept[active[is_best]] = weights[name][is_best]
        is_better = is_finite & (values + self.monitor.min_delta < self.stop_best[active])
        self.stop_best[active[is_better]] = values[is_better]
        self.n_waited[active] = torch.where(is_better, 0, self.n_waited[active] + 1)
        return ~is_finite | (self.n_waited[active] >= self.monitor.patience)


def fit_stack(
    stack: Stack, members: Sequence[Member], data: TableDataModule, console: Console
) -> None:
    """Trains all members; writes each one's history and, where an epoch gave a finite value, its best weights.

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
    layout, best = stack.layout, stack.values.clone()
    watch = Watch(config.monitor, torch.full((len(members),), torch.inf), layout.split(best))
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
    config, keeper = members[0].config, _Keeper(members)
    train, val = (
        _Part.read(stack, members[0].module, data.table.part(name)) for name in ("train", "val")
    )
    starts = batch_starts(len(train.z), config.batch_size)
    n_epochs = int(config.trainer["max_epochs"])
    active = torch.arange(len(members))
    for epoch in range(n_epochs):
        train_loss = _train_epoch(
            stack, train, config, epoch=epoch, starts=starts, n_steps=n_epochs * len(starts)
        )
        metrics = {"train/loss": train_loss, **_validate(stack, val, members[0].module)}
        factor = lr_factor((epoch + 1) * len(starts) - 1, n_epochs * len(starts), config.scheduler)
        keeper.add(active, epoch, metrics, factor)
        is_stopped = watch.look(active, metrics[config.monitor.metric], stack.views)
        for k in active[is_stopped].tolist():
            members[k].record.is_stopped_early = epoch > 0
        bar.move(epoch + 1, metrics[config.monitor.metric], watch.best)
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
        x_num, x_cat, target = rows
        return cls(
            stack.read_rows(x_num, x_cat), (target - module.target_mean) / module.target_std, target
        )


def _train_epoch(
    stack: Stack,
    train: _Part,
    config: RunConfig,
    *,
    epoch: int,
    starts: Sequence[int],
    n_steps: int,
) -> Tensor:
    """(K,) mean training losses; each member takes the rows in the order of its own seed."""
    n_rows, clip = len(train.z), config.trainer.get("gradient_clip_val")
    drawn = {
        seed: torch.randperm(n_rows, generator=epoch_generator(seed, epoch))
        for seed in set(stack.seeds)
    }
    # Members of one seed, as in a search over learning rates, see the same batches: gathered once.
    order = torch.stack(
        [drawn[seed] for seed in (stack.seeds if len(drawn) > 1 else stack.seeds[:1])]
    )
    stack.start_epoch(epoch)
    losses = []
    for i, (start, stop) in enumerate(pairwise([*starts, n_rows])):
        rows = order[:, start:stop].reshape(-1)
        x = (
            train.x.index_select(0, rows)
            .view(len(order), stop - start, -1)
            .expand(len(stack), -1, -1)
        )
        z = train.z.index_select(0, rows).view(len(order), stop - start).expand(len(stack), -1)
        factor = lr_factor(epoch * len(starts) + i, n_steps, config.scheduler)
        losses.append(stack.train_step(x, z, factor, clip))
    return torch.stack(losses).mean(0)


@torch.no_grad()
def _validate(stack: Stack, val: _Part, module: ScoreModule) -> dict[str, Tensor]:
    """(K,) of each metric over the whole split, as `ScoreModule.on_validation_epoch_end` reckons them."""
    step = max(1, _SCORING_VALUES // len(stack))
    y = torch.cat(
        [stack.forward(x.expand(len(stack), -1, -1)) for x in torch.split(val.x, step)], dim=1
    )
    error = y * module.target_std + module.target_mean - val.target
    mse = error.square().mean(1)
    return {
        "val/loss": stack.losses(y, val.z.expand_as(y)),
        "val/rmse": mse.sqrt(),
        "val/mae": error.abs().mean(1),
        "val/r2": 1 - mse / val.target.var(correction=0),
    }


class _Keeper:
    """Keeps the members' histories true, on disk too, at a small share of the time: 32 records take 0.2 s to write."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.started = self.saved = time.monotonic()
        self.cost_s = 0.0

    def add(self, active: Tensor, epoch: int, metrics: dict[str, Tensor], factor: float) -> None:
        """A row for each member still in training."""
        seconds = round(time.monotonic() - self.started, 3)
        columns = {name: values.tolist() for name, values in metrics.items()}
        for i, k in enumerate(active.tolist()):
            member = self.members[k]
            row: dict[str, float | int] = {
                "epoch": epoch,
                **{name: values[i] for name, values in columns.items()},
            }
            member.record.history.append(
                row | {"lr": member.config.optimizer.lr * factor, "seconds": seconds}
            )
        if time.monotonic() - self.saved > max(1.0, self.cost_s / _SAVE_SHARE):
            self.save()

    def save(self) -> None:
        """All records, as they stand."""
        started = time.monotonic()
        for member in self.members:
            member.record.save(member.folder)
        self.saved = time.monotonic()
        self.cost_s = self.saved - started


class _EpochBar:
    """A bar of epochs with the range of the watched value; plain lines where there is no terminal."""

    def __init__(self, config: RunConfig, console: Console, n_members: int) -> None:
        self.monitor, self.console, self.is_shown = config.monitor, console, config.progress
        self.n_epochs, self.n_members = int(config.trainer["max_epochs"]), n_members
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
        if self.console.is_terminal:  # elsewhere rich would print an empty line
            self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self.progress.stop()

    def move(self, epoch: int, values: Tensor, best: Tensor) -> None:
        """Tells an epoch's values (active members,) and the best ones so far (K,)."""
        signed = best if self.monitor.mode == "min" else -best
        known = signed[signed.isfinite()]
        reach = f"best {known.min():.4g} to {known.max():.4g}" if len(known) else "none finite"
        text = f"{self.n_members} models, {len(values)} in training, {self.monitor.metric} {reach}"
        self.progress.update(self.task, completed=epoch, description=text)
        is_due = epoch % max(1, self.n_epochs // 10) == 0 or epoch == self.n_epochs
        if self.is_shown and is_due and not self.console.is_terminal:
            self.console.print(f"epoch {epoch}/{self.n_epochs}  {text}")


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does, as it does under lightning; only a process's first thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
