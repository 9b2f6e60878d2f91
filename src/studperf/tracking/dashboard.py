"""The W&B workspace as code, and a check that no panel asks for what no run logs."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from studperf.config.load import compose
from studperf.errors import ConfigError, RunError
from studperf.tracking import keys
from studperf.tracking.mode import has_key, server_url

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "studperf"
# Part of the view's address: with a fixed one, `apply` finds the view that it made before.
_SLUG = "studperfboard"
_ANSWER_S = 10
STUDIES = "Studies"
"""The section whose keys are those of a study's own run."""


def build(entity: str | None, project: str) -> Workspace:
    """Return the workspace, without using the network.

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
        STUDIES: _studies(panels),
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


def _scoreboard(panels: Any) -> list[Any]:  # noqa: ANN401 - a module, imported late
    """Return the panels that are looked at first."""
    rmse = panels.SummaryMetric(keys.score("test", "rmse"))
    model = panels.Config(f"{keys.RECORD}.model")
    baselines = [
        panels.SummaryMetric(keys.baseline(name)) for name in ("mean", "ridge", "boosting")
    ]
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
        panels.BarPlot(title="baselines, RMSE", metrics=baselines),
    ]


def _curves(panels: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Return the panels of values that are logged each epoch."""
    together = panels.LinePlot(title="loss", x=keys.EPOCH, y=["train/loss", "val/loss"])
    alone = [
        panels.LinePlot(title=name, x=keys.EPOCH, y=[name])
        for name in ("val/rmse", "val/mae", "val/r2", "lr", "seconds")
    ]
    return [together, *alone]


def _search(panels: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Return the panels that compare settings over runs."""
    best = panels.SummaryMetric(keys.BEST_VALUE)
    column = panels.ParallelCoordinatesPlotColumn
    settings = [
        column(panels.Config("optimizer.lr"), log=True),
        column(panels.Config("batch_size")),
        column(panels.Config("optimizer.weight_decay")),
        column(panels.Config("seed")),
        column(best, inverted=True),
    ]
    return [
        panels.ScatterPlot(
            title="best so far", x=panels.Metric("CreatedTimestamp"), y=best, running_ymin=True
        ),
        panels.LinePlot(title="best so far within each run", x=keys.EPOCH, y=[keys.BEST_VALUE]),
        panels.ParallelCoordinatesPlot(title="settings and where they led", columns=settings),
        panels.ParameterImportancePlot(with_respect_to=keys.BEST_VALUE),
        panels.ScatterPlot(
            title="time and value", x=panels.SummaryMetric(keys.duration("fit")), y=best
        ),
    ]


def _studies(panels: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Return the panels of a study's own run."""
    ends = [
        panels.SummaryMetric(f"{keys.STUDY_COUNTS}/{end}") for end in ("complete", "pruned", "fail")
    ]
    return [
        panels.LinePlot(
            title="trials, and the best so far", x=keys.TRIAL, y=[keys.TRIAL_VALUE, keys.STUDY_BEST]
        ),
        panels.BarPlot(title="how trials ended", metrics=ends),
        panels.WeavePanelSummaryTable(table_name=keys.CANDIDATES),
        panels.WeavePanelSummaryTable(table_name=keys.TRIALS),
    ]


def _slices(panels: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Return the panels of a run's plots and tables."""
    plots = [keys.plot(name) for name in ("slices", "parity", "residuals", "learning_curve")]
    tables = [
        panels.WeavePanelSummaryTable(table_name=name)
        for name in (keys.SLICES, keys.PREDICTIONS, keys.BASELINES)
    ]
    return [panels.MediaBrowser(title="plots", media_keys=plots), *tables]


def dump(workspace: Workspace) -> str:
    """Return the specification that W&B is sent, as JSON."""
    spec = workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)  # noqa: SLF001 - there is no public way
    return json.dumps(json.loads(spec), indent=1)


def apply(workspace: Workspace) -> str:
    """Save the workspace at W&B, over the one that was saved before; return its address.

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

    if not workspace.entity:
        workspace.entity = str(wandb.Api(timeout=20).default_entity)
    # Saved without a name and an id, each process would make one more view
    # (wandb-workspaces 0.4.13).
    workspace._internal_name = f"nw-{_SLUG}-v"  # noqa: SLF001 - there is no public way
    try:
        view = internal.get_view_dict(workspace.entity, workspace.project, _SLUG)
        workspace._internal_id = view["id"]  # noqa: SLF001 - as above
    except ValueError:  # the first time
        workspace._internal_id = ""  # noqa: SLF001 - as above
    save: Any = workspace.save  # it has no types
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


def default_project() -> str:
    """Return the project that conf/train.yaml names."""
    return str(compose().tracking.wandb.project)
