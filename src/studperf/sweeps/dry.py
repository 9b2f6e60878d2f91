"""What a study would take: a few sampled trials are composed, built, and trained for one epoch each."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from studperf.sweeps.board import short, time_span
from studperf.sweeps.crew import plan_of
from studperf.sweeps.study import build_sampler

if TYPE_CHECKING:
    from studperf.sweeps import Run
    from studperf.sweeps.door import Order

N_TRIED = 5


def dry_run(order: Order, run: Run, console: Console) -> float:
    """Prints sampled trials with their parameters and seconds an epoch, and how long the study takes at most.

    Returns:
        Seconds that a trial takes at most, on average.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan = plan_of(order)
    study = optuna.create_study(directions=plan.directions, sampler=build_sampler(plan, 0))
    table = Table(title=f"{N_TRIED} sampled trials of {plan.name}, one epoch each", title_justify="left")
    for name in ("parameters", "s / epoch", "epochs", "s at most", "settings"):
        table.add_column(name, justify="left" if name == "settings" else "right", overflow="fold")
    seconds = []
    for _ in range(N_TRIED):
        trial = study.ask()
        words = plan.space.suggest(trial)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        config = order.composer.config(words)
        n_epochs = int(config.trainer["max_epochs"])
        config = config.model_copy(update={"trainer": config.trainer | {"max_epochs": 1}})
        with tempfile.TemporaryDirectory() as folder:
            record = run(config, folder=Path(folder) / "trial", is_trial=True)
        epoch_s = float(record.history[0]["seconds"])
        seconds.append(epoch_s * n_epochs * plan.settings.repeat)
        cells = (
            f"{record.n_parameters:,}",
            f"{epoch_s:.3f}",
            str(n_epochs),
            f"{seconds[-1]:.1f}",
            " ".join(short(str(word)) for word in words),
        )
        table.add_row(*cells)
    console.print(table)
    total = statistics.fmean(seconds) * plan.settings.n_trials / plan.settings.n_jobs
    workers = f"{plan.settings.n_jobs} workers" if plan.settings.n_jobs > 1 else "one worker"
    console.print(
        f"{plan.settings.n_trials} trials on {workers}: about {time_span(total)} at most; early stopping and pruning make it less. "
        "Nothing was kept.",
        soft_wrap=True,
    )
    return statistics.fmean(seconds)
