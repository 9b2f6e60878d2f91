"""Optuna's trials as reports see them: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from studperf.report.views.study import Trials, TrialView
from studperf.sweeps.space import read
from studperf.sweeps.study import ERROR, RETRY_OF, best_first, pareto

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def view_trials(
    trials: Sequence[FrozenTrial], objectives: Sequence[str], directions: Sequence[str]
) -> Trials:
    """Return the view of a study's trials."""
    views = {trial.number: _view_trial(trial) for trial in trials}
    ranked = [views[trial.number] for trial in best_first(trials, directions)]
    leading = ranked[:1]
    if len(directions) > 1:
        leading = [views[trial.number] for trial in pareto(trials, directions)]
    return Trials(objectives, directions, list(views.values()), ranked, leading)


def _view_trial(trial: FrozenTrial) -> TrialView:
    attributes = trial.user_attrs
    last = None
    if trial.last_step is not None:
        last = (trial.last_step + 1, trial.intermediate_values[trial.last_step])
    # Before a worker has composed its words, a trial has the drawn values alone.
    drawn = [f"{name.split('@')[0]}={value}" for name, value in trial.params.items()]
    return TrialView(
        number=trial.number,
        state=trial.state.name.lower(),
        values=tuple(trial.values or ()),
        last=last,
        settings={name: _plain(value) for name, value in trial.params.items()},
        words=tuple(attributes.get("words") or drawn),
        start=_seconds(trial.datetime_start),
        end=_seconds(trial.datetime_complete),
        worker=str(attributes.get("worker", "?")),
        error=str(attributes.get(ERROR, "")),
        retry_of=attributes.get(RETRY_OF),
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 - of a trial
    """Return a number that was drawn as a word as a number, so that it has a place on an axis."""
    if not isinstance(value, str):
        return value
    found = read(value)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return found if is_number else value


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
