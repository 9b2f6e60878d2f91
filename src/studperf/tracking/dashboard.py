"""The W&B workspace as code: what is looked at first, and that no panel asks for what no run logs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from studperf.config import compose
from studperf.errors import ConfigError, RunError
from studperf.record import WANDB
from studperf.tracking import keys
from studperf.tracking.mode import has_key, server_url
from studperf.tracking.reader import LoggedRun, read_run

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "studperf"
_SLUG = "studperfboard"
"""Of the view's address: with a fixed one, `apply` finds the view that it made before."""
_ANSWER_S = 10
_STUDIES = "Studies"
"""The section whose keys are those of a study's own run."""
_OF_EVERY_RUN = {"Step", "CreatedTimestamp", "Group", "ID"}
"""What W&B itself knows of a run."""
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
"""Panel -> the attributes that hold keys. A panel of another kind is refused, so that none goes unchecked."""


@dataclass(frozen=True)
class Key:
    """A key that a panel shows."""

    section: str
    panel: str
    name: str


def build(entity: str | None, project: str) -> Workspace:
    """The workspace. Needs no network.

    Raises:
        ConfigError: the package for it is not installed.
    """
    try:
        import wandb_workspaces.reports.v2
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise ConfigError(
            "the dashboard needs the package wandb-workspaces: uv sync --group dashboard"
        ) from error

    panels: Any = wandb_workspaces.reports.v2
    parts = {
        "Scoreboard": _scoreboard(panels),
        "Learning curves": _curves(panels),
        "Search": _search(panels),
        _STUDIES: _studies(panels),
        "Errors by slice": _slices(panels),
        "System": [panels.LinePlot(title=name, x="Step", y=[name]) for name in keys.SYSTEM],
        "What differs": [panels.RunComparer(diff_only="split")],
    }
    return ws.Workspace(
        entity=entity or "",
        project=project,
        name=NAME,
        sections=[
            ws.Section(name=name, panels=several, is_open=name != "System")
            for name, several in parts.items()
        ],
        runset_settings=ws.RunsetSettings(
            order=[ws.Ordering(ws.Summary(keys.BEST_VALUE), ascending=True)],
            pinned_columns=[
                f"summary:{keys.BEST_VALUE}",
                f"summary:{keys.score('test', 'rmse')}",
                f"summary:{keys.VERDICT}",
                f"config:{keys.RECORD}.model",
            ],
        ),
    )


def _scoreboard(panels: Any) -> list[Any]:  # noqa: ANN401 - the module of panels, imported where it is needed
    rmse, model = (
        panels.SummaryMetric(keys.score("test", "rmse")),
        panels.Config(f"{keys.RECORD}.model"),
    )
    return [
        panels.ScalarChart(
            title="best watched value",
            metric=panels.SummaryMetric(keys.BEST_VALUE),
            groupby_aggfunc="min",
        ),
        panels.ScalarChart(
            title="best skill over the mean",
            metric=panels.SummaryMetric(keys.SKILL),
            groupby_aggfunc="max",
        ),
        panels.BarPlot(
            title="test RMSE by model",
            metrics=[rmse],
            groupby=model,
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
        ),
        panels.BarPlot(
            title="baselines, RMSE",
            metrics=[
                panels.SummaryMetric(keys.baseline(name)) for name in ("mean", "ridge", "boosting")
            ],
        ),
    ]


def _curves(panels: Any) -> list[Any]:  # noqa: ANN401
    together = panels.LinePlot(title="loss", x=keys.EPOCH, y=["train/loss", "val/loss"])
    alone = [
        panels.LinePlot(title=name, x=keys.EPOCH, y=[name])
        for name in ("val/rmse", "val/mae", "val/r2", "lr", "seconds")
    ]
    return [together, *alone]


def _search(panels: Any) -> list[Any]:  # noqa: ANN401
    best = panels.SummaryMetric(keys.BEST_VALUE)
    column = panels.ParallelCoordinatesPlotColumn
    varied = [panels.Config(name) for name in ("batch_size", "optimizer.weight_decay", "seed")]
    return [
        panels.ScatterPlot(
            title="best so far", x=panels.Metric("CreatedTimestamp"), y=best, running_ymin=True
        ),
        panels.LinePlot(title="best so far within each run", x=keys.EPOCH, y=[keys.BEST_VALUE]),
        panels.ParallelCoordinatesPlot(
            title="settings and where they led",
            columns=[
                column(panels.Config("optimizer.lr"), log=True),
                *map(column, varied),
                column(best, inverted=True),
            ],
        ),
        panels.ParameterImportancePlot(with_respect_to=keys.BEST_VALUE),
        panels.ScatterPlot(
            title="time and value", x=panels.SummaryMetric(keys.duration("fit")), y=best
        ),
    ]


def _studies(panels: Any) -> list[Any]:  # noqa: ANN401
    ends = [
        panels.SummaryMetric(f"{keys.STUDY_COUNTS}/{end}") for end in ("complete", "pruned", "fail")
    ]
    return [
        panels.LinePlot(
            title="trials, and the best so far", x=keys.TRIAL, y=[keys.TRIAL_VALUE, keys.STUDY_BEST]
        ),
        panels.BarPlot(title="how trials ended", metrics=ends),
        *(
            panels.WeavePanelSummaryTable(table_name=name)
            for name in (keys.CANDIDATES, keys.TRIALS)
        ),
    ]


def _slices(panels: Any) -> list[Any]:  # noqa: ANN401
    plots = [keys.plot(name) for name in ("slices", "parity", "residuals", "learning_curve")]
    tables = [
        panels.WeavePanelSummaryTable(table_name=name)
        for name in (keys.SLICES, keys.PREDICTIONS, keys.BASELINES)
    ]
    return [panels.MediaBrowser(title="plots", media_keys=plots), *tables]


def dump(workspace: Workspace) -> str:
    """The specification that W&B is sent, as JSON."""
    spec = workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)  # noqa: SLF001 - there is no public way
    return json.dumps(json.loads(spec), indent=1)


def apply(workspace: Workspace) -> str:
    """Puts the workspace at W&B, over the one put there before; returns its address.

    Raises:
        RunError: there is no key, or the server does not answer or refuses.
    """
    if not has_key():
        raise RunError(
            f"there is no key for {server_url()}: set WANDB_API_KEY, or run `wandb login`"
        )
    _reach_server()
    with _temporary_folder():
        import wandb

        try:
            return _save(workspace)
        except (
            wandb.errors.Error,
            OSError,
        ) as error:  # the client's own, and those of its connection
            reason = str(error).strip().splitlines()[0]
            raise RunError(f"{server_url()} did not take the dashboard: {reason}") from error


def _save(workspace: Workspace) -> str:
    import wandb
    from wandb_workspaces.workspaces import internal

    save: Any = workspace.save  # without types
    workspace.entity = workspace.entity or str(wandb.Api(timeout=20).default_entity)
    # Saved without a name and an id, each process would make one more view (wandb-workspaces 0.4.13).
    workspace._internal_name = f"nw-{_SLUG}-v"  # noqa: SLF001
    try:
        workspace._internal_id = internal.get_view_dict(workspace.entity, workspace.project, _SLUG)[  # noqa: SLF001
            "id"
        ]
    except ValueError:
        workspace._internal_id = ""  # noqa: SLF001 - the first time
    save()
    return str(workspace.url)


def _reach_server() -> None:
    """See that the server answers at all: W&B's client would try for more than half a minute, without a word.

    Raises:
        RunError: it does not.
    """
    address = urlparse(server_url())
    if urllib.request.getproxies().get(address.scheme):
        return  # what lies behind a proxy is seen by asking alone
    port = address.port or {"http": 80}.get(address.scheme, 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_ANSWER_S).close()
    except OSError as error:
        raise RunError(f"{server_url()} can't be reached: {error}") from error


@contextmanager
def _temporary_folder() -> Iterator[None]:
    """What W&B's client and its helper process put into temporary folders goes with this one, however they end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        old, old_dir = os.environ.get("TMPDIR"), tempfile.tempdir
        os.environ["TMPDIR"] = tempfile.tempdir = place
        try:
            yield
        finally:
            tempfile.tempdir = old_dir
            os.environ.pop("TMPDIR")
            if old is not None:
                os.environ["TMPDIR"] = old


def keys_of(workspace: Workspace) -> list[Key]:
    """All keys that the panels show.

    Raises:
        ConfigError: a panel is of a kind whose keys are not known.
    """
    found = []
    for section in workspace.sections:
        for panel in section.panels:
            kind = type(panel).__name__
            if kind not in _NAMED_BY:
                raise ConfigError(
                    f"the dashboard holds a {kind}, and which keys it shows is not known here: add it to _NAMED_BY"
                )
            title = getattr(panel, "title", None) or kind
            for attribute in _NAMED_BY[kind]:
                found += [
                    Key(section.name, title, name) for name in _names(getattr(panel, attribute))
                ]
    return found


def dead_keys(workspace: Workspace, logged: set[str], *, has_study: bool = True) -> list[Key]:
    """The keys that are not among the logged ones.

    Args:
        workspace: whose panels are looked at.
        logged: see `logged_keys`.
        has_study: whether a study logged them; else its panels are left out.
    """
    asked = [key for key in keys_of(workspace) if has_study or key.section != _STUDIES]
    return [key for key in asked if key.name not in logged | _OF_EVERY_RUN]


def winners_folder(study: Path) -> Path | None:
    """The folder of a study's winner; None where the folder is of no study, or it has none yet."""
    return next(iter(sorted(study.glob("winner_*"))), None)


def logged_keys(folder: Path | None) -> set[str]:
    """Everything that a run logged, or a study by its own run and its winner's: of a folder, or of a small study made for it.

    Raises:
        RunError: the folder holds no W&B log.
    """
    if folder is not None:
        winner = winners_folder(folder)
        return _keys_in(_newest_log(folder)) | (_keys_in(_newest_log(winner)) if winner else set())
    with tempfile.TemporaryDirectory() as place:
        words = [
            "data=simulated",
            "data.source.simulate.rows=1000",
            "trainer.max_epochs=20",
            "progress=false",
            "threads=1",
        ]
        words += ["tracking.wandb.mode=offline", "tracking.wandb.system_s=1", f"runs={place}"]
        sweeper = [
            "hydra/sweeper=optuna",
            "hydra.sweeper.study=check",
            "hydra.sweeper.n_trials=2",
            "hydra.sweeper.winner={top:1,seeds:1}",
        ]
        command = [
            sys.executable,
            "-m",
            "studperf.train",
            "-m",
            *sweeper,
            *words,
            "optimizer.lr=interval(1e-3,1e-2)",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode:
            raise RunError(
                f"the study to check by ended with {done.returncode}: {done.stderr[-500:]}"
            )
        return logged_keys(Path(place) / "sweeps" / "check")


def default_project() -> str:
    """The project that conf/train.yaml names."""
    return str(compose().tracking.wandb.project)


def _newest_log(folder: Path) -> LoggedRun:
    logs = sorted(folder.glob(f"{WANDB}/*run-*/run-*.wandb"), key=lambda log: log.stat().st_mtime)
    if not logs:
        why = (
            "holds no W&B log; it was run with tracking.wandb.mode=disabled, or is no run"
            if folder.is_dir()
            else "there is no such folder"
        )
        raise RunError(f"{folder}: {why}")
    return read_run(logs[-1])


def _keys_in(run: LoggedRun) -> set[str]:
    rows = {key for row in run.rows for key in row}
    # W&B's own figures: a short run may end before the second look at the machine, which the use of the CPU needs.
    system = {f"system.{key}" for sample in run.system for key in sample} | set(keys.SYSTEM)
    return rows | run.summary.keys() | set(_dotted(run.config)) | system


def _dotted(values: dict[str, Any], head: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{head}{key}"
        if isinstance(value, dict):
            yield from _dotted(value, f"{head}{key}.")


def _names(value: Any) -> Iterator[str]:  # noqa: ANN401 - str, a key of any kind, a column of one, or several
    if isinstance(value, list | tuple):
        for one in value:
            yield from _names(one)
    elif value is not None:
        inner = getattr(value, "metric", None) or value
        yield str(getattr(inner, "name", inner))
