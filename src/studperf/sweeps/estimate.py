"""What a study would take: a few of its trials are trained for a second each, and one of them is judged as the winner would be."""

from __future__ import annotations

import contextlib
import io
import math
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from studperf import sweeps
from studperf.config.line.overrides import group_names
from studperf.errors import counted
from studperf.sweeps.compose import Composer
from studperf.sweeps.space import Choice
from studperf.sweeps.study import build_sampler
from studperf.sweeps.view.live_table import brief, time_span
from studperf.sweeps.workers import plan_of

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from studperf.config.run import RunConfig
    from studperf.record.record import RunRecord
    from studperf.sweeps.request import Order
    from studperf.sweeps.study import Plan
    from studperf.train.job import RunOne

N_TRIED = 5
ENOUGH_S = 1.0
"""Of training: the pace of its epochs is known by then. The first one alone is slower than the others."""


@dataclass(frozen=True)
class Estimate:
    """Seconds that the parts of a study take at most: every trial to its last epoch.

    Args:
        start_s: of a process, until its first trial begins: packages, table, checks.
        run_s: of a trial with one seed.
        winner_s: to train, judge and draw the winner; 0 where none is chosen.
        n_trials: that the study has.
        n_seeds: of a trial.
        n_refits: runs by which the winner is chosen.
        timeout_s: after which no trial begins.
    """

    start_s: float
    run_s: float
    winner_s: float
    n_trials: int
    n_seeds: int
    n_refits: int
    timeout_s: float | None

    def starts_s(self, n_workers: int) -> float:
        """Workers beside this process start at once, and it starts to train itself only for the refits."""
        return self.start_s * (2 if n_workers > 1 else 1)

    def trials_s(self, n_workers: int) -> float:
        """Of all trials, shared among the workers."""
        trial_s = self.run_s * self.n_seeds
        seconds = math.ceil(self.n_trials / n_workers) * trial_s
        return seconds if self.timeout_s is None else min(seconds, self.timeout_s + trial_s)

    @property
    def refits_s(self) -> float:
        """Of the runs by which the winner is chosen, one after another."""
        return self.n_refits * self.run_s

    def total_s(self, n_workers: int) -> float:
        """From the command's start to its end."""
        return self.starts_s(n_workers) + self.trials_s(n_workers) + self.refits_s + self.winner_s


def dry_run(order: Order, run: RunOne, console: Console) -> Estimate:
    """Prints sampled trials with their parameters and seconds an epoch, and how long the study takes at most. Nothing is kept or tracked."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan = plan_of(order)
    study = optuna.create_study(directions=plan.directions, sampler=build_sampler(plan, 0))
    composer = (
        order.composer if plan.settings.n_jobs == 1 else Composer(plan.space.fixed, threads=1)
    )
    table = Table(
        title=f"{N_TRIED} sampled trials of {plan.name}, about {ENOUGH_S:g} s each",
        title_justify="left",
    )
    for name in ("parameters", "s / epoch", "epochs", "s at most", "settings"):
        table.add_column(name, justify="left" if name == "settings" else "right", overflow="fold")
    tried: list[_Tried] = []
    for _ in range(N_TRIED):
        begun = time.monotonic()
        trial = study.ask()
        words = plan.space.suggest(trial)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        config = composer.config(words)
        tried.append(_try(config, run, begun, is_trial=True))
        settings = brief(list(map(str, words)))
        table.add_row(
            f"{tried[-1].n_parameters:,}",
            f"{tried[-1].epoch_s:.3f}",
            str(tried[-1].n_epochs),
            f"{tried[-1].train_s:.1f}",
            settings,
        )
    console.print(table)
    has_winner = plan.settings.winner.top > 0 and len(plan.objectives) == 1
    # The first trial has brought packages and rows into this process; the others show what each costs beside its epochs.
    each_s = statistics.fmean(one.beside_s for one in tried[1:])
    judged_s = _try(config, run, time.monotonic(), is_trial=False).beside_s if has_winner else 0.0
    run_s = statistics.fmean(one.train_s for one in tried) + each_s
    since = sweeps.handed().since
    estimate = Estimate(
        start_s=(tried[0].begun - since if since is not None else 0.0)
        + max(0.0, tried[0].beside_s - each_s),
        run_s=run_s,
        winner_s=run_s - each_s + judged_s if has_winner else 0.0,
        n_trials=_total(plan),
        n_seeds=plan.settings.repeat,
        n_refits=_n_candidates(plan) * plan.settings.winner.seeds if has_winner else 0,
        timeout_s=plan.settings.timeout_s,
    )
    tell(estimate, plan, console)
    return estimate


def tell(estimate: Estimate, plan: Plan, console: Console) -> None:
    """How long the study takes at most, and for what."""
    n_workers = min(plan.settings.n_jobs, os.cpu_count() or 1)  # more would wait for one another
    workers = f"{plan.settings.n_jobs} workers" if plan.settings.n_jobs > 1 else "one worker"
    parts = [
        f"{time_span(estimate.starts_s(n_workers))} to start",
        f"{time_span(estimate.trials_s(n_workers))} for the trials",
    ]
    if estimate.n_refits:
        again = f"{counted(_n_candidates(plan), 'candidate')} again on {counted(plan.settings.winner.seeds, 'seed')} each"
        parts += [
            f"{time_span(estimate.refits_s)} to train {again}",
            f"{time_span(estimate.winner_s)} for the winner's own run and judgement",
        ]
    console.print(
        f"{counted(estimate.n_trials, 'trial')} on {workers}: about {time_span(estimate.total_s(n_workers))} at most: {', '.join(parts)}. "
        "Early stopping and pruning make it less. Nothing was kept.",
        soft_wrap=True,
    )


@dataclass(frozen=True)
class _Tried:
    """A trial that was trained for a while."""

    n_parameters: int
    begun: float
    epoch_s: float
    n_epochs: int
    """That it would have at most."""
    beside_s: float
    """What it took beside its epochs."""

    @property
    def train_s(self) -> float:
        return self.epoch_s * self.n_epochs


def _try(config: RunConfig, run: RunOne, begun: float, *, is_trial: bool) -> _Tried:
    wandb = config.tracking.wandb.model_copy(update={"mode": "disabled"})
    config = config.model_copy(
        update={"tracking": config.tracking.model_copy(update={"wandb": wandb})}
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        record = run(
            config, folder=Path(folder) / "trial", callbacks=[_enough()], is_trial=is_trial
        )
    epoch_s = _epoch_s(record)
    beside_s = time.monotonic() - begun - epoch_s * len(record.history)
    return _Tried(
        record.n_parameters, begun, epoch_s, int(config.trainer["max_epochs"]), max(0.0, beside_s)
    )


def _epoch_s(record: RunRecord) -> float:
    """Without the first epoch, where there are others: it warms up."""
    seconds = [float(row["seconds"]) for row in record.history]
    return (seconds[-1] - seconds[0]) / (len(seconds) - 1) if len(seconds) > 1 else seconds[0]


def _enough() -> Callback:
    """Ends a training at the end of the epoch in which `ENOUGH_S` are over."""
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import Callback

    class Enough(Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
            self.end = time.monotonic() + ENOUGH_S

        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - lightning's
            if time.monotonic() > self.end:
                trainer.should_stop = True

    return Enough()


def _total(plan: Plan) -> int:
    is_grid = str(plan.settings.sampler["_target_"]).endswith(".GridSampler")
    return (
        min(plan.settings.n_trials, len(plan.space.grid())) if is_grid else plan.settings.n_trials
    )


def _n_candidates(plan: Plan) -> int:
    """As `winner.choose_candidates` takes them, at most: the best trials, and the best one of each choice of a group."""
    groups = group_names()
    n_choices = sum(
        len(d.domain.texts)
        for d in plan.space.dimensions
        if isinstance(d.domain, Choice) and d.key in groups
    )
    return min(_total(plan), plan.settings.winner.top + n_choices)
