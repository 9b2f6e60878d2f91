"""Studies as they lie in their storage, for commands that only read them."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studperf.errors import ConfigError, RunError
from studperf.record.files import STUDIES
from studperf.sweeps.compose import Composer
from studperf.sweeps.space import Word
from studperf.sweeps.storage import JOURNAL, Storage
from studperf.sweeps.study import BEGUN_AS, FACTS, best_first, hush, is_done, is_failure
from studperf.sweeps.trial import command

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.trial import FrozenTrial

STORAGE = "STUDPERF_STORAGE"
_MIN_FOR_IMPORTANCE = 4


@dataclass(frozen=True)
class Saved:
    """A study to be read."""

    name: str
    folder: Path
    optuna: OptunaStudy
    trials: list[FrozenTrial]
    facts: dict[str, Any]
    n_lost: int = 0
    """Running trials whose worker is known to be no more."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """By name."""
        return tuple(self.optuna.user_attrs[BEGUN_AS]["objectives"])

    @property
    def directions(self) -> list[str]:
        """Of Optuna's."""
        return [direction.name.lower() for direction in self.optuna.directions]

    @property
    def space(self) -> dict[str, str]:
        """Name -> domain, or the value of a key that was fixed."""
        return dict(self.optuna.user_attrs[BEGUN_AS]["space"])

    @property
    def counts(self) -> dict[str, int]:
        """Trials by how they ended; one whose worker died is `put back`, or will be by the next worker."""
        states = Counter(t.state.name.lower() for t in self.trials)
        failed = sum(map(is_failure, self.trials))
        running = states["running"] - self.n_lost
        return {
            **states,
            "running": running,
            "fail": failed,
            "put back": states["fail"] - failed,
            "to be put back": self.n_lost,
        }

    @property
    def n_done(self) -> int:
        """Complete and pruned."""
        return sum(map(is_done, self.trials))

    @property
    def best(self) -> FrozenTrial | None:
        """By the first objective."""
        ranked = best_first(self.trials, self.directions)
        return ranked[0] if ranked else None

    def importances(self) -> dict[str, float]:
        """Share of each parameter in what makes good trials good (PED-ANOVA); empty where there are too few trials for it."""
        import optuna

        complete = [t for t in self.trials if t.state.name == "COMPLETE"]
        if len(complete) < _MIN_FOR_IMPORTANCE:
            return {}
        target = None if len(self.objectives) == 1 else lambda t: t.values[0]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # marked experimental
                found = optuna.importance.get_param_importances(self.optuna, target=target)
        except (
            ValueError,
            RuntimeError,
        ):  # all values equal, or no parameter that all trials share
            return {}
        return {name: float(share) for name, share in found.items()}


def find_studies(runs: Path) -> list[Saved]:
    """Those below `runs`, and those of STUDPERF_STORAGE."""
    found = [
        _open(path.parent.name, path.parent, None)
        for path in sorted((runs / STUDIES).glob(f"*/{JOURNAL}"))
    ]
    if url := os.environ.get(STORAGE):
        import optuna

        storage = Storage(url, runs / STUDIES)
        found += [
            _open(name, runs / STUDIES / name, url)
            for name in optuna.get_all_study_names(storage.optuna)
        ]
    return [saved for saved in found if saved is not None]


def find_study(given: str, runs: Path) -> Saved:
    """A study by its name or its folder.

    Raises:
        RunError: there is none; the message names those there are.
    """
    folder = Path(given) if (Path(given) / JOURNAL).is_file() else runs / STUDIES / given
    saved = _open(folder.name, folder, None) if (folder / JOURNAL).is_file() else None
    url = os.environ.get(STORAGE)
    saved = saved or (_open(given, folder, url) if url else None)
    if saved is None:
        names = ", ".join(s.name for s in find_studies(runs)) or "none"
        hint = "" if url else f"; one on a server or in SQLite is found by {STORAGE}=ADDRESS"
        raise RunError(
            f"{given}: there is no such study below {runs / 'sweeps'} (there: {names}){hint}"
        )
    return saved


def _open(name: str, folder: Path, url: str | None) -> Saved | None:
    import json

    import optuna

    hush()
    storage = Storage(url, folder)
    try:
        study = optuna.load_study(study_name=name, storage=storage.optuna)
    except KeyError:
        return None
    if BEGUN_AS not in study.user_attrs:  # another program's, or killed in the first millisecond
        return None
    trials = study.get_trials(deepcopy=False)
    running = [t for t in trials if t.state.name == "RUNNING"]
    n_lost = len(storage.liveness().lost(study, running)) if running else 0
    return Saved(name, folder, study, trials, json.loads(study.user_attrs.get(FACTS, "{}")), n_lost)


def rows(saved: Saved) -> tuple[list[str], list[list[Any]]]:
    """All trials as a table: a header, and a row for each."""
    names = list(dict.fromkeys(name for t in saved.trials for name in t.params))
    header = ["trial", "state", *saved.objectives, "seconds", *names, "error"]
    lines = []
    for t in saved.trials:
        values: Sequence[Any] = (
            t.values if t.state.name == "COMPLETE" else [None] * len(saved.objectives)
        )
        seconds = t.duration.total_seconds() if t.duration is not None else None
        lines.append(
            [
                t.number,
                t.state.name,
                *values,
                seconds,
                *(t.params.get(name) for name in names),
                t.user_attrs.get("error"),
            ]
        )
    return header, lines


def repeat_command(saved: Saved) -> str:
    """Repeats the winner, or, where none was chosen, the best trial.

    Raises:
        RunError: no trial is complete.
        ConfigError: the study's own YAML is gone, or no longer what it was.
    """
    winner = saved.facts.get("winner")
    if winner:
        return str(winner["command"])
    if saved.best is None:
        raise RunError(f"{saved.name}: no trial is complete yet")
    from hydra.errors import HydraException

    fixed = [Word(*word.split("=", 1)) for word in saved.facts.get("fixed", [])]
    words = [Word(*word.split("=", 1)) for word in saved.best.user_attrs["words"]]
    try:
        return command(Composer(fixed).repeat(words))
    except HydraException as error:
        why = str(error).split("\n")[0]
        raise ConfigError(
            f"{saved.name}: what it began with, {' '.join(map(str, fixed))}, can't be composed any more: {why}"
        ) from error
