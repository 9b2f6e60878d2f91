"""Several trials at once, as one of Hydra's launchers (joblib, submitit, ray) or a stack wants them: taken, launched, waited for and told."""

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
from studperf.sweeps.worker import ORPHANED, WAIT_S, Job, Limits, explain, terminable
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
    """A trial's values, or what it ended with."""
    Launch = Callable[[Batch], Sequence[End]]

_NUMBER = "hydra.sweeper.trial"
N_TOGETHER = 32
"""Trials that are chosen at once to be stacked: more would be chosen in the light of less."""

Result = TypeVar("Result")


@dataclass
class BatchTask:
    """What a launcher runs, perhaps on another machine: the trial that the job's words name."""

    plan: Plan
    run: Runner

    def __call__(self, cfg: DictConfig) -> list[float]:  # noqa: ARG002 - Hydra's; the trial's words are in the storage
        """The trial's values; its errors are the launcher's to hand on."""
        from hydra.core.hydra_config import HydraConfig
        from optuna.samplers import RandomSampler
        from optuna.trial import Trial

        number = int(HydraConfig.get().sweeper.trial)
        study = Study(self.plan)
        study.optuna.sampler = (
            RandomSampler()
        )  # the parameters are drawn; making a Trial would have them drawn again
        found = next(t for t in study.trials() if t.number == number)
        trial = Trial(study.optuna, found._trial_id)  # noqa: SLF001 - there is no public way to a running trial
        words = self.plan.space.suggest(trial)
        return list(
            TrialTask(self.plan, self.run)(
                Job(number, words, trial, is_single=len(self.plan.objectives) == 1)
            )
        )


def run_batches(
    study: Study,
    launch: Launch,
    n_at_once: int,
    on_told: Callable[[], object],
    is_wanted: Callable[[], bool] = lambda: True,
) -> str:
    """Launches some trials at a time until the study has its total or a limit is reached; returns why it stopped.

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
            if reason := patiently(lambda: limits.reason(study, before, started)):
                return reason
            batch, why = _take(study, n_at_once)
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
                _tell(study, trial, end)
            on_told()
    return ORPHANED


def through_launcher(
    study: Study, run: Runner, config: DictConfig | None, context: HydraContext | None
) -> Launch:
    """Launches by what `hydra/launcher` names.

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
        returned = launcher.launch(
            [_words(study, trial, words) for trial, words in batch],
            initial_job_idx=batch[0][0].number,
        )
        return [back._return_value for back in returned]  # noqa: SLF001 - the public one prints and raises

    return launch


def together(study: Study, task: TrialTask, console: Console) -> Launch:
    """Trains trials of one architecture as a stack (`engine=stacked`), and those that can't be stacked one after another."""
    is_single = len(study.plan.objectives) == 1

    def launch(batch: Batch) -> list[End]:
        jobs = [Job(trial.number, words, trial, is_single) for trial, words in batch]
        runs: list[list[OneRun] | Exception] = [
            _attempt(functools.partial(task.runs, job)) for job in jobs
        ]
        results = iter(
            task.run.many(
                [run for several in runs if isinstance(several, list) for run in several],
                console,
                is_trial=True,
            )
        )
        ends: list[End] = []
        for job, several in zip(jobs, runs, strict=True):
            mine = [next(results) for _ in several] if isinstance(several, list) else [several]
            records = [result for result in mine if isinstance(result, RunRecord)]
            faults = [result for result in mine if isinstance(result, Exception)]
            ends.append(
                faults[0] if faults else _attempt(functools.partial(task.values, job, records))
            )
        return ends

    return launch


def _attempt(work: Callable[[], Result]) -> Result | Exception:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - whatever a trial does is its own failure
        return error


def _take(study: Study, n_wanted: int) -> tuple[Batch, Next]:
    """As many trials as there are for this worker, and, where there is none, what to do."""
    batch: Batch = []
    while len(batch) < n_wanted:
        trial = study.take()
        if isinstance(trial, Next):
            return batch, trial
        batch.append((trial, study.plan.space.suggest(trial)))
    return batch, Next.WAIT


def _words(study: Study, trial: Trial, words: Sequence[Word]) -> list[str]:
    from studperf.config.line.overrides import group_names, write_group

    groups = group_names()
    written = []
    for word in (*study.plan.space.fixed, *words):
        if word.key.split("@")[0] in groups:
            written.append(write_group(word.key, word.text))
        elif word.key.startswith("~"):
            written.append(str(word))
        else:
            written.append(f"++{word}")
    return [*written, f"++{_NUMBER}={trial.number}"]


def _tell(study: Study, trial: Trial, end: End) -> None:
    if isinstance(end, PrunedError):
        study.tell(trial, None)
    elif isinstance(end, Exception):
        study.tell_error(trial.number, explain(end))
    elif not finite(end):
        study.tell_error(trial.number, f"ended with {', '.join(map(str, end))}, which is no number")
    else:
        study.tell(trial, end)
