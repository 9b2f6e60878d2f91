"""A check that no panel of the dashboard asks for a key that no run logs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studperf.errors import ConfigError, RunError
from studperf.record.files import STUDIES as STUDY_FOLDERS
from studperf.record.files import WANDB
from studperf.tracking import keys
from studperf.tracking.dashboard import STUDIES
from studperf.tracking.log_file import LoggedRun, read_run

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

# Keys that W&B itself gives to every run.
_OF_EVERY_RUN = {"Step", "CreatedTimestamp", "Group", "ID"}
# Panel -> the attributes that hold keys. A panel of another kind is refused, so that none goes
# unchecked.
_NAMED_BY = {
    "LinePlot": ("x", "y"),
    "ScatterPlot": ("x", "y"),
    "BarPlot": ("metrics", "groupby"),
    "ScalarChart": ("metric",),
    "ParallelCoordinatesPlot": ("columns",),
    "ParameterImportancePlot": ("with_respect_to",),
    "MediaBrowser": ("media_keys",),
    "WeavePanelSummaryTable": ("table_name",),
    "RunComparer": (),
}


@dataclass(frozen=True)
class Key:
    """A key that a panel shows."""

    section: str
    panel: str
    name: str


def keys_of(workspace: Workspace) -> list[Key]:
    """Return all keys that the panels show.

    Raises:
        ConfigError: a panel is of a kind whose keys are not known.
    """
    found = []
    for section in workspace.sections:
        for panel in section.panels:
            kind = type(panel).__name__
            if kind not in _NAMED_BY:
                raise ConfigError(
                    f"the dashboard holds a {kind}, and which keys it shows is not known here: "
                    "add it to _NAMED_BY"
                )
            title = getattr(panel, "title", None) or kind
            for attribute in _NAMED_BY[kind]:
                names = _names(getattr(panel, attribute))
                found += [Key(section.name, title, name) for name in names]
    return found


def dead_keys(workspace: Workspace, logged: set[str], *, has_study: bool = True) -> list[Key]:
    """Return the keys of a workspace that were not logged.

    Args:
        workspace: whose panels are looked at.
        logged: see `logged_keys`.
        has_study: True if a study logged them; else its panels are left out.
    """
    known = logged | _OF_EVERY_RUN
    asked = [key for key in keys_of(workspace) if has_study or key.section != STUDIES]
    return [key for key in asked if key.name not in known]


def winners_folder(study: Path) -> Path | None:
    """Return the folder of a study's winner; None if it has none, or the folder is no study's."""
    found = sorted(study.glob("winner_*"))
    if not found:
        return None
    return found[0]


def newest_study(runs: Path) -> Path:
    """Return the study below `runs` that found its winner last.

    Raises:
        RunError: there is none.
    """
    winners = sorted(runs.glob(f"{STUDY_FOLDERS}/*/winner_*"), key=_changed)
    if not winners:
        raise RunError(
            f"there is no study with a winner below {runs} to check the dashboard by; "
            "name one, or a run: run=FOLDER"
        )
    return winners[-1].parent


def logged_keys(folder: Path) -> set[str]:
    """Return every key that a run logged, or that a study's own run and its winner's logged.

    Args:
        folder: of the run or the study.

    Raises:
        RunError: the folder holds no W&B log.
    """
    logged = _keys_in(_newest_log(folder))
    winner = winners_folder(folder)
    if winner is not None:
        logged |= _keys_in(_newest_log(winner))
    return logged


def _newest_log(folder: Path) -> LoggedRun:
    """Read the log of a run's last session."""
    logs = sorted(folder.glob(f"{WANDB}/*run-*/run-*.wandb"), key=_changed)
    if logs:
        return read_run(logs[-1])
    if not folder.is_dir():
        raise RunError(f"{folder}: there is no such folder")
    raise RunError(
        f"{folder}: holds no W&B log; it was run with tracking.wandb.mode=disabled, or is no run"
    )


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _keys_in(run: LoggedRun) -> set[str]:
    """Return all keys of a log: of its history, summary, configuration and machine."""
    found = {*run.summary, *_dotted(run.config)}
    for row in run.rows:
        found.update(row)
    for sample in run.system:
        found.update(f"system.{key}" for key in sample)
    # W&B's own figures, though a short run may end before the second look at the machine, which
    # the use of the CPU needs.
    found.update(keys.SYSTEM)
    return found


def _dotted(values: dict[str, Any], head: str = "") -> Iterator[str]:
    """Yield the keys of nested values, written with dots."""
    for key, value in values.items():
        yield f"{head}{key}"
        if isinstance(value, dict):
            yield from _dotted(value, f"{head}{key}.")


def _names(value: Any) -> Iterator[str]:  # noqa: ANN401 - a key of any kind, or several
    """Yield the names of the keys that a panel's attribute holds."""
    if isinstance(value, list | tuple):
        for one in value:
            yield from _names(one)
    elif value is not None:
        inner = getattr(value, "metric", None) or value
        yield str(getattr(inner, "name", inner))
