"""A run's side of tracking: it sends each epoch to the scribe, and waits only at the run's end."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from studperf.config.console import print_line, warn
from studperf.config.run import Wandb
from studperf.record.files import STUDIES, WANDB
from studperf.record.run import Run
from studperf.record.shape import Tracked
from studperf.tracking import client as pipe
from studperf.tracking.client import Message, Scribe, get_scribe
from studperf.tracking.mode import choose_mode, server_url
from studperf.tracking.payload import (
    config_of,
    dataset_artifact,
    images_of,
    model_artifact,
    row_of,
    summary_of,
    tables_of,
)

if TYPE_CHECKING:
    from rich.console import Console

LOG = logging.getLogger("studperf")
EXIT_CODES = {"finished": 0, "pruned": 0, "failed": 1, "interrupted": 130, "running": 1}
# Beyond the timeouts that the scribe keeps itself, before it is taken for hanging.
_GRACE_S = 3.0
# The same where there is no server to wait for: on a busy machine its start alone may take ten
# seconds.
_OFFLINE_S = 60.0


class Tracker:
    """A run at W&B, whose faults never stop the run.

    Whatever goes wrong there costs one warning and the rest of the tracking. A trial of a study
    does not even wait for its end there: the scribe finishes it while the next one trains, and
    `settle` waits for the last.
    """

    # Shared by the process: a server that did not answer once is not asked again for each trial.
    _is_unanswered = False

    def __init__(self, run: Run) -> None:
        self.run = run
        self.record = record = run.record
        self.folder = folder = run.folder
        self.settings = settings = run.config.tracking.wandb
        self.console = run.console
        self.is_trial = run.is_trial
        # W&B has the rows of a resumed run's earlier epochs already.
        self.n_logged = len(record.history)
        self.best: float | None = None
        for row in record.history:
            self._note_best(row)
        self.scribe: Scribe | None = None
        self.is_begun = False
        self.is_ended = False
        self.state = Tracked(
            mode=choose_mode(settings.mode),
            id=record.tracking.id if record.tracking else secrets.token_hex(4),
            project=settings.project,
            entity=settings.entity,
            group=settings.group or _group_of(folder, Path(str(record.config["runs"]))),
        )
        if run.is_trial and Tracker._is_unanswered and self.state.mode == "online":
            self.state.mode = "offline"
        record.tracking = self.state

    def __enter__(self) -> Self:
        """Follow the run from here, and log the rows that it has had meanwhile."""
        if self.is_begun:
            return self
        self.is_begun = True
        self.start()
        for row in self.record.history[self.n_logged :]:
            self.log_epoch(row)
        self.run.on_epoch.append(self.log_epoch)
        return self

    def __exit__(self, *exception: object) -> None:
        """Finish the run at W&B, however it ended."""
        if self.scribe is not None:
            self.finish(self.record.status)
            self.scribe = None
            self.run.save()

    def is_live(self) -> bool:
        """Return True if the run is live at W&B.

        The server's answer is waited for where it has not come yet.
        """
        limit_s = self.settings.init_timeout_s + _GRACE_S
        # A reply may end the tracking or change its mode, so each round looks anew.
        while self.scribe is not None and self.state.mode == "online" and self.state.url is None:
            reply = self.scribe.receive(limit_s)
            if reply is None:
                return False
            self._note_reply(reply)
        return self.scribe is not None and self.state.mode == "online"

    def start(self) -> None:
        """Start the scribe, without waiting for it."""
        if self.state.mode == "disabled":
            return
        try:
            self.scribe = get_scribe(self.folder / WANDB / "scribe.log")
            self.scribe.send({"do": "start", **self._about()})
        except OSError as error:
            self._give_up(f"W&B: not tracked, its process can't be started: {error}")

    def log_epoch(self, row: dict[str, float | int]) -> None:
        """Log a row of the record's history."""
        self._note_best(row)
        scribe = self.scribe
        if scribe is None:
            return
        scribe.send({"do": "row", "row": row_of(row, self.best)})
        reply = scribe.receive()
        while reply is not None:
            self._note_reply(reply)
            reply = scribe.receive()

    def log_judgement(self) -> None:
        """Log scores, tables, plots and the bundle, as the record and its folder have them."""
        if self.scribe is None:
            return
        record, folder = self.record, self.folder
        tables = tables_of(record, folder, n_predictions=self.settings.predictions)
        images = images_of(folder)
        self.scribe.send({"do": "row", "row": {}, "tables": tables, "images": images})
        artifact = model_artifact(record, folder)
        if artifact is not None:
            self.scribe.send({"do": "artifact", "artifact": artifact})

    def finish(self, status: str) -> None:
        """Finish the run at W&B, and wait until it is there or on disk.

        The wait is limited by the timeouts of the configuration.
        """
        scribe = self.scribe
        if scribe is None:
            return
        summary = summary_of(self.record)
        scribe.send({"do": "finish", "exit_code": EXIT_CODES[status], "summary": summary})
        if self.is_trial:
            return

        ended = time.monotonic()
        while not self.is_ended:
            # Looked at in each round: the scribe may fall back to offline meanwhile.
            limit_s = self.settings.finish_timeout_s + _GRACE_S
            if self.state.mode == "offline":
                limit_s = _OFFLINE_S
            left_s = ended + limit_s - time.monotonic()
            reply = scribe.receive(max(0.01, left_s))
            if reply is not None:
                self._note_reply(reply)
            elif left_s <= 0:
                scribe.kill()
                self._give_up(f"W&B: not done {limit_s:g} s after the end; {self._way_out()}")

    def _about(self) -> Message:
        """Return all that the scribe needs to start the run."""
        record = self.record
        state = self.state
        settings = self.settings
        name = record.name
        if self.is_trial:
            name = f"{state.group}-{name}"
        tags = {*settings.tags, record.model, record.data.name}
        if record.data.is_simulated:
            tags.add("simulated")
        return {
            **state.model_dump(include={"mode", "id", "project", "entity", "group"}),
            "folder": str(self.folder.resolve()),
            "name": settings.name or name,
            "job_type": "trial" if self.is_trial else "train",
            "tags": sorted(tags),
            "config": config_of(record),
            "dataset": dataset_artifact(record),
            "is_resumed": bool(record.resumed_at),
            "pid": record.process.pid if record.process else None,
            "server": server_url(),
            "init_timeout_s": settings.init_timeout_s,
            "finish_timeout_s": settings.finish_timeout_s,
            "flush_s": settings.flush_s,
            "system_s": settings.system_s,
        }

    def _note_reply(self, reply: Message) -> None:
        """Note in the run's state what the scribe replied."""
        # A late reply may be about the run before.
        if reply.get("id") not in (None, self.state.id):
            return
        match reply["event"]:
            case "started":
                Tracker._is_unanswered = self.state.mode == "online" and reply["mode"] == "offline"
                self.state.mode = reply["mode"]
                self.state.url = reply["url"]
                self.state.entity = reply["entity"] or self.state.entity
                if self.state.url:
                    print_line(self.console, f"W&B: {self.state.url}")
            case "warning":
                self._warn(f"W&B: {reply['text']}; {self._way_out()}")
            case "finished":
                self.is_ended = True
                self.state.is_confirmed = reply["is_confirmed"]
            case _:
                log = self.folder
                if self.scribe is not None:
                    log = self.scribe.log
                self._give_up(
                    f"W&B: its process died (see {log}); the run's own record is complete"
                )

    def _way_out(self) -> str:
        """Return the advice that goes with each warning."""
        return f"upload what is on disk with python -m studperf.tracking sync {self.folder}"

    def _note_best(self, row: dict[str, float | int]) -> None:
        """Keep the watched metric's best value so far; an epoch without a finite one has no say."""
        value = float(row.get(self.record.monitor, math.nan))
        if not math.isfinite(value):
            return
        if self.best is None:
            self.best = value
        elif self.record.monitor == "val/r2":
            self.best = max(value, self.best)
        else:
            self.best = min(value, self.best)

    def _give_up(self, text: str) -> None:
        """End the tracking of this run with a warning."""
        self.scribe = None
        self.is_ended = True
        self._warn(text)

    def _warn(self, text: str) -> None:
        """Note a warning in the record, log it and print it."""
        self.state.note = text
        # The run's log.txt is closed before the last reply from W&B.
        if LOG.handlers:
            LOG.warning("%s", text)
        warn(self.console, text)


@contextmanager
def tracked(runs: Sequence[Run]) -> Iterator[list[Tracker]]:
    """Track runs at W&B to the end of each, however it ends.

    The scribe follows one run at a time: the first of them from here on, another one from where its
    tracker is entered. The records know the runs' ids from here on.
    """
    trackers = [Tracker(run) for run in runs]
    for run in runs:
        run.save()
    with trackers[0]:
        yield trackers


def settle(settings: Wandb, console: Console) -> None:
    """Wait until the trials of this process are at W&B or on disk.

    It gives up when none was finished for the timeout.
    """
    timeout_s = max(_OFFLINE_S, settings.finish_timeout_s + _GRACE_S)
    n_left = pipe.settle(timeout_s)
    if n_left:
        text = (
            f"W&B: {n_left} runs are not done after {timeout_s:g} s without a word; "
            "what is on disk goes there with tracking sync"
        )
        warn(console, text)


def _group_of(folder: Path, runs: Path) -> str | None:
    """Return the name of the folder below `runs` that a run shares with others; None if alone.

    Runs of a multirun or of a study are a group of that name.
    """
    parent = folder.resolve().parent
    home = runs.resolve()
    if parent == home:
        return None
    if not parent.is_relative_to(home):
        return parent.name
    below = parent.relative_to(home).parts
    if below[0] == STUDIES and len(below) > 1:
        return below[1]
    return below[0]
