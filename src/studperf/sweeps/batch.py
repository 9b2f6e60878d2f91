"""Batches of trials that start together, by one of Hydra's launchers or as a stack.

The launchers are those of Hydra's plugins: joblib, submitit, ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from studperf.errors import SweepError
from studperf.record.record import RunRecord
from studperf.sweeps.study import Plan, Study
from studperf.sweeps.trial import TrialTask
from studperf.sweeps.worker import Attempt, result_or_error

if TYPE_CHECKING:
    from hydra.types import HydraContext
    from omegaconf import DictConfig
    from rich.console import Console

    from studperf.record.run import Job
    from studperf.sweeps.worker import End, Launch
    from studperf.train.runner import Result, Runner

_NUMBER = "hydra.sweeper.trial"
N_TOGETHER = 32
"""Trials that are chosen at once to be stacked; with more, each would know fewer results."""


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
        attempt = Attempt(number, words, trial, is_single=len(self.plan.objectives) == 1)
        task = TrialTask(self.plan, self.run)
        return task(attempt)


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

    def launch(attempts: Sequence[Attempt]) -> list[End]:
        overrides = [_write_overrides(study, attempt) for attempt in attempts]
        returned = launcher.launch(overrides, initial_job_idx=attempts[0].number)
        return [back._return_value for back in returned]  # noqa: SLF001 - the public one prints and raises

    return launch


def together(task: TrialTask, console: Console) -> Launch:
    """Return a function that trains trials of one architecture as a stack (`engine=stacked`).

    Those that can't be stacked are trained one after another.
    """

    def launch(attempts: Sequence[Attempt]) -> list[End]:
        jobs_of = [result_or_error(partial(task.jobs, attempt)) for attempt in attempts]
        jobs: list[Job] = []
        for mine in jobs_of:
            if not isinstance(mine, Exception):
                jobs += mine
        results = iter(task.run.many(jobs, console, is_trial=True))

        ends: list[End] = []
        for attempt, mine in zip(attempts, jobs_of, strict=True):
            if isinstance(mine, Exception):
                ends.append(mine)
            else:
                own = [next(results) for _ in mine]
                ends.append(result_or_error(partial(_values, task, attempt, own)))
        return ends

    return launch


def _values(task: TrialTask, attempt: Attempt, results: Sequence[Result]) -> list[float]:
    """Return a trial's values; raise the first error that one of its runs ended with."""
    records: list[RunRecord] = []
    for result in results:
        if isinstance(result, Exception):
            raise result
        records.append(result)
    return task.values(attempt, records)


def _write_overrides(study: Study, attempt: Attempt) -> list[str]:
    """Return the overrides of a launcher's job: the trial's words, and its number."""
    from studperf.config.line.groups import group_names, write_group

    groups = group_names()
    written = []
    for word in (*study.plan.space.fixed, *attempt.words):
        group = word.key.split("@")[0]
        if group in groups:
            written.append(write_group(word.key, word.text))
        elif word.key.startswith("~"):
            written.append(str(word))
        else:
            written.append(f"++{word}")
    return [*written, f"++{_NUMBER}={attempt.number}"]
