"""The loop of a worker, the same in this process, in one of several, and on another machine."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from studperf.errors import DataError, Interrupted, PrunedError, SweepError, counted
from studperf.sweeps.retry import patiently
from studperf.sweeps.study import ERROR, Next, Study, best_first, finite, is_done, is_failure

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

    from studperf.sweeps.space import Word

WAIT_S = 0.2
ORPHANED = "the command that started this worker is gone"
_MIN_FAILURES = 3
_MAX_ERROR = 2000


@dataclass(frozen=True)
class Job:
    """A trial as the function that runs it sees it."""

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
        patiently(lambda: self.trial.report(value, step))
        if patiently(self.trial.should_prune):
            raise PrunedError(f"stopped at epoch {step + 1}: others were better by then")

    def note(self, key: str, value: Any) -> None:  # noqa: ANN401 - JSON
        """Keep a fact about the trial."""
        patiently(lambda: self.trial.set_user_attr(key, value))

    def bound(self, key: str, excess: float) -> None:
        """Keep a constraint; it holds where the excess is not above 0."""
        patiently(lambda: self.trial.set_constraint(key, excess))


Task = Callable[[Job], Sequence[float]]
"""Runs a trial and returns its values, one for each objective."""


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
    best = best_first(done, directions)
    if len(directions) > 1 or not best:
        return False
    n_since = len(done) - 1 - done.index(best[0])
    return n_since >= patience


def work(
    study: Study,
    task: Task,
    *,
    on_end: Callable[[], object] = lambda: None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> str:
    """Take trials and run them until the study is complete, and return why it stopped.

    It stops at the study's total, or at a limit before that.

    Args:
        study: this worker's.
        task: runs one trial.
        on_end: called at each trial's end.
        is_wanted: no further trial is taken once it says no.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM; the running trial was put back.
        SweepError: too many trials failed.
        DataError: the table was refused, as it would be for every trial.
    """
    settings = study.plan.settings
    limits = Limits(settings.max_failures, settings.patience, settings.timeout_s)
    started = time.monotonic()
    before = {t.number for t in patiently(study.trials) if t.state.is_finished()}
    with terminable(), study.attended():
        while is_wanted():
            reason = patiently(lambda: limits.reason(study, before, started))
            if reason:
                return reason

            trial = study.take()
            if trial is Next.DONE:
                return Next.DONE.value
            if isinstance(trial, Next):
                time.sleep(WAIT_S)
                continue
            run_trial(study, trial, task)
            on_end()
    return ORPHANED


def run_trial(study: Study, trial: Trial, task: Task) -> None:
    """Run one trial and report its end to the study, whatever that is."""
    try:
        words = patiently(lambda: study.plan.space.suggest(trial))
        job = Job(trial.number, words, trial, is_single=len(study.plan.objectives) == 1)
        values = list(task(job))
        if finite(values):
            study.tell(trial, values)
        else:
            study.tell_error(trial.number, explain_values(values))
    except PrunedError:
        study.tell(trial, None)
    except (KeyboardInterrupt, SystemExit):
        study.put_back(trial)
        raise
    except DataError as error:
        study.tell_error(trial.number, str(error))
        raise
    except Exception as error:  # noqa: BLE001 - whatever a trial does is its own failure
        # That includes running out of memory.
        study.tell_error(trial.number, explain(error))


def explain_values(values: Sequence[float]) -> str:
    """Return the error of a trial whose values are not all finite numbers."""
    return f"ended with {', '.join(map(str, values))}, which is no number"


def explain(error: Exception) -> str:
    """Return an error as it is kept: its message, then the last places that it came from."""
    head = f"{type(error).__name__}: {error}".strip()
    where = "".join(traceback.format_tb(error.__traceback__)[-3:])
    return f"{head}\n{where}"[:_MAX_ERROR]


@contextmanager
def terminable() -> Iterator[None]:
    """Have SIGTERM interrupt like Ctrl-C, so that the running trial is put back."""
    # Python sets signal handlers in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - of a handler
        raise Interrupted("interrupted by SIGTERM")

    old = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
