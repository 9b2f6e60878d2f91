"""The time that a study takes at most, estimated from a few short trials.

Each of them is trained for a second, and one is judged as the winner would be.
"""

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

from studperf.config.console import print_line
from studperf.config.line.groups import group_names
from studperf.errors import counted
from studperf.report.views.study import brief
from studperf.sweeps.compose import Composer
from studperf.sweeps.space import Choice
from studperf.sweeps.storage import quiet_optuna
from studperf.sweeps.study import build_sampler
from studperf.sweeps.view.live_table import time_span
from studperf.sweeps.workers import plan_of

if TYPE_CHECKING:
    from studperf.config.run import RunConfig
    from studperf.record.record import RunRecord
    from studperf.record.run import Row, Run
    from studperf.sweeps.request import Order
    from studperf.sweeps.study import Plan
    from studperf.train.runner import RunOne

N_TRIED = 5
ENOUGH_S = 1.0
"""Seconds of training after which the pace of the epochs is known; the first one is slower."""


@dataclass(frozen=True)
class Estimate:
    """Seconds that the parts of a study take at most, with every trial to its last epoch.

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
        """Return the seconds before training: of this process, and of the workers beside it.

        Workers start all at once, and this process starts to train only for the refits.
        """
        n_starts = 2 if n_workers > 1 else 1
        return self.start_s * n_starts

    def trials_s(self, n_workers: int) -> float:
        """Return the seconds of all trials, shared among the workers."""
        trial_s = self.run_s * self.n_seeds
        seconds = math.ceil(self.n_trials / n_workers) * trial_s
        if self.timeout_s is None:
            return seconds
        # The trials that run when the time is up are not stopped.
        return min(seconds, self.timeout_s + trial_s)

    @property
    def refits_s(self) -> float:
        """Seconds of the runs by which the winner is chosen, one after another."""
        return self.n_refits * self.run_s

    def total_s(self, n_workers: int) -> float:
        """Return the seconds from the command's start to its end."""
        return self.starts_s(n_workers) + self.trials_s(n_workers) + self.refits_s + self.winner_s


def dry_run(order: Order, run: RunOne, console: Console, *, begun: float | None = None) -> Estimate:
    """Print sampled trials with their cost, and the time that the study takes at most.

    Nothing is kept or tracked. `begun` is the command's start, by the monotonic clock.
    """
    import optuna

    quiet_optuna()
    plan = plan_of(order)
    study = optuna.create_study(directions=plan.directions, sampler=build_sampler(plan, 0))
    if plan.settings.n_jobs == 1:
        composer = order.composer
    else:
        composer = Composer(plan.space.fixed, threads=1)

    table = Table(
        title=f"{N_TRIED} sampled trials of {plan.name}, about {ENOUGH_S:g} s each",
        title_justify="left",
    )
    for name in ("parameters", "s / epoch", "epochs", "s at most", "settings"):
        table.add_column(name, justify="left" if name == "settings" else "right", overflow="fold")

    tried: list[_Tried] = []
    for _ in range(N_TRIED):
        started = time.monotonic()
        trial = study.ask()
        words = plan.space.suggest(trial)
        # As failed, since TPE draws away from trials that seem to run (Optuna 5).
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        config = composer.config(words)
        one = _try(config, run, started, is_trial=True)
        tried.append(one)
        table.add_row(
            f"{one.n_parameters:,}",
            f"{one.epoch_s:.3f}",
            str(one.n_epochs),
            f"{one.train_s:.1f}",
            brief(list(map(str, words))),
        )
    console.print(table)

    has_winner = plan.settings.winner.top > 0 and len(plan.objectives) == 1
    # The first trial has brought packages and rows into this process; the others show what each
    # costs beside its epochs.
    each_s = statistics.fmean(one.beside_s for one in tried[1:])
    run_s = statistics.fmean(one.train_s for one in tried) + each_s

    winner_s = 0.0
    n_refits = 0
    if has_winner:
        judged = _try(config, run, time.monotonic(), is_trial=False)
        winner_s = run_s - each_s + judged.beside_s
        n_refits = _n_candidates(plan) * plan.settings.winner.seeds

    first = tried[0]
    before_s = 0.0 if begun is None else first.begun - begun
    estimate = Estimate(
        start_s=before_s + max(0.0, first.beside_s - each_s),
        run_s=run_s,
        winner_s=winner_s,
        n_trials=_total(plan),
        n_seeds=plan.settings.repeat,
        n_refits=n_refits,
        timeout_s=plan.settings.timeout_s,
    )
    show_estimate(estimate, plan, console)
    return estimate


def show_estimate(estimate: Estimate, plan: Plan, console: Console) -> None:
    """Print the time that the study takes at most, and its parts."""
    # More workers than cores would wait for one another.
    n_workers = min(plan.settings.n_jobs, os.cpu_count() or 1)
    workers = f"{plan.settings.n_jobs} workers" if plan.settings.n_jobs > 1 else "one worker"
    parts = [
        f"{time_span(estimate.starts_s(n_workers))} to start",
        f"{time_span(estimate.trials_s(n_workers))} for the trials",
    ]
    if estimate.n_refits:
        candidates = counted(_n_candidates(plan), "candidate")
        seeds = counted(plan.settings.winner.seeds, "seed")
        parts += [
            f"{time_span(estimate.refits_s)} to train {candidates} again on {seeds} each",
            f"{time_span(estimate.winner_s)} for the winner's own run and judgement",
        ]
    trials = counted(estimate.n_trials, "trial")
    total = time_span(estimate.total_s(n_workers))
    print_line(
        console,
        f"{trials} on {workers}: about {total} at most: {', '.join(parts)}. "
        "Early stopping and pruning make it less. Nothing was kept.",
    )


@dataclass(frozen=True)
class _Tried:
    """A trial that was trained for a while."""

    n_parameters: int
    begun: float
    epoch_s: float
    n_epochs: int
    """Epochs that it would have at most."""
    beside_s: float
    """Seconds that it took beside its epochs."""

    @property
    def train_s(self) -> float:
        return self.epoch_s * self.n_epochs


def _try(config: RunConfig, run: RunOne, begun: float, *, is_trial: bool) -> _Tried:
    """Train a configuration for a while, untracked, in a folder that is thrown away."""
    wandb = config.tracking.wandb.model_copy(update={"mode": "disabled"})
    tracking = config.tracking.model_copy(update={"wandb": wandb})
    config = config.model_copy(update={"tracking": tracking})
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        record = run(
            config, folder=Path(folder) / "trial", follow=_stop_when_known, is_trial=is_trial
        )
    epoch_s = _epoch_s(record)
    beside_s = time.monotonic() - begun - epoch_s * len(record.history)
    return _Tried(
        n_parameters=record.n_parameters,
        begun=begun,
        epoch_s=epoch_s,
        n_epochs=int(config.trainer["max_epochs"]),
        beside_s=max(0.0, beside_s),
    )


def _epoch_s(record: RunRecord) -> float:
    """Return the seconds of an epoch; the first one, which warms up, counts only if alone."""
    seconds = [float(row["seconds"]) for row in record.history]
    if len(seconds) == 1:
        return seconds[0]
    return (seconds[-1] - seconds[0]) / (len(seconds) - 1)


def _stop_when_known(run: Run, row: Row) -> None:
    """End a training with the epoch in which `ENOUGH_S` are over."""
    run.is_over = row["seconds"] > ENOUGH_S


def _total(plan: Plan) -> int:
    """Return the number of trials that the study has; a grid may have fewer than were asked for."""
    is_grid = str(plan.settings.sampler["_target_"]).endswith(".GridSampler")
    if is_grid:
        return min(plan.settings.n_trials, len(plan.space.grid()))
    return plan.settings.n_trials


def _n_candidates(plan: Plan) -> int:
    """Return how many candidates `winner.choose_candidates` takes at most.

    They are the best trials, and the best one of each choice of a group.
    """
    groups = group_names()
    n_choices = 0
    for dimension in plan.space.dimensions:
        if isinstance(dimension.domain, Choice) and dimension.key in groups:
            n_choices += len(dimension.domain.texts)
    return min(_total(plan), plan.settings.winner.top + n_choices)
