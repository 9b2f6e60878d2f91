"""A study: opened by name, compared with what it was begun as, and asked for trials one at a time, exactly as many as it wants."""

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
from studperf.sweeps.retry import patiently
from studperf.sweeps.storage import Storage, hide, set_trial_attr

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

    from studperf.config.study import SweepConfig
    from studperf.sweeps.space import Space

ERROR, RETRY_OF, TRIES = "error", "retry_of", "tries"
BEGUN_AS, FACTS = "begun_as", "facts"
"""Attributes of a study."""
_GRID, _PARAMS = "grid", "params"
_NO_MATTER = frozenset({"runs", "progress", "threads", "plots", "tracking", "score_on"})
"""Keys that change nothing about a trial's value."""
_SEEDED = {"TPESampler", "RandomSampler", "GPSampler", "CmaEsSampler", "NSGAIISampler"}
"""Samplers that get a seed for each trial, so that neither a restart nor a second worker draws the same points again."""


Direction = Literal["minimize", "maximize"]


class Next(Enum):
    """What a worker is to do when there is no trial for it."""

    WAIT = "others hold the last trials, and may lose them"
    DONE = "the total is reached"


@dataclass(frozen=True)
class Plan:
    """What a worker must know of a study; plain values, so that it travels to another process."""

    name: str
    folder: Path
    settings: SweepConfig
    objectives: tuple[str, ...]
    space: Space

    @property
    def directions(self) -> list[Direction]:
        """Of Optuna's."""
        return [
            "maximize" if self.settings.maximised(name) else "minimize" for name in self.objectives
        ]

    def describe(self) -> dict[str, Any]:
        """What may not change while a study goes on."""
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
        """Refuses to mix trials of two spaces."""
        now = self.plan.describe()
        begun = self.optuna.user_attrs.get(BEGUN_AS)
        if begun is None:
            self.optuna.set_user_attr(BEGUN_AS, now)
        elif begun != now:
            faults = list(_differences(begun, now))
            way_out = (
                f"Its trials could not be compared with new ones. Go back to what it was begun with, give the new study a name of its own "
                f"(hydra.sweeper.study={_next_name(self.plan.name)}), or put the old one away: python -m studperf.sweeps delete {self.plan.folder}"
            )
            raise ConfigError(
                listing(f"The study {self.plan.name} in {self.plan.folder} is another one", faults)
                + f"\n{way_out}"
            )

    def _lay_grid(self) -> None:
        """A grid's combinations wait from the start: a kill can neither lose one nor have it done twice."""
        if not self.is_grid:
            return
        lines = self.plan.space.grid()
        order = np.random.default_rng(self.plan.settings.seed).permutation(len(lines))
        laid = {t.user_attrs.get(_GRID) for t in self.trials()}
        for i in order[: self.total].tolist():
            if i not in laid:
                self.optuna.enqueue_trial(lines[i], user_attrs={_GRID: i, _PARAMS: lines[i]})

    @property
    def total(self) -> int:
        """Complete and pruned trials that the study wants."""
        wanted = self.plan.settings.n_trials
        return min(wanted, len(self.plan.space.grid())) if self.is_grid else wanted

    def trials(self) -> list[FrozenTrial]:
        """All of them, by number; not to be changed."""
        return self.optuna.get_trials(deepcopy=False)

    def n_done(self) -> int:
        """Complete and pruned."""
        return sum(is_done(trial) for trial in self.trials())

    @contextmanager
    def attended(self) -> Iterator[None]:
        """While a worker takes trials; whatever it has not told at the end is lost, and put back by the next one."""
        try:
            yield
        finally:
            self.liveness.leave()

    def take(self) -> Trial | Next:
        """A trial for this worker: one that was put back, or a new one; never more than the total in all.

        Counting and taking happen while no other worker does so; what a lost connection left half done is put back the next time.
        """
        return patiently(self._take)

    def _take(self) -> Trial | Next:
        with self.storage.held(self.plan.name):
            self._put_back_lost()
            trials = self.trials()
            states = Counter(trial.state.name for trial in trials)
            done = states["COMPLETE"] + states["PRUNED"]
            if done >= self.total:
                return Next.DONE
            if done + states["RUNNING"] >= self.total or (self.is_grid and not states["WAITING"]):
                return Next.WAIT if states["RUNNING"] else Next.DONE
            self.optuna.sampler = build_sampler(self.plan, len(trials), old=self.optuna.sampler)
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # Optuna wants its heartbeats used from Study.optimize
                trial = self.optuna.ask()
            self.liveness.begin(self.optuna, trial)  # type: ignore[arg-type] # both have the id
            return trial

    def _put_back_lost(self) -> None:
        trials = self.trials()
        running = [trial for trial in trials if trial.state.name == "RUNNING"]
        if running:
            for trial in self.liveness.dead(self.optuna, running):
                self._put_back(trial, trials)

    def put_back(self, trial: Trial) -> None:
        """Gives up this worker's own trial, for another or a later one to do."""

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
        """The copy first: a kill between the two leaves a trial that is found again, and one copy, not two."""
        tries = trial.user_attrs.get(TRIES, 0) + is_lost
        is_back = any(t.user_attrs.get(RETRY_OF) == trial.number for t in trials)
        if tries > self.plan.settings.max_retries:
            self._note_error(trial.number, f"its worker died {tries} times")
            self._tell(trial.number, None, "FAIL")
            return
        if not is_back:
            # A second death can come before the copy has taken over its parameters.
            params = trial.user_attrs.get(_PARAMS, {}) | trial.params
            kept = {_GRID: trial.user_attrs[_GRID]} if _GRID in trial.user_attrs else {}
            self.optuna.enqueue_trial(
                params, user_attrs={RETRY_OF: trial.number, TRIES: tries, _PARAMS: params, **kept}
            )
        self._tell(trial.number, None, "FAIL")

    def tell(self, trial: Trial, values: Sequence[float] | None) -> None:
        """The end of this worker's trial; without values it was pruned."""
        self._tell_alone(trial.number, values, "PRUNED" if values is None else "COMPLETE")

    def tell_error(self, number: int, error: str) -> None:
        """A trial failed."""
        self._note_error(number, error)
        self._tell_alone(number, None, "FAIL")

    def _note_error(self, number: int, error: str) -> None:
        mine = next(t for t in patiently(self.trials) if t.number == number)
        if not mine.state.is_finished():
            patiently(
                lambda: set_trial_attr(
                    self.optuna, mine, ERROR, hide(error, self.plan.settings.storage)
                )
            )

    def _tell_alone(self, number: int, values: Sequence[float] | None, state: str) -> None:
        """Not while another worker puts back what it takes for lost: a trial would be told complete, and its copy be run too."""

        def work() -> None:
            with self.storage.held(self.plan.name):
                self._tell(number, values, state)

        patiently(work)
        self.liveness.end(number)

    def _tell(self, number: int, values: Sequence[float] | None, state: str) -> None:
        from optuna.trial import TrialState

        # One that another worker took for dead meanwhile, and put back, stays as that one said.
        self.optuna.tell(number, values, state=TrialState[state], skip_if_finished=True)

    def facts(self) -> dict[str, Any]:
        """What was found out about the study as a whole, such as its winner."""
        return dict(json.loads(self.optuna.user_attrs.get(FACTS, "{}")))

    def add_facts(self, **facts: Any) -> None:  # noqa: ANN401 - JSON
        """Adds to the facts."""
        patiently(lambda: self.optuna.set_user_attr(FACTS, json.dumps(self.facts() | facts)))


def is_done(trial: FrozenTrial) -> bool:
    """Whether a trial counts for the total."""
    return trial.state.name in ("COMPLETE", "PRUNED")


def is_failure(trial: FrozenTrial) -> bool:
    """Whether it failed by itself; one whose worker died was put back instead."""
    return trial.state.name == "FAIL" and ERROR in trial.user_attrs


def best_first(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> list[FrozenTrial]:
    """Complete trials that keep the constraints, by their first objective."""
    kept = [t for t in trials if t.state.name == "COMPLETE" and is_feasible(t)]
    sign = -1 if directions[0] == "maximize" else 1
    return sorted(kept, key=lambda t: (sign * t.values[0], t.number))


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether it keeps all constraints."""
    return all(value <= 0 for value in trial.user_attrs.get("over", {}).values())


def pareto(trials: Sequence[FrozenTrial], directions: Sequence[str]) -> list[FrozenTrial]:
    """Complete trials that no other one beats in every objective."""
    kept = best_first(trials, directions)
    signs = [-1 if direction == "maximize" else 1 for direction in directions]
    points = [tuple(s * v for s, v in zip(signs, t.values, strict=True)) for t in kept]

    def is_beaten(point: tuple[float, ...]) -> bool:
        return any(
            other != point and all(o <= p for o, p in zip(other, point, strict=True))
            for other in points
        )

    return [trial for trial, point in zip(kept, points, strict=True) if not is_beaten(point)]


def build_sampler(plan: Plan, n_before: int, *, old: BaseSampler | None = None) -> BaseSampler:
    """The sampler for the trial after `n_before` others."""
    from optuna.samplers import RandomSampler

    node = plan.settings.sampler
    name = str(node["_target_"]).rsplit(".", 1)[-1]
    if name == "GridSampler":  # the grid waits in the storage
        return RandomSampler(seed=plan.settings.seed)
    if old is not None and name not in _SEEDED:
        return old
    seed = (
        int(np.random.SeedSequence([plan.settings.seed, n_before]).generate_state(1)[0])
        if name in _SEEDED
        else plan.settings.seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several samplers and options are marked experimental
        sampler: BaseSampler = _build(node, seed=seed)
    return sampler


def build_pruner(plan: Plan) -> BasePruner:
    """The pruner."""
    node = dict(plan.settings.pruner)
    pruner: BasePruner = _build(node)
    return pruner


def _build(node: Mapping[str, Any], **more: Any) -> Any:  # noqa: ANN401 - what the node names
    module, _, name = str(node["_target_"]).rpartition(".")
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    try:
        return getattr(import_module(module), name)(**arguments, **more)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"{node['_target_']}: {error}") from error


def _differences(begun: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """What is another now, in the words of a command line."""
    old, new = (
        d["space"] | {f"hydra.sweeper.{key}": d[key] for key in ("objectives", "repeat")}
        for d in (begun, now)
    )
    for name in {**old, **new}:
        key, _, where = name.partition("@")
        branch = f" (of {where})" if where else ""
        if name not in new:
            yield f"it was begun with {key}={old[name]}{branch}, which is now left out"
        elif name not in old:
            yield f"it was begun without {key}{branch}, which is now {new[name]}"
        elif old[name] != new[name]:
            yield f"it was begun with {key}={old[name]}{branch}, which is now {new[name]}"


def _next_name(name: str) -> str:
    stem, dash, number = name.rpartition("-")
    return f"{stem}-{int(number) + 1}" if dash and number.isdigit() else f"{name}-2"


def hush() -> None:
    """Optuna's own log lines are not for the terminal."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def finite(values: Sequence[float]) -> bool:
    """Whether all are numbers."""
    return all(math.isfinite(value) for value in values)
