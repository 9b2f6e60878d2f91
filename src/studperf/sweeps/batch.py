"""Trials through one of Hydra's launchers (joblib, submitit, ray): a batch is taken, launched, waited for and told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studperf.errors import PrunedError, SweepError
from studperf.sweeps.patience import patiently
from studperf.sweeps.study import Next, Plan, Study, finite
from studperf.sweeps.trial import TrialTask
from studperf.sweeps.worker import Job, Limits, explain, terminable

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext
    from omegaconf import DictConfig
    from optuna.trial import Trial

    from studperf.sweeps import Run
    from studperf.sweeps.space import Word

_NUMBER = "hydra.sweeper.trial"


@dataclass
class BatchTask:
    """What a launcher runs, perhaps on another machine: the trial that the job's words name."""

    plan: Plan
    run: Run

    def __call__(self, cfg: DictConfig) -> list[float]:  # noqa: ARG002 - Hydra's; the trial's words are in the storage
        """The trial's values; its errors are the launcher's to hand on."""
        from hydra.core.hydra_config import HydraConfig
        from optuna.samplers import RandomSampler
        from optuna.trial import Trial

        number = int(HydraConfig.get().sweeper.trial)
        study = Study(self.plan)
        study.optuna.sampler = RandomSampler()  # the parameters are drawn; making a Trial would have them drawn again
        found = next(t for t in study.trials() if t.number == number)
        trial = Trial(study.optuna, found._trial_id)  # noqa: SLF001 - there is no public way to a running trial
        words = self.plan.space.suggest(trial)
        return list(TrialTask(self.plan, self.run)(Job(number, words, trial, is_single=len(self.plan.objectives) == 1)))


def run_batches(study: Study, run: Run, config: DictConfig | None, context: HydraContext | None, on_told: Callable[[], None]) -> str:
    """Launches `n_jobs` trials at a time until the study has its total or a limit is reached; returns why it stopped.

    Raises:
        SweepError: too many trials failed.
        Interrupted: by Ctrl-C or SIGTERM; the running trials were put back.
    """
    from hydra.core.plugins import Plugins

    if config is None or context is None:
        raise SweepError("mode=batch needs Hydra's launcher: start it with python -m studperf.train -m")
    launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=BatchTask(study.plan, run), config=config)
    settings = study.plan.settings
    limits = Limits(settings.max_failures, settings.patience, settings.timeout_s)
    started = time.monotonic()
    before = {t.number for t in study.trials() if t.state.is_finished()}
    with terminable(), study.attended():
        while True:
            if reason := patiently(lambda: limits.reason(study, before, started)):
                return reason
            batch = _take(study)
            if not batch:
                return Next.DONE.value
            try:
                returned = launcher.launch([_words(study, trial, words) for trial, words in batch], initial_job_idx=batch[0][0].number)
            except BaseException:
                for trial, _ in batch:
                    study.put_back(trial)
                raise
            for (trial, _), back in zip(batch, returned, strict=True):
                _tell(study, trial, back)
            on_told()


def _take(study: Study) -> list[tuple[Trial, list[Word]]]:
    batch: list[tuple[Trial, list[Word]]] = []
    while len(batch) < study.plan.settings.n_jobs:
        trial = study.take()
        if isinstance(trial, Next):
            break
        batch.append((trial, study.plan.space.suggest(trial)))
    return batch


def _words(study: Study, trial: Trial, words: Sequence[Word]) -> list[str]:
    from studperf.config.overrides import group_names

    groups = group_names()
    plus = [str(word) if word.key.split("@")[0] in groups else f"++{word}" for word in (*study.plan.space.fixed, *words)]
    return [*plus, f"++{_NUMBER}={trial.number}"]


def _tell(study: Study, trial: Trial, returned: JobReturn) -> None:
    value: Any = returned._return_value  # noqa: SLF001 - the public one prints and raises
    if isinstance(value, PrunedError):
        study.tell(trial, None)
    elif isinstance(value, Exception):
        study.tell_error(trial.number, explain(value))
    elif not finite(value):
        study.tell_error(trial.number, f"ended with {', '.join(map(str, value))}, which is no number")
    else:
        study.tell(trial, value)
