"""Studies in their storage, for commands that only read them."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studperf.config.files import write_atomically
from studperf.config.secrets import STORAGE_VARIABLE
from studperf.errors import ConfigError, RunError
from studperf.record.files import STUDIES
from studperf.report.views.study import StudyView, view_winner
from studperf.sweeps.compose import Composer
from studperf.sweeps.space import Word
from studperf.sweeps.storage import JOURNAL, Storage
from studperf.sweeps.study import (
    BEGUN_AS,
    FACTS,
    WINNER,
    best_first,
    hush,
    is_done,
    is_failure,
)
from studperf.sweeps.trial import command
from studperf.sweeps.view.trials import view_trials

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.trial import FrozenTrial

_MIN_FOR_IMPORTANCE = 4
"""Complete trials below which the importance of parameters is not computed."""


@dataclass(frozen=True)
class Saved:
    """A study as it is read, with its trials."""

    name: str
    folder: Path
    optuna: OptunaStudy
    trials: list[FrozenTrial]
    facts: dict[str, Any]
    n_lost: int = 0
    """Running trials whose worker is known to be dead."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the objectives."""
        return tuple(self.optuna.user_attrs[BEGUN_AS]["objectives"])

    @property
    def directions(self) -> list[str]:
        """The direction of each objective, in Optuna's words."""
        return [direction.name.lower() for direction in self.optuna.directions]

    @property
    def space(self) -> dict[str, str]:
        """The space as name -> domain, or the value of a key that was fixed."""
        return dict(self.optuna.user_attrs[BEGUN_AS]["space"])

    @property
    def counts(self) -> dict[str, int]:
        """The number of trials by how they ended.

        One whose worker died is `put back`, or will be by the next worker.
        """
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
        """The number of complete and pruned trials."""
        return sum(map(is_done, self.trials))

    @property
    def best(self) -> FrozenTrial | None:
        """The best trial by the first objective; None if none is complete."""
        ranked = best_first(self.trials, self.directions)
        return ranked[0] if ranked else None

    def importances(self) -> dict[str, float]:
        """Return the importance of each parameter for good trials (PED-ANOVA), as shares of 1.

        It is empty where there are too few trials for it.
        """
        import optuna

        complete = [t for t in self.trials if t.state.name == "COMPLETE"]
        if len(complete) < _MIN_FOR_IMPORTANCE:
            return {}

        target = None if len(self.objectives) == 1 else lambda t: t.values[0]
        try:
            with warnings.catch_warnings():
                # Optuna marks it as experimental.
                warnings.simplefilter("ignore")
                found = optuna.importance.get_param_importances(self.optuna, target=target)
        except (ValueError, RuntimeError):
            # All values are equal, or there is no parameter that all trials share.
            return {}
        return {name: float(share) for name, share in found.items()}


def find_studies(runs: Path) -> list[Saved]:
    """Return the studies below `runs`, and those of STUDPERF_STORAGE."""
    studies = runs / STUDIES
    journals = sorted(studies.glob(f"*/{JOURNAL}"))
    found = [_open(path.parent.name, path.parent, None) for path in journals]

    url = os.environ.get(STORAGE_VARIABLE)
    if url:
        import optuna

        storage = Storage(url, studies)
        names = optuna.get_all_study_names(storage.optuna)
        found += [_open(name, studies / name, url) for name in names]
    return [saved for saved in found if saved is not None]


def find_study(given: str, runs: Path) -> Saved:
    """Return a study by its name or its folder.

    Raises:
        RunError: there is none; the message names those there are.
    """
    folder = Path(given)
    if not (folder / JOURNAL).is_file():
        folder = runs / STUDIES / given

    saved = None
    if (folder / JOURNAL).is_file():
        saved = _open(folder.name, folder, None)
    url = os.environ.get(STORAGE_VARIABLE)
    if saved is None and url:
        saved = _open(given, folder, url)

    if saved is None:
        names = ", ".join(s.name for s in find_studies(runs)) or "none"
        hint = ""
        if not url:
            hint = f"; one on a server or in SQLite is found by {STORAGE_VARIABLE}=ADDRESS"
        raise RunError(
            f"{given}: there is no such study below {runs / STUDIES} (there: {names}){hint}"
        )
    return saved


def _open(name: str, folder: Path, url: str | None) -> Saved | None:
    """Return a study from its storage; None if it is not there, or not one of ours."""
    import json

    import optuna

    hush()
    storage = Storage(url, folder)
    try:
        study = optuna.load_study(study_name=name, storage=storage.optuna)
    except KeyError:
        return None
    if BEGUN_AS not in study.user_attrs:
        # It is another program's, or was killed in the first millisecond.
        return None

    trials = study.get_trials(deepcopy=False)
    running = [t for t in trials if t.state.name == "RUNNING"]
    n_lost = 0
    if running:
        n_lost = len(storage.liveness().lost(study, running))
    facts = json.loads(study.user_attrs.get(FACTS, "{}"))
    return Saved(name, folder, study, trials, facts, n_lost)


def rows(saved: Saved) -> tuple[list[str], list[list[Any]]]:
    """Return all trials as a table: a header, and a row for each."""
    names = list(dict.fromkeys(name for t in saved.trials for name in t.params))
    header = ["trial", "state", *saved.objectives, "seconds", *names, "error"]
    lines = []
    for t in saved.trials:
        values: Sequence[Any] = [None] * len(saved.objectives)
        if t.state.name == "COMPLETE":
            values = t.values
        seconds = t.duration.total_seconds() if t.duration is not None else None
        params = [t.params.get(name) for name in names]
        error = t.user_attrs.get("error")
        lines.append([t.number, t.state.name, *values, seconds, *params, error])
    return header, lines


def view_study(saved: Saved, *, command: str = "") -> StudyView:
    """Return what is to be said of a study.

    Args:
        saved: the study.
        command: that repeats its winner or best trial; empty where it is not asked for.
    """
    found = saved.facts.get(WINNER)
    return StudyView(
        name=saved.name,
        total=saved.facts.get("total", "?"),
        n_done=saved.n_done,
        counts=saved.counts,
        trials=view_trials(saved.trials, saved.objectives, saved.directions),
        shares=saved.importances(),
        winner=view_winner(found) if found else None,
        command=command,
        space=saved.space,
    )


def write_page(saved: Saved) -> Path:
    """Write `report.html` in the study's folder, and return its path."""
    # Here, since only where a page is written it is worth its start-up.
    from studperf.report.pages.study import render_study

    saved.folder.mkdir(parents=True, exist_ok=True)
    path = saved.folder / "report.html"
    command = repeat_command(saved) if saved.best is not None else ""
    write_atomically(path, render_study(view_study(saved, command=command)))
    return path


def repeat_command(saved: Saved) -> str:
    """Return the command that repeats the winner, or the best trial where none was chosen.

    Raises:
        RunError: no trial is complete.
        ConfigError: the study's own YAML is gone, or no longer what it was.
    """
    winner = saved.facts.get(WINNER)
    if winner:
        return str(winner["command"])
    if saved.best is None:
        raise RunError(f"{saved.name}: no trial is complete yet")

    from hydra.errors import HydraException

    fixed = [Word(*text.split("=", 1)) for text in saved.facts.get("fixed", [])]
    words = [Word(*text.split("=", 1)) for text in saved.best.user_attrs["words"]]
    try:
        return command(Composer(fixed).repeat(words))
    except HydraException as error:
        why = str(error).split("\n")[0]
        raise ConfigError(
            f"{saved.name}: what it began with, {' '.join(map(str, fixed))}, "
            f"can't be composed any more: {why}"
        ) from error
