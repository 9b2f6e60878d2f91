"""A study: its trials, given to workers one at a time, exactly as many as it wants.

It is opened by name, and refused if its space is not the one that it was begun with.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from studperf.errors import ConfigError, listing
from studperf.sweeps.liveness import set_trial_attr
from studperf.sweeps.retry import patiently
from studperf.sweeps.storage import Storage, hide

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

    from studperf.config.study import SweepConfig
    from studperf.sweeps.space import Space

ERROR = "error"
"""The attribute of a trial that holds what it failed by."""
RETRY_OF = "retry_of"
"""The attribute of a trial that names the one that it does again."""
TRIES = "tries"
"""The attribute of a trial that counts the deaths of its workers."""
BEGUN_AS = "begun_as"
"""The attribute of a study that holds the description it was begun with."""
FACTS = "facts"
"""The attribute of a study that holds what was found out about it as a whole."""
WINNER = "winner"
"""The fact of a study that holds its winner, beside the other candidates."""
_GRID, _PARAMS = "grid", "params"
_NO_MATTER = frozenset({"runs", "progress", "threads", "plots", "tracking", "score_on"})
"""Keys that change nothing about a trial's value."""
_SEEDED = {"TPESampler", "RandomSampler", "GPSampler", "CmaEsSampler", "NSGAIISampler"}
"""Samplers that get a seed for each trial.

So neither a restart nor a second worker draws the same points again.
"""


Direction = Literal["minimize", "maximize"]


class Next(Enum):
    """The next step of a worker for which there is no trial."""

    # The remaining trials run elsewhere; one that is lost is put back, and someone must take it.
    WAIT = "others hold the last trials, and may lose them"
    DONE = "the total is reached"


@dataclass(frozen=True)
class Plan:
    """The settings of a study that a worker needs, as plain values for another process."""

    name: str
    folder: Path
    settings: SweepConfig
    objectives: tuple[str, ...]
    space: Space

    @property
    def directions(self) -> list[Direction]:
        """The direction of each objective, in Optuna's words."""
        return [
            "maximize" if self.settings.maximised(name) else "minimize" for name in self.objectives
        ]

    def describe(self) -> dict[str, Any]:
        """Return the part of the plan that may not change while a study goes on."""
        space = {
            key: value
            for key, value in self.space.describe().items()
            if key.split(".")[0] not in _NO_MATTER
        }
        return {
            "space": space,
            "objectives": list(self.objectives),
            "repeat": str(self.settings.repeat),
        }


class Study:
    """A study in its storage, for one worker or reader.

    Raises:
        ConfigError: the storage can't be opened, or the study was begun with another space.
    """

    def __init__(self, plan: Plan, storage: Storage | None = None) -> None:
        import optuna

        hush()
        self.plan = plan
        settings = plan.settings
        self.storage = storage or Storage(
            settings.storage,
            plan.folder,
            heartbeat_s=settings.heartbeat_s,
            grace_s=settings.grace_s,
        )
        self.liveness = self.storage.liveness()
        self.is_grid = settings.sampler["_target_"].endswith(".GridSampler")
        with self.storage.held(plan.name):
            self.optuna: OptunaStudy = patiently(
                lambda: optuna.create_study(
                    study_name=plan.name,
                    storage=self.storage.optuna,
                    load_if_exists=True,
                    directions=plan.directions,
                    sampler=build_sampler(plan, 0),
                    pruner=build_pruner(plan),
                )
            )
            self._compare()
            self._lay_grid()

    def _compare(self) -> None:
        """Check that the study was begun with this plan, so that no trials of two spaces mix."""
        now = self.plan.describe()
        begun = self.optuna.user_attrs.get(BEGUN_AS)
        if begun is None:
            self.optuna.set_user_attr(BEGUN_AS, now)
        elif begun != now:
            faults = list(_differences(begun, now))
            name, folder = self.plan.name, self.plan.folder
            way_out = (
                "Its trials could not be compared with new ones. Go back to what it was begun "
                "with, give the new study a name of its own "
                f"(hydra.sweeper.study={_next_name(name)}), or put the old one away: "
                f"python -m studperf.sweeps delete {folder}"
            )
            fault = listing(f"The study {name} in {folder} is another one", faults)
            raise ConfigError(f"{fault}\n{way_out}")

    def _lay_grid(self) -> None:
        """Enqueue the combinations of a grid that are not in the storage yet."""
        if not self.is_grid:
            return
        # They wait there from the start: a kill can neither lose one nor have it done twice.
        lines = self.plan.space.grid()
        order = np.random.default_rng(self.plan.settings.seed).permutation(len(lines))
        laid = {t.user_attrs.get(_GRID) for t in self.trials()}
        for i in order[: self.total].tolist():
            if i not in laid:
                attrs = {_GRID: i, _PARAMS: lines[i]}
                self.optuna.enqueue_trial(lines[i], user_attrs=attrs)

    @property
    def total(self) -> int:
        """The number of complete and pruned trials that the study wants."""
        wanted = self.plan.settings.n_trials
        if self.is_grid:
            return min(wanted, len(self.plan.space.grid()))
        return wanted

    def trials(self) -> list[FrozenTrial]:
        """Return all trials by number; they may not be changed."""
        return self.optuna.get_trials(deepcopy=False)

    def n_done(self) -> int:
        """Return the number of complete and pruned trials."""
        return sum(is_done(trial) for trial in self.trials())

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Keep this worker marked as alive while it takes trials.

        A trial that it has not ended when the block ends is lost, and put back by the next worker.
        """
        try:
            yield
        finally:
            self.liveness.leave()

    def take(self) -> Trial | Next:
        """Return a trial for this worker: one that was put back, or a new one.

        There are never more than the total in all: counting and taking happen while no other worker
        does so. A trial that a lost connection left half taken is put back the next time.
        """
        return patiently(self._take_once)

    def _take_once(self) -> Trial | Next:
        """Take a trial without a second attempt where the storage is away."""
        with self.storage.held(self.plan.name):
            # First the lost ones: TPE keeps away from running trials (Optuna 5), so dead ones would
            # repel it.
            self._put_back_lost()
            trials = self.trials()
            states = Counter(trial.state.name for trial in trials)
            done = states["COMPLETE"] + states["PRUNED"]
            if done >= self.total:
                return Next.DONE

            are_all_taken = done + states["RUNNING"] >= self.total
            is_grid_empty = self.is_grid and not states["WAITING"]
            if are_all_taken or is_grid_empty:
                return Next.WAIT if states["RUNNING"] else Next.DONE

            self.optuna.sampler = build_sampler(self.plan, len(trials), old=self.optuna.sampler)
            with warnings.catch_warnings():
                # Optuna wants its heartbeats used from Study.optimize.
                warnings.simplefilter("ignore")
                trial = self.optuna.ask()
            self.liveness.begin(self.optuna, trial)  # type: ignore[arg-type] # both have the id
            return trial

    def _put_back_lost(self) -> None:
        """Put back the running trials whose worker is dead."""
        trials = self.trials()
        running = [trial for trial in trials if trial.state.name == "RUNNING"]
        if running:
            for trial in self.liveness.dead(self.optuna, running):
                self._put_back(trial, trials)

    def put_back(self, trial: Trial) -> None:
        """Give up this worker's own trial, so that this or another worker can take it again."""

        def work() -> None:
            with self.storage.held(self.plan.name):
                mine = next(t for t in self.trials() if t.number == trial.number)
                if mine.state.name == "RUNNING":
                    self._put_back(mine, self.trials(), is_lost=False)

        patiently(work)
        self.liveness.end(trial.number)

    def _put_back(
        self, trial: FrozenTrial, trials: Sequence[FrozenTrial], *, is_lost: bool = True
    ) -> None:
        """Enqueue a copy of a trial, and end the trial itself.

        One whose workers have died too often is not copied, it has failed.
        """
        tries = trial.user_attrs.get(TRIES, 0) + is_lost
        if tries > self.plan.settings.max_retries:
            self._note_error(trial.number, f"its worker died {tries} times")
            self._end(trial.number, None, "FAIL")
            return

        # The copy first: a kill between the two leaves a trial that is found again, and one copy,
        # not two.
        is_copied = any(t.user_attrs.get(RETRY_OF) == trial.number for t in trials)
        if not is_copied:
            # A second death can come before the copy has taken over its parameters.
            params = trial.user_attrs.get(_PARAMS, {}) | trial.params
            attrs = {RETRY_OF: trial.number, TRIES: tries, _PARAMS: params}
            if _GRID in trial.user_attrs:
                attrs[_GRID] = trial.user_attrs[_GRID]
            self.optuna.enqueue_trial(params, user_attrs=attrs)
        self._end(trial.number, None, "FAIL")

    def tell(self, trial: Trial, values: Sequence[float] | None) -> None:
        """End this worker's trial with its values, or as pruned where there are none."""
        state = "PRUNED" if values is None else "COMPLETE"
        self._end_alone(trial.number, values, state)

    def tell_error(self, number: int, error: str) -> None:
        """End a trial as failed, and keep its error."""
        self._note_error(number, error)
        self._end_alone(number, None, "FAIL")

    def _note_error(self, number: int, error: str) -> None:
        mine = next(t for t in patiently(self.trials) if t.number == number)
        if not mine.state.is_finished():
            shown = hide(error, self.plan.settings.storage)
            patiently(lambda: set_trial_attr(self.optuna, mine, ERROR, shown))

    def _end_alone(self, number: int, values: Sequence[float] | None, state: str) -> None:
        """End a trial while no other worker puts back trials that it takes for lost.

        Otherwise a trial could be ended as complete, and its copy be run too.
        """

        def work() -> None:
            with self.storage.held(self.plan.name):
                self._end(number, values, state)

        patiently(work)
        self.liveness.end(number)

    def _end(self, number: int, values: Sequence[float] | None, state: str) -> None:
        from optuna.trial import TrialState

        # A trial that another worker took for lost meanwhile, and put back, stays as it was left.
        self.optuna.tell(number, values, state=TrialState[state], skip_if_finished=True)

    def facts(self) -> dict[str, Any]:
        """Return what was found out about the study as a whole, such as its winner."""
        return dict(json.loads(self.optuna.user_attrs.get(FACTS, "{}")))

    def add_facts(self, **facts: Any) -> None:  # noqa: ANN401 - JSON
        """Add to the facts."""

        def work() -> None:
            text = json.dumps(self.facts() | facts)
            self.optuna.set_user_attr(FACTS, text)

        patiently(work)


def is_done(trial: FrozenTrial) -> bool:
    """Return True if a trial counts for the total."""
    return trial.state.name in ("COMPLETE", "PRUNED")


def is_failure(trial: FrozenTrial) -> bool:
    """Return True if a trial failed by itself; one whose worker died was put back instead."""
    return trial.state.name == "FAIL" and ERROR in trial.user_attrs


def best_first(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> list[FrozenTrial]:
    """Return the complete trials that keep the constraints, best first by the first objective."""
    kept = [t for t in trials if t.state.name == "COMPLETE" and is_feasible(t)]
    sign = -1 if directions[0] == "maximize" else 1
    return sorted(kept, key=lambda t: (sign * t.values[0], t.number))


def is_feasible(trial: FrozenTrial) -> bool:
    """Return True if a trial keeps all constraints."""
    return all(value <= 0 for value in trial.user_attrs.get("over", {}).values())


def pareto(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> list[FrozenTrial]:
    """Return the complete trials that no other one beats in every objective."""
    kept = best_first(trials, directions)
    signs = [-1 if direction == "maximize" else 1 for direction in directions]
    # In a point the smaller value is always the better one.
    points = []
    for trial in kept:
        signed = zip(signs, trial.values, strict=True)
        points.append(tuple(sign * value for sign, value in signed))

    def is_beaten(point: tuple[float, ...]) -> bool:
        for other in points:
            is_as_good = all(o <= p for o, p in zip(other, point, strict=True))
            if other != point and is_as_good:
                return True
        return False

    return [trial for trial, point in zip(kept, points, strict=True) if not is_beaten(point)]


def build_sampler(plan: Plan, n_before: int, *, old: BaseSampler | None = None) -> BaseSampler:
    """Return the sampler for the trial after `n_before` others."""
    from optuna.samplers import RandomSampler

    node = plan.settings.sampler
    name = str(node["_target_"]).rsplit(".", 1)[-1]
    if name == "GridSampler":
        # The grid's combinations wait in the storage; nothing is drawn.
        return RandomSampler(seed=plan.settings.seed)
    if old is not None and name not in _SEEDED:
        return old

    seed = plan.settings.seed
    if name in _SEEDED:
        sequence = np.random.SeedSequence([plan.settings.seed, n_before])
        seed = int(sequence.generate_state(1)[0])
    with warnings.catch_warnings():
        # Optuna marks several samplers and options as experimental.
        warnings.simplefilter("ignore")
        sampler: BaseSampler = _build(node, seed=seed)
    return sampler


def build_pruner(plan: Plan) -> BasePruner:
    """Return the pruner that the settings name."""
    node = dict(plan.settings.pruner)
    pruner: BasePruner = _build(node)
    return pruner


def _build(node: Mapping[str, Any], **more: Any) -> Any:  # noqa: ANN401 - what the node names
    """Return an object of the class that a node of the configuration names."""
    module, _, name = str(node["_target_"]).rpartition(".")
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    try:
        return getattr(import_module(module), name)(**arguments, **more)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"{node['_target_']}: {error}") from error


def _differences(begun: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Yield what differs from the beginning, in the words of a command line."""
    old, new = _as_words(begun), _as_words(now)
    for name in {**old, **new}:
        key, _, where = name.partition("@")
        branch = f" (of {where})" if where else ""
        if name not in new:
            yield f"it was begun with {key}={old[name]}{branch}, which is now left out"
        elif name not in old:
            yield f"it was begun without {key}{branch}, which is now {new[name]}"
        elif old[name] != new[name]:
            yield f"it was begun with {key}={old[name]}{branch}, which is now {new[name]}"


def _as_words(described: dict[str, Any]) -> dict[str, Any]:
    """Return a described plan as key -> value of a command line."""
    words = dict(described["space"])
    for key in ("objectives", "repeat"):
        words[f"hydra.sweeper.{key}"] = described[key]
    return words


def _next_name(name: str) -> str:
    """Return the name with its number at the end raised by one; `-2` where it has none."""
    stem, dash, number = name.rpartition("-")
    if dash and number.isdigit():
        return f"{stem}-{int(number) + 1}"
    return f"{name}-2"


def hush() -> None:
    """Keep Optuna's own log lines off the terminal."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def finite(values: Sequence[float]) -> bool:
    """Return True if all values are finite numbers."""
    return all(math.isfinite(value) for value in values)
