"""Batches of trials that start together, by one of Hydra's launchers or as a stack.

The launchers are those of Hydra's plugins: joblib, submitit, ray.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from studperf.errors import PrunedError, SweepError
from studperf.record.record import RunRecord
from studperf.sweeps.retry import patiently
from studperf.sweeps.study import Next, Plan, Study, finite
from studperf.sweeps.trial import TrialTask
from studperf.sweeps.worker import (
    ORPHANED,
    WAIT_S,
    Job,
    Limits,
    explain,
    explain_values,
    terminable,
)
from studperf.train.job import Job as OneRun

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig
    from optuna.trial import Trial
    from rich.console import Console

    from studperf.sweeps.space import Word
    from studperf.train.job import Runner

    Batch = list[tuple[Trial, list[Word]]]
    End = Sequence[float] | Exception
    """A trial's values, or the error that it ended with."""
    Launch = Callable[[Batch], Sequence[End]]

_NUMBER = "hydra.sweeper.trial"
N_TOGETHER = 32
"""Trials that are chosen at once to be stacked; with more, each would know fewer results."""

Result = TypeVar("Result")


@dataclass
class BatchTask:
    """The function that a launcher runs, perhaps on another machine: one trial.

    The job's words name the trial by its number.
    """

    plan: Plan
    run: Runner

    def __call__(self, cfg: DictConfig) -> list[float]:  # noqa: ARG002 - Hydra's signature
        """Return the trial's values; the launcher hands its errors on."""
        from hydra.core.hydra_config import HydraConfig
        from optuna.samplers import RandomSampler
        from optuna.trial import Trial

        number = int(HydraConfig.get().sweeper.trial)
        study = Study(self.plan)
        # The parameters are drawn already; making a Trial would have them drawn again.
        study.optuna.sampler = RandomSampler()
        found = next(t for t in study.trials() if t.number == number)
        trial = Trial(study.optuna, found._trial_id)  # noqa: SLF001 - there is no public way to a running trial
        words = self.plan.space.suggest(trial)
        job = Job(number, words, trial, is_single=len(self.plan.objectives) == 1)
        task = TrialTask(self.plan, self.run)
        return task(job)


def run_batches(
    study: Study,
    launch: Launch,
    n_at_once: int,
    on_end: Callable[[], object],
    is_wanted: Callable[[], bool] = lambda: True,
) -> str:
    """Launch some trials at a time until the study is complete, and return why it stopped.

    It stops at the study's total, or at a limit before that.

    Raises:
        SweepError: too many trials failed.
        Interrupted: by Ctrl-C or SIGTERM; the running trials were put back.
    """
    settings = study.plan.settings
    limits = Limits(settings.max_failures, settings.patience, settings.timeout_s)
    started = time.monotonic()
    before = {t.number for t in study.trials() if t.state.is_finished()}
    with terminable(), study.attended():
        while is_wanted():
            reason = patiently(lambda: limits.reason(study, before, started))
            if reason:
                return reason

            batch, why = _take_batch(study, n_at_once)
            if not batch:
                if why is Next.DONE:
                    return Next.DONE.value
                time.sleep(WAIT_S)
                continue

            try:
                ends = launch(batch)
            except BaseException:
                for trial, _ in batch:
                    study.put_back(trial)
                raise

            for (trial, _), end in zip(batch, ends, strict=True):
                _record_end(study, trial, end)
            on_end()
    return ORPHANED


def through_launcher(
    study: Study, run: Runner, config: DictConfig | None, context: HydraContext | None
) -> Launch:
    """Return a function that launches trials by the launcher that `hydra/launcher` names.

    Raises:
        SweepError: Hydra is not there.
    """
    from hydra.core.plugins import Plugins

    if config is None or context is None:
        raise SweepError(
            "mode=batch needs Hydra's launcher: start it with python -m studperf.train -m"
        )
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=BatchTask(study.plan, run), config=config
    )

    def launch(batch: Batch) -> list[End]:
        overrides = [_write_overrides(study, trial, words) for trial, words in batch]
        first, _ = batch[0]
        returned = launcher.launch(overrides, initial_job_idx=first.number)
        return [back._return_value for back in returned]  # noqa: SLF001 - the public one prints and raises

    return launch


def together(study: Study, task: TrialTask, console: Console) -> Launch:
    """Return a function that trains trials of one architecture as a stack (`engine=stacked`).

    Those that can't be stacked are trained one after another.
    """
    is_single = len(study.plan.objectives) == 1

    def launch(batch: Batch) -> list[End]:
        jobs = [Job(trial.number, words, trial, is_single) for trial, words in batch]
        runs: list[list[OneRun] | Exception] = [
            _attempt(functools.partial(task.runs, job)) for job in jobs
        ]

        stacked: list[OneRun] = []
        for runs_of_job in runs:
            if isinstance(runs_of_job, list):
                stacked += runs_of_job
        results = iter(task.run.many(stacked, console, is_trial=True))

        ends: list[End] = []
        for job, runs_of_job in zip(jobs, runs, strict=True):
            if isinstance(runs_of_job, Exception):
                ends.append(runs_of_job)
                continue
            mine = [next(results) for _ in runs_of_job]
            records = [result for result in mine if isinstance(result, RunRecord)]
            faults = [result for result in mine if isinstance(result, Exception)]
            if faults:
                ends.append(faults[0])
            else:
                ends.append(_attempt(functools.partial(task.values, job, records)))
        return ends

    return launch


def _attempt(work: Callable[[], Result]) -> Result | Exception:
    """Return what the work returns, or the error that it raises."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - whatever a trial does is its own failure
        return error


def _take_batch(study: Study, n_wanted: int) -> tuple[Batch, Next]:
    """Return up to `n_wanted` trials, and what to do where there are none."""
    batch: Batch = []
    while len(batch) < n_wanted:
        trial = study.take()
        if isinstance(trial, Next):
            return batch, trial
        batch.append((trial, study.plan.space.suggest(trial)))
    return batch, Next.WAIT


def _write_overrides(study: Study, trial: Trial, words: Sequence[Word]) -> list[str]:
    """Return the overrides of a launcher's job: the trial's words, and its number."""
    from studperf.config.line.groups import group_names, write_group

    groups = group_names()
    written = []
    for word in (*study.plan.space.fixed, *words):
        group = word.key.split("@")[0]
        if group in groups:
            written.append(write_group(word.key, word.text))
        elif word.key.startswith("~"):
            written.append(str(word))
        else:
            written.append(f"++{word}")
    return [*written, f"++{_NUMBER}={trial.number}"]


def _record_end(study: Study, trial: Trial, end: End) -> None:
    """Report a trial's end to the study."""
    if isinstance(end, PrunedError):
        study.tell(trial, None)
    elif isinstance(end, Exception):
        study.tell_error(trial.number, explain(end))
    elif not finite(end):
        study.tell_error(trial.number, explain_values(end))
    else:
        study.tell(trial, end)
