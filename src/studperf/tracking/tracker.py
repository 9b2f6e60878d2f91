"""A run's side of tracking: says what happens, epoch by epoch, to the scribe, and never waits for it before the run's end."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.config.shape import RunConfig, Wandb
from studperf.record import STUDIES, WANDB, RunRecord, Tracked
from studperf.tracking import pipe
from studperf.tracking.content import (
    config_of,
    dataset_artifact,
    images_of,
    model_artifact,
    row_of,
    summary_of,
    tables_of,
)
from studperf.tracking.mode import choose_mode, server_url
from studperf.tracking.pipe import Message, Scribe, get_scribe

if TYPE_CHECKING:
    from rich.console import Console

LOG = logging.getLogger("studperf")
EXIT_CODES = {"finished": 0, "pruned": 0, "failed": 1, "interrupted": 130, "running": 1}
_GRACE_S = 3.0
"""Beyond the timeouts that the scribe keeps itself, before it is taken for hanging."""
_OFFLINE_S = 60.0
"""The same where there is no server to wait for: on a busy machine its start alone may take ten seconds."""


class Tracker:
    """One run at W&B. Whatever goes wrong there costs one warning and the rest of the tracking, never the run.

    A trial of a study does not even wait for its end there: the scribe finishes it while the next one trains, and `settle` waits for the last.
    """

    _is_unanswered = False
    """Of this process: a server that did not answer once is not asked again for each trial."""

    def __init__(
        self,
        record: RunRecord,
        folder: Path,
        settings: Wandb,
        console: Console,
        *,
        is_trial: bool = False,
    ) -> None:
        self.record = record
        self.folder = folder
        self.settings = settings
        self.console = console
        self.is_trial = is_trial
        self.best: float | None = None
        for row in record.history:
            self._note_best(row)
        self.scribe: Scribe | None = None
        self.is_ended = False
        self.state = Tracked(
            mode=choose_mode(settings.mode),
            id=record.tracking.id if record.tracking else secrets.token_hex(4),
            project=settings.project,
            entity=settings.entity,
            group=settings.group or _group_of(folder, Path(str(record.config["runs"]))),
        )
        if is_trial and Tracker._is_unanswered and self.state.mode == "online":
            self.state.mode = "offline"
        record.tracking = self.state

    def is_live(self) -> bool:
        """Whether the run is live at W&B; waits for the server's word where it has not come yet."""
        while (
            (scribe := self.scribe) is not None
            and self.state.mode == "online"
            and self.state.url is None
        ):
            if (reply := scribe.receive(self.settings.init_timeout_s + _GRACE_S)) is None:
                return False
            self._take(reply)
        return self.scribe is not None and self.state.mode == "online"

    def start(self) -> None:
        """Starts the scribe; the run goes on at once."""
        if self.state.mode == "disabled":
            return
        try:
            self.scribe = get_scribe(self.folder / WANDB / "scribe.log")
            self.scribe.send({"do": "start", **self._about()})
        except OSError as error:
            self._give_up(f"W&B: not tracked, its process can't be started: {error}")

    def log_epoch(self, row: dict[str, float | int]) -> None:
        """A row of the record's history."""
        self._note_best(row)
        if (scribe := self.scribe) is None:
            return
        scribe.send({"do": "row", "row": row_of(row, self.best)})
        while (reply := scribe.receive()) is not None:
            self._take(reply)

    def log_judgement(self, record: RunRecord, folder: Path) -> None:
        """Scores, tables, plots and the bundle, as the record and its folder have them."""
        if self.scribe is None:
            return
        tables = tables_of(record, folder, n_predictions=self.settings.predictions)
        self.scribe.send({"do": "row", "row": {}, "tables": tables, "images": images_of(folder)})
        if (artifact := model_artifact(record, folder)) is not None:
            self.scribe.send({"do": "artifact", "artifact": artifact})

    def finish(self, status: str) -> None:
        """Ends the run at W&B and waits until it is there, or on disk, for at most the timeouts of the configuration."""
        if (scribe := self.scribe) is None:
            return
        scribe.send(
            {"do": "finish", "exit_code": EXIT_CODES[status], "summary": summary_of(self.record)}
        )
        if self.is_trial:
            return
        ended = time.monotonic()
        while not self.is_ended:
            limit_s = (
                _OFFLINE_S
                if self.state.mode == "offline"
                else self.settings.finish_timeout_s + _GRACE_S
            )
            left_s = ended + limit_s - time.monotonic()
            reply = scribe.receive(max(0.01, left_s))
            if reply is not None:
                self._take(reply)
            elif left_s <= 0:
                scribe.kill()
                self._give_up(f"W&B: not done {limit_s:g} s after the end; {self._way_out()}")

    def _about(self) -> Message:
        state, settings = self.state, self.settings
        is_resumed = bool(self.record.resumed_at)
        return {
            **state.model_dump(include={"mode", "id", "project", "entity", "group"}),
            "folder": str(self.folder.resolve()),
            "name": settings.name
            or (f"{state.group}-{self.record.name}" if self.is_trial else self.record.name),
            "job_type": "trial" if self.is_trial else "train",
            "tags": sorted(
                {*settings.tags, self.record.model, self.record.data.name}
                | ({"simulated"} if self.record.data.is_simulated else set())
            ),
            "config": config_of(self.record),
            "dataset": dataset_artifact(self.record),
            "is_resumed": is_resumed,
            "pid": self.record.process.pid if self.record.process else None,
            "server": server_url(),
            **{
                name: getattr(settings, name)
                for name in ("init_timeout_s", "finish_timeout_s", "flush_s", "system_s")
            },
        }

    def _take(self, reply: Message) -> None:
        """Notes what the scribe says."""
        if reply.get("id") not in (None, self.state.id):
            return  # late word about the run before
        match reply["event"]:
            case "started":
                Tracker._is_unanswered = self.state.mode == "online" and reply["mode"] == "offline"
                self.state.mode, self.state.url = reply["mode"], reply["url"]
                self.state.entity = reply["entity"] or self.state.entity
                if self.state.url:
                    self.console.print(f"W&B: {self.state.url}", soft_wrap=True, markup=False)
            case "warning":
                self._warn(f"W&B: {reply['text']}; {self._way_out()}")
            case "finished":
                self.is_ended, self.state.is_confirmed = True, reply["is_confirmed"]
            case _:
                log = self.scribe.log if self.scribe is not None else self.folder
                self._give_up(
                    f"W&B: its process died (see {log}); the run's own record is complete"
                )

    def _way_out(self) -> str:
        return f"upload what is on disk with python -m studperf.tracking sync {self.folder}"

    def _note_best(self, row: dict[str, float | int]) -> None:
        value = float(row.get(self.record.monitor, math.nan))
        if math.isfinite(value):
            better = max if self.record.monitor == "val/r2" else min
            self.best = value if self.best is None else better(value, self.best)

    def _give_up(self, text: str) -> None:
        self.scribe, self.is_ended = None, True
        self._warn(text)

    def _warn(self, text: str) -> None:
        self.state.note = text
        if LOG.handlers:  # the run's log.txt is closed before the last word from W&B
            LOG.warning("%s", text)
        self.console.print(f"warning: {text}", style="yellow", soft_wrap=True, markup=False)


@contextmanager
def tracked(
    record: RunRecord, folder: Path, config: RunConfig, console: Console, *, is_trial: bool = False
) -> Iterator[Tracker]:
    """A run at W&B from here to its end, however it ends; the record knows the id from here on."""
    tracker = Tracker(record, folder, config.tracking.wandb, console, is_trial=is_trial)
    record.save(folder)
    tracker.start()
    try:
        yield tracker
    finally:
        if tracker.scribe is not None:
            tracker.finish(record.status)
            record.save(folder)


def settle(settings: Wandb, console: Console) -> None:
    """Waits until the trials of this process are at W&B or on disk, as long as it gets on with them."""
    timeout_s = max(_OFFLINE_S, settings.finish_timeout_s + _GRACE_S)
    if n_left := pipe.settle(timeout_s):
        text = f"W&B: {n_left} runs are not done after {timeout_s:g} s without a word; what is on disk goes there with tracking sync"
        console.print(f"warning: {text}", style="yellow", soft_wrap=True, markup=False)


def _group_of(folder: Path, runs: Path) -> str | None:
    """Runs that share a folder below `runs`, those of a multirun or of a study, are a group of its name."""
    parent = folder.resolve().parent
    if parent == runs.resolve():
        return None
    below = (
        parent.relative_to(runs.resolve()).parts
        if parent.is_relative_to(runs.resolve())
        else (parent.name,)
    )
    return str(below[1] if below[0] == STUDIES and len(below) > 1 else below[0])
