"""What does a training step cost, all-in?

One network (conf/model/mlp.yaml: 64-32 with SiLU, dropout and a linear path; and a plain 64-32, which leaves less arithmetic to hide a
loop's cost behind), one table; only the loop differs. All-in: the whole fit, one validation an epoch with its metrics and the best weights
kept included, by the number of training steps.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from common import (
    CSV,
    Bar,
    Lane,
    Options,
    Report,
    Values,
    interleave,
    open_lanes,
    ratio,
    run_script,
)

_COLUMNS = ("us/step", "CPU us/step", "steady us/step", "train-only us/step", "epochs/s")
_EPOCHS = {32: 20, 256: 60, 1024: 60}
"""Batch size -> epochs. 60 is what conf/trainer/default.yaml says; at 32 fewer will do for 4,000 steps."""
_QUICK = ("data=simulated", "data.source.simulate.rows=400")


@dataclass(frozen=True)
class Task:
    """What each contender trains."""

    batch_size: int
    n_epochs: int
    is_quick: bool
    is_plain: bool = False

    @property
    def network(self) -> str:
        """For the title."""
        return "plain 64-32" if self.is_plain else "conf/model/mlp.yaml"

    @property
    def overrides(self) -> list[str]:
        """As words of studperf's command line."""
        return [
            *(_QUICK if self.is_quick else ()),
            *(
                "model=mlp",
                f"batch_size={self.batch_size}",
                f"trainer.max_epochs={self.n_epochs}",
                f"monitor.patience={self.n_epochs}",
            ),
            *("trainer.accelerator=cpu", "threads=1", "progress=false"),
            *(
                ("model.activation=relu", "model.dropout=0", "model.linear_skip=false")
                if self.is_plain
                else ()
            ),
        ]


@dataclass
class Clock:
    """Stands around one fit."""

    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    def stop(self) -> None:
        """Turns the starting times into seconds."""
        self.wall = time.perf_counter() - self.wall
        self.cpu = time.process_time() - self.cpu

    def values(
        self,
        task: Task,
        n_steps: int,
        *,
        epoch_ends: list[float] | None = None,
        train_s: float | None = None,
    ) -> Values:
        """Microseconds a step. Steady: from the end of the first epoch to that of the last, so without what a fit costs once."""
        values = {
            "us/step": 1e6 * self.wall / n_steps,
            "CPU us/step": 1e6 * self.cpu / n_steps,
            "epochs/s": task.n_epochs / self.wall,
        }
        if epoch_ends is not None:
            values["steady us/step"] = (
                1e6
                * (epoch_ends[-1] - epoch_ends[0])
                / (n_steps * (task.n_epochs - 1) / task.n_epochs)
            )
        if train_s is not None:
            values["train-only us/step"] = 1e6 * train_s / n_steps
        return values


@functools.cache
def read_parts(is_quick: bool) -> dict[str, tuple[Any, Any]]:  # noqa: FBT001 - a key of the cache
    """Part -> x (N, D) float32 with one-hot categories, target (N,): studperf's own rows and encoding, for every contender."""
    import torch

    from studperf.config.load import load_overrides
    from studperf.data.encode import flatten
    from studperf.data.rows import open_good_rows
    from studperf.data.split import split_rows

    config = load_overrides(list(_QUICK) if is_quick else [])
    with open_good_rows(config.data) as rows:
        parts = split_rows(rows.all(), rows.split)
        encoder = rows.fit(config.encode)
    x = {
        name: torch.tensor(flatten(encoder.transform(part), encoder.features), dtype=torch.float32)
        for name, part in parts.items()
    }
    return {
        name: (x[name], torch.tensor(part.target, dtype=torch.float32))
        for name, part in parts.items()
    }


def run_studperf(task: Task) -> Values:
    """`train.run`, by a clock around the `fit` in it: Trainer, checkpoints, history and record on disk included."""
    from studperf.config.load import load_overrides
    from studperf.train.network.fit import LightningLearner
    from studperf.train.run import run

    clocks: list[Clock] = []
    plain_fit = LightningLearner.fit

    def clocked_fit(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - handed on
        clocks.append(Clock())
        result = plain_fit(*arguments, **named)
        clocks[-1].stop()
        return result

    with (
        tempfile.TemporaryDirectory() as runs,
        silent(),
        mock.patch.object(LightningLearner, "fit", clocked_fit),
    ):
        record = run(load_overrides([*task.overrides, f"runs={runs}"]))
    if not clocks:
        raise RuntimeError(
            "train.run does not call LightningLearner.fit any more: put the clock around what does"
        )
    n_steps = math.ceil(record.data.n_train / task.batch_size) * len(record.history)
    values = clocks[0].values(
        task, n_steps, epoch_ends=[float(row["seconds"]) for row in record.history]
    )
    return values | {"best val RMSE": float(record.best_value or math.nan)}


def run_raw(task: Task) -> Values:
    """The raw loop, with studperf's seeds."""
    from peers.raw import fit

    from studperf.data.batches import epoch_seed

    parts = read_parts(task.is_quick)
    clock = Clock()
    fitted = fit(
        parts["train"],
        parts["val"],
        batch_size=task.batch_size,
        n_epochs=task.n_epochs,
        is_plain=task.is_plain,
        seed_of=functools.partial(epoch_seed, 0),
    )
    clock.stop()
    n_steps = math.ceil(len(parts["train"][1]) / task.batch_size) * task.n_epochs
    return clock.values(task, n_steps, epoch_ends=fitted.epoch_ends, train_s=fitted.train_s) | {
        "best val RMSE": fitted.best_rmse
    }


def run_original(task: Task) -> Values:
    """The loop of the university project that studperf grew out of: DataLoader over a TensorDataset, Adam, `loss.item()` each step."""
    import torch
    from peers.raw import Net
    from torch.utils.data import DataLoader, TensorDataset

    parts = read_parts(task.is_quick)
    train = DataLoader(TensorDataset(*parts["train"]), batch_size=task.batch_size, shuffle=True)
    val = DataLoader(TensorDataset(*parts["val"]), batch_size=task.batch_size)
    net = Net(parts["train"][0].shape[1], is_plain=task.is_plain)
    criterion, optimizer = torch.nn.MSELoss(), torch.optim.Adam(net.parameters(), lr=1e-3)
    clock, train_s, ends = Clock(), 0.0, []
    for _ in range(task.n_epochs):
        started = time.perf_counter()
        net.train()
        running = 0.0
        for x, target in train:
            optimizer.zero_grad()
            loss = criterion(net(x), target)
            loss.backward()
            optimizer.step()
            running += loss.item()
        train_s += time.perf_counter() - started
        net.eval()
        running = 0.0
        with torch.no_grad():
            for x, target in val:
                running += criterion(net(x), target).item()
        ends.append(time.perf_counter())
    clock.stop()
    return clock.values(task, len(train) * task.n_epochs, epoch_ends=ends, train_s=train_s)


def run_usual(task: Task, *, with_nvml_check: bool = True) -> Values:
    """A module, DataLoaders and callbacks as popular templates write them; no logger, no bar."""
    import lightning as L  # noqa: N812 - as everyone writes it
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
    from peers.template.parts import TabularModule
    from torch.utils.data import DataLoader, TensorDataset

    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = (
        "1" if with_nvml_check else "0"
    )  # 1 is what `import lightning` sets
    parts = read_parts(task.is_quick)
    with tempfile.TemporaryDirectory() as folder, silent():
        train = DataLoader(TensorDataset(*parts["train"]), batch_size=task.batch_size, shuffle=True)
        val = DataLoader(TensorDataset(*parts["val"]), batch_size=task.batch_size)
        module, ends = (
            TabularModule(parts["train"][0].shape[1], is_plain=task.is_plain),
            EpochClock(),
        )
        clock = Clock()
        trainer = L.Trainer(
            max_epochs=task.n_epochs,
            accelerator="cpu",
            default_root_dir=folder,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[
                ModelCheckpoint(dirpath=folder, monitor="val/rmse", save_last=True),
                EarlyStopping(monitor="val/rmse", patience=task.n_epochs),
                ends.callback(L.Callback),
            ],
        )
        trainer.fit(module, train, val)
        clock.stop()
    return clock.values(task, trainer.global_step, epoch_ends=ends.ends, train_s=ends.train_s)


@dataclass
class EpochClock:
    """Reads the time as a Trainer's epochs end."""

    ends: list[float] = field(default_factory=list)
    train_s: float = 0.0
    started: float = 0.0

    def callback(self, base: type) -> Any:  # noqa: ANN401 - lightning's Callback, imported where it is used
        """As a lightning callback."""

        def start(*_: object) -> None:
            self.started = time.perf_counter()

        def stop_training(*_: object) -> None:
            if self.started:  # lightning validates once before it trains
                self.train_s += time.perf_counter() - self.started

        def end(*_: object) -> None:
            self.ends.append(time.perf_counter())

        hooks = {
            "on_train_epoch_start": start,
            "on_validation_start": stop_training,
            "on_train_epoch_end": end,
        }
        return type("EpochClockCallback", (base,), hooks)()


def run_sklearn(task: Task) -> Values:
    """scikit-learn's MLPRegressor of the same sizes: ReLU, no dropout, no linear path; early stopping on a tenth of the training rows."""
    from sklearn.neural_network import MLPRegressor

    x, target = (part.numpy() for part in read_parts(task.is_quick)["train"])
    model = MLPRegressor(
        hidden_layer_sizes=(64, 32),
        batch_size=task.batch_size,
        max_iter=task.n_epochs,
        n_iter_no_change=task.n_epochs,
        early_stopping=True,
        random_state=0,
    )
    clock = Clock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it would go on learning
        model.fit(x, target)
    clock.stop()
    return clock.values(task, model.n_iter_ * math.ceil(0.9 * len(x) / task.batch_size))


@contextmanager
def silent() -> Iterator[None]:
    """Lightning's banners and studperf's tables are not what is measured."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


OURS, RAW, ORIGINAL = "studperf", "raw torch loop", "original project's loop"
USUAL, USUAL_OFF, SKLEARN = (
    "usual Lightning module",
    "usual, NVML check off",
    "scikit-learn MLPRegressor",
)
CONTENDERS: dict[str, Callable[[Task], Values]] = {
    OURS: run_studperf,
    RAW: run_raw,
    ORIGINAL: run_original,
    USUAL: run_usual,
    USUAL_OFF: functools.partial(run_usual, with_nvml_check=False),
    SKLEARN: run_sklearn,
}


def measure(options: Options) -> list[Report]:
    """A table for each batch size, and one of a plain network."""
    with open_lanes(CONTENDERS, options) as lanes:
        if options.quick:
            return [compare(lanes, Task(64, 2, is_quick=True), options)]
        tasks = [
            Task(batch_size, n_epochs, is_quick=False) for batch_size, n_epochs in _EPOCHS.items()
        ]
        return [
            compare(lanes, task, options)
            for task in (*tasks, Task(256, 60, is_quick=False, is_plain=True))
        ]


def compare(lanes: dict[str, Lane], task: Task, options: Options) -> Report:
    """All contenders on one task."""
    warm_up = replace(task, n_epochs=2)
    for name, lane in lanes.items():
        lane.run(CONTENDERS[name], warm_up)  # imports, and what torch sets up in its first steps
    rounds = interleave(
        {name: functools.partial(lane.run, CONTENDERS[name], task) for name, lane in lanes.items()},
        options.rounds,
    )
    data = "the simulated table" if task.is_quick or not CSV.is_file() else "the real table"
    gap = abs(rounds[OURS][0]["best val RMSE"] - rounds[RAW][0]["best val RMSE"])
    return Report(
        title=f"a step of {task.network} at batch {task.batch_size}, {task.n_epochs} epochs of {data}",
        rounds=rounds,
        columns=_COLUMNS,
        against=RAW,
        bars=bars(task, rounds),
        notes=(f"Best val RMSE of {OURS} and the {RAW}, from the same seeds: {gap:.1e} apart.",),
        ratios=("CPU us/step",),
    )


def bars(task: Task, rounds: dict[str, list[Values]]) -> tuple[Bar, ...]:
    """What must hold, at the batch sizes for which it was promised."""
    if task.is_quick:
        return ()
    found = [Bar(f"{OURS} / {RAW}", ratio(rounds, OURS, RAW, "us/step"), at_most=1.25)]
    if task.batch_size == 256:  # noqa: PLR2004 - the default
        found += [
            Bar(f"{USUAL} / {OURS}", ratio(rounds, USUAL, OURS, "us/step"), at_least=5),
            Bar(f"{ORIGINAL} / {OURS}", ratio(rounds, ORIGINAL, OURS, "us/step"), at_least=2.5),
        ]
    return tuple(found)


if __name__ == "__main__":
    run_script(measure)
