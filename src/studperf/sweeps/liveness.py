"""The signs by which a dead worker is known, so that its trials are put back."""

from __future__ import annotations

import os
import platform
import uuid
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Protocol

from filelock import BaseFileLock, FileLock, Timeout

from studperf.sweeps.retry import patiently

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

WORKER = "worker"
"""The attribute of a trial that names its worker."""


class Liveness(Protocol):
    """A way to tell the trials of live workers from those of dead ones."""

    def begin(self, study: Study, trial: FrozenTrial) -> None:
        """Note that this worker took the trial; called while it holds the study."""

    def end(self, number: int) -> None:
        """Note that this worker has reported the trial's end."""

    def leave(self) -> None:
        """Note that this worker goes; trials that it has not ended are lost."""

    def dead(self, study: Study, running: list[FrozenTrial]) -> list[FrozenTrial]:
        """Return the running trials whose worker is dead; called while it holds the study."""

    def lost(self, study: Study, running: list[FrozenTrial]) -> list[FrozenTrial]:
        """Return the running trials whose worker a mere reader knows to be dead."""


class FileLiveness:
    """Liveness on one machine: each worker locks a file of its own.

    The kernel frees the lock when the process dies, so a dead worker is known at once, without a
    timeout.

    Args:
        folder: for the files of all workers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A process's number alone comes again, and so would stand for a worker that is dead.
        self.name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock: BaseFileLock | None = None

    def begin(self, study: Study, trial: FrozenTrial) -> None:
        """Lock this worker's file, if it is the first trial, and write its name to the trial."""
        if self._lock is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / self.name)
            self._lock.acquire()
        set_trial_attr(study, trial, WORKER, self.name)

    def end(self, number: int) -> None:
        """Do nothing: the file stays locked until the worker goes."""

    def leave(self) -> None:
        """Free and remove this worker's file."""
        if self._lock is not None:
            self._lock.release()
            (self.folder / self.name).unlink(missing_ok=True)
            self._lock = None

    def dead(self, study: Study, running: list[FrozenTrial]) -> list[FrozenTrial]:  # noqa: ARG002 - of the protocol
        """Return the trials whose worker's file is not locked.

        A trial without a name has a worker that died between taking it and writing its name.
        """
        return [trial for trial in running if not self._is_alive(trial.user_attrs.get(WORKER))]

    def _is_alive(self, name: str | None) -> bool:
        """Return True if a worker holds its file; the file of a dead one is removed."""
        if name == self.name:
            return self._lock is not None
        path = self.folder / str(name)
        if not path.is_file():
            return False
        if _is_locked(path):
            return True
        path.unlink(missing_ok=True)
        return False

    def lost(self, study: Study, running: list[FrozenTrial]) -> list[FrozenTrial]:  # noqa: ARG002 - of the protocol
        """Return the trials whose worker's file is there and not locked.

        A copy of a study comes without these files, and another user's may not be opened: nothing is
        known then.
        """
        named = [trial for trial in running if WORKER in trial.user_attrs]
        paths = [self.folder / trial.user_attrs[WORKER] for trial in named]
        lost = []
        try:
            for trial, path in zip(named, paths, strict=True):
                if path.is_file() and not _is_locked(path):
                    lost.append(trial)
        except OSError:
            return []
        return lost


def _is_locked(path: Path) -> bool:
    """Return True if a process holds the lock on a file."""
    try:
        FileLock(path, timeout=0).acquire().lock.release()
    except Timeout:
        return True
    return False


class HeartbeatLiveness:
    """Liveness on a database server: the storage's heartbeats, by the server's clock."""

    def __init__(self) -> None:
        self._stops: dict[int, Event] = {}

    def begin(self, study: Study, trial: FrozenTrial) -> None:
        """Send a first heartbeat, and start the thread that sends the others."""
        # Optuna itself beats only inside Study.optimize, which dies with the server, and never with
        # ask and tell (optuna#3293).
        storage: Any = study._storage  # noqa: SLF001 - there is no public way to its heartbeats
        trial_id = trial._trial_id  # noqa: SLF001 - as above
        patiently(lambda: storage.record_heartbeat(trial_id))
        set_trial_attr(study, trial, WORKER, f"{platform.node()}-{os.getpid()}")

        stop = Event()
        self._stops[trial.number] = stop
        beat = Thread(target=self._beat, args=(storage, trial_id, stop), daemon=True)
        beat.start()

    def end(self, number: int) -> None:
        """Stop the heartbeats of the trial."""
        stop = self._stops.pop(number, None)
        if stop is not None:
            stop.set()

    def leave(self) -> None:
        """Stop the heartbeats of all trials."""
        for number in list(self._stops):
            self.end(number)

    def dead(self, study: Study, running: list[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials whose last heartbeat is too old, or that have none.

        A trial is taken and gets its first heartbeat under the lock, so one that has none lost its
        worker in between.
        """
        from sqlalchemy import text

        storage: Any = study._storage  # noqa: SLF001 - see begin
        # The public function would only fail the stale trials, not put them back, and Optuna's scan
        # skips running trials that have no heartbeat.
        stale = set(storage._get_stale_trial_ids(study._study_id))  # noqa: SLF001 - see above
        with storage._backend.engine.connect() as connection:  # noqa: SLF001 - as above
            rows = connection.execute(text("SELECT trial_id FROM trial_heartbeats"))
            beaten = {row[0] for row in rows}

        dead = []
        for trial in running:
            trial_id = trial._trial_id  # noqa: SLF001 - see begin
            if trial_id in stale or trial_id not in beaten:
                dead.append(trial)
        return dead

    def lost(self, study: Study, running: list[FrozenTrial]) -> list[FrozenTrial]:
        """Return the dead ones among the trials that name their worker."""
        return self.dead(study, [trial for trial in running if WORKER in trial.user_attrs])

    @staticmethod
    def _beat(storage: Any, trial_id: int, stop: Event) -> None:  # noqa: ANN401 - Optuna's cached storage
        while not stop.wait(storage.get_heartbeat_interval()):
            patiently(lambda: storage.record_heartbeat(trial_id))


def set_trial_attr(study: Study, trial: FrozenTrial, key: str, value: Any) -> None:  # noqa: ANN401 - JSON
    """Write an attribute of any unfinished trial, one's own or not."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)  # noqa: SLF001 - public only for a live Trial
