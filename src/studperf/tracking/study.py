"""A study at W&B: beside a run for each trial, all in its group, one run that sums it up."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studperf.config.console import print_line, warn
from studperf.config.run import Wandb
from studperf.record.files import WANDB
from studperf.tracking import keys
from studperf.tracking.client import Scribe, get_scribe
from studperf.tracking.mode import choose_mode, server_url
from studperf.tracking.payload import Table

if TYPE_CHECKING:
    from rich.console import Console

JOB = "sweep-summary"
# Beyond the timeout that the scribe keeps itself, before it is taken for hanging.
_GRACE_S = 60.0


@dataclass(frozen=True)
class StudySummary:
    """A study as W&B is to show it."""

    name: str
    config: dict[str, Any]
    """Space, sampler, pruner and limits of the study."""
    rows: Sequence[dict[str, float]]
    """A row for each trial that ended with a value, by number, with the keys of `keys.TRIAL`."""
    tables: dict[str, Table]
    summary: dict[str, Any]


def log_study(study: StudySummary, folder: Path, settings: Wandb, console: Console) -> None:
    """Log the summary at W&B or on disk, over the one of an earlier session.

    Whatever goes wrong there costs one warning.

    Args:
        study: the summary.
        folder: of the study.
        settings: of the runs' configuration.
        console: for the warning.
    """
    mode = choose_mode(settings.mode)
    if mode == "disabled":
        return

    # The same id in each session, so that a study that goes on has one summary.
    digest = hashlib.sha256(f"{study.name} {folder.resolve()}".encode())
    run_id = digest.hexdigest()[:8]
    about = {
        "mode": mode,
        "id": run_id,
        "project": settings.project,
        "entity": settings.entity,
        "group": settings.group or study.name,
        "folder": str(folder.resolve()),
        "name": f"{study.name}-summary",
        "job_type": JOB,
        "tags": sorted({*settings.tags, "sweep"}),
        "config": study.config,
        "dataset": None,
        "pid": None,
        "server": server_url(),
        "is_resumed": any((folder / WANDB).glob("*run-*")),
        "init_timeout_s": settings.init_timeout_s,
        "finish_timeout_s": settings.finish_timeout_s,
        "flush_s": settings.flush_s,
        "system_s": settings.system_s,
    }
    try:
        scribe = get_scribe(folder / WANDB / "scribe.log")
    except OSError as error:
        _warn(console, f"its process can't be started: {error}")
        return

    scribe.send({"do": "start", **about})
    for row in study.rows:
        scribe.send({"do": "row", "row": row})
    scribe.send({"do": "row", "row": {}, "tables": study.tables})
    scribe.send({"do": "finish", "exit_code": 0, "summary": study.summary})
    _wait_for_end(scribe, run_id, settings.finish_timeout_s + _GRACE_S, console)


def _wait_for_end(scribe: Scribe, run_id: str, limit_s: float, console: Console) -> None:
    """Wait until the summary is logged, and print what the scribe says of it meanwhile."""
    ends = time.monotonic() + limit_s
    while True:
        left_s = ends - time.monotonic()
        if left_s <= 0:
            break
        reply = scribe.receive(max(0.01, left_s))
        if reply is None:
            continue
        if reply["event"] == "gone":
            _warn(console, f"its process died (see {scribe.log})")
            return
        if reply.get("id") != run_id:  # of a trial before it
            continue
        if reply["event"] == "warning":
            _warn(console, reply["text"])
        elif reply["event"] == "started" and reply["url"]:
            print_line(console, f"W&B: {reply['url']}")
        elif reply["event"] == "finished":
            return

    _warn(console, f"the study's summary was not done within {limit_s:g} s")
    scribe.kill()


def _warn(console: Console, text: str) -> None:
    """Print a warning about W&B."""
    warn(console, f"W&B: {text}")


def counts(states: dict[str, int]) -> dict[str, int]:
    """Return the number of trials in each state, by the summary's keys."""
    counted = {}
    for name, n in states.items():
        counted[f"{keys.STUDY_COUNTS}/{name.replace(' ', '_')}"] = n
    return counted
