"""The loop of a worker, the same in this process, in one of several, and on another machine."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from studperf.errors import DataError, PrunedError, SweepError, counted
from studperf.sweeps.retry import with_retries
from studperf.sweeps.study import ERROR, Next, Study, are_finite, is_done, is_failure, rank_trials
from studperf.train.interrupt import sigterm_interrupts

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

    from studperf.sweeps.space import Word

WAIT_S = 0.2
ORPHANED = "the command that started this worker is gone"
_MIN_FAILURES = 3
_MAX_ERROR = 2000


@dataclass(frozen=True)
class Attempt:
    """A trial that this worker has taken, as the function that runs it sees it."""

    number: int
    words: list[Word]
    trial: Trial
    is_single: bool
    """The study has one objective; only then can a trial be pruned."""

    def report(self, value: float, step: int) -> None:
        """Report the objective at a step to the pruner.

        Raises:
            PrunedError: others were better at this step.
        """
        # Optuna raises NotImplementedError for a study of several objectives.
        if not self.is_single:
            return
        with_retries(lambda: self.trial.report(value, step))
        if with_retries(self.trial.should_prune):
            raise PrunedError(f"stopped at epoch {step + 1}: others were better by then")

    def note(self, key: str, value: Any) -> None:  # noqa: ANN401 - JSON
        """Keep a fact about the trial."""
        with_retries(lambda: self.trial.set_user_attr(key, value))

    def bound(self, key: str, excess: float) -> None:
        """Keep a constraint, which is met where the excess is not above 0."""
        with_retries(lambda: self.trial.set_constraint(key, excess))


Task = Callable[[Attempt], Sequence[float]]
"""Runs a trial and returns its values, one for each objective."""
End: TypeAlias = "Sequence[float] | Exception"
"""A trial's values, or the error that it ended with."""
Launch = Callable[[Sequence[Attempt]], Sequence[End]]
"""Runs trials that start together, and returns the end of each."""
Result = TypeVar("Result")


def sequential_launch(task: Task) -> Launch:
    """Return a function that runs trials here, one after another."""

    def launch(attempts: Sequence[Attempt]) -> list[End]:
        return [result_or_error(partial(task, attempt)) for attempt in attempts]

    return launch


def result_or_error(work: Callable[[], Result]) -> Result | Exception:
    """Return what the work returns, or the error that it raises."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - whatever a trial does is its own failure
        # That includes running out of memory.
        return error


@dataclass
class Limits:
    """The limits at which a worker stops before the total is reached."""

    max_failures: float
    patience: int | None
    timeout_s: float | None

    def reason(self, study: Study, before: set[int], started: float) -> str | None:
        """Return the reason to stop; None to go on.

        Raises:
            SweepError: too many of the trials since the start have failed.
        """
        if self.timeout_s is not None and time.monotonic() - started > self.timeout_s:
            return f"the time is up (timeout_s={self.timeout_s:g})"
        trials = study.trials()
        ended = [t for t in trials if is_done(t) or is_failure(t)]
        now = [t for t in ended if t.number not in before]
        failures = [t for t in now if is_failure(t)]
        if len(failures) >= _MIN_FAILURES and len(failures) > self.max_failures * len(now):
            last = failures[-1]
            raise SweepError(
                f"{len(failures)} of the last {len(now)} trials failed, "
                f"more than max_failures={self.max_failures:g} allows. "
                f"Trial {last.number}: {last.user_attrs[ERROR].splitlines()[0]}"
            )

        if self.patience is not None and is_stale(trials, study.plan.directions, self.patience):
            return (
                f"nothing better for {counted(self.patience, 'trial')} (patience={self.patience})"
            )
        return None


def is_stale(trials: Sequence[FrozenTrial], directions: Sequence[str], patience: int) -> bool:
    """Return True if `patience` trials have ended since the best one did."""
    done = [t for t in trials if is_done(t)]
    done.sort(key=lambda t: (t.datetime_complete, t.number))
    best = rank_trials(done, directions)
    if len(directions) > 1 or not best:
        return False
    n_since = len(done) - 1 - done.index(best[0])
    return n_since >= patience


def work(
    study: Study,
    launch: Launch,
    *,
    n_at_once: int = 1,
    on_end: Callable[[], object] = lambda: None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> str:
    """Take trials and run them until the study is complete, and return why it stopped.

    It stops at the study's total, or at a limit before that.

    Args:
        study: this worker's.
        launch: runs the trials that were taken.
        n_at_once: trials to take before they are launched; each knows no result of the others.
        on_end: called when the trials that were launched have ended.
        is_wanted: no further trial is taken once it says no.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM; the running trials were put back.
        SweepError: too many trials failed.
        DataError: the table was refused, as it would be for every trial.
    """
    settings = study.plan.settings
    limits = Limits(settings.max_failures, settings.patience, settings.timeout_s)
    started = time.monotonic()
    before = {t.number for t in with_retries(study.trials) if t.state.is_finished()}
    with sigterm_interrupts(), study.attended():
        while is_wanted():
            reason = with_retries(lambda: limits.reason(study, before, started))
            if reason:
                return reason

            attempts: list[Attempt] = []
            try:
                why = _take(study, n_at_once, attempts)
                ends = launch(attempts) if attempts else []
            except BaseException:
                for attempt in attempts:
                    study.put_back(attempt.trial)
                raise

            if attempts:
                _report_ends(study, attempts, ends)
                on_end()
            elif why is Next.DONE:
                return Next.DONE.value
            else:
                time.sleep(WAIT_S)
    return ORPHANED


def _take(study: Study, n_wanted: int, attempts: list[Attempt]) -> Next:
    """Take up to so many trials, and return what to do where there are none."""
    is_single = len(study.plan.objectives) == 1
    while len(attempts) < n_wanted:
        trial = study.take()
        if isinstance(trial, Next):
            return trial
        attempt = Attempt(trial.number, [], trial, is_single)
        attempts.append(attempt)
        # At once, since the study's sampler is seeded anew for each trial.
        suggest = partial(study.plan.space.suggest, trial)
        words = result_or_error(partial(with_retries, suggest))
        if isinstance(words, Exception):
            attempts.remove(attempt)
            study.tell_error(trial.number, explain(words))
        else:
            attempt.words.extend(words)
    return Next.WAIT


def _report_ends(study: Study, attempts: Sequence[Attempt], ends: Sequence[End]) -> None:
    """Report the ends of trials to the study, whatever they are.

    Raises:
        DataError: a table was refused.
    """
    refusal: DataError | None = None
    for attempt, end in zip(attempts, ends, strict=True):
        if isinstance(end, PrunedError):
            study.tell(attempt.trial, None)
        elif isinstance(end, DataError):
            study.tell_error(attempt.number, str(end))
            refusal = end
        elif isinstance(end, Exception):
            study.tell_error(attempt.number, explain(end))
        elif are_finite(end):
            study.tell(attempt.trial, end)
        else:
            study.tell_error(attempt.number, explain_values(end))
    if refusal is not None:
        raise refusal


def explain_values(values: Sequence[float]) -> str:
    """Return the error of a trial whose values are not all finite numbers."""
    return f"ended with {', '.join(map(str, values))}, which is no number"


def explain(error: Exception) -> str:
    """Return an error as it is kept: its message, then the last places that it came from."""
    head = f"{type(error).__name__}: {error}".strip()
    where = "".join(traceback.format_tb(error.__traceback__)[-3:])
    return f"{head}\n{where}"[:_MAX_ERROR]
