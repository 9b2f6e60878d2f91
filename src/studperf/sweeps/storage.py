"""The storage of a study: a journal or SQLite on disk, or PostgreSQL.

With it comes the lock under which one worker at a time takes a trial.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from studperf.config.console import print_line
from studperf.config.secrets import mask
from studperf.errors import ConfigError
from studperf.sweeps.liveness import FileLiveness, HeartbeatLiveness, Liveness
from studperf.sweeps.retry import patiently

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from optuna.storages import BaseStorage
    from sqlalchemy import Engine

# The default: a journal takes 3 ms a trial with TPE, SQLite 24, and it needs no server.
JOURNAL = "study.journal"
_CONNECT_S = 5
"""Seconds for one attempt to reach a server."""
_GIVE_UP_S = 10
"""Seconds for all attempts to reach a server."""
_SOON_S = 2
"""Seconds until a line says that a server is waited for."""
_KINDS = "a journal (no storage given), sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"


class Storage:
    """A study's storage, with its lock and its liveness.

    Args:
        url: None for a journal in the study's folder.
        folder: of the study.
        heartbeat_s: on a database server, seconds between two signs of life.
        grace_s: seconds without one, after which a worker is dead.

    Raises:
        ConfigError: the address is of no kind that several workers can share.
    """

    def __init__(
        self, url: str | None, folder: Path, *, heartbeat_s: int = 10, grace_s: int = 40
    ) -> None:
        self.url = url
        self.folder = folder
        self.home = folder
        if url is None:
            self.optuna: BaseStorage = _open_journal(folder / JOURNAL)
        elif url.startswith("sqlite:///") and url.removeprefix("sqlite:///").strip("/"):
            file, _, _ = url.removeprefix("sqlite:///").partition("?")
            self.home = Path(file).resolve().parent
            if not self.home.is_dir():
                raise ConfigError(
                    f"hydra.sweeper.storage: {url}: there is no folder {self.home}; "
                    "make it, or name another"
                )
            # Two processes that make the tables at once fail. While one worker writes, the others
            # wait up to a minute: SQLite's own 5 s end in "database is locked".
            with _file_lock(_make_lock_file(self.home / ".open.lock", url)):
                self.optuna = _open_database(url, {"connect_args": {"timeout": 60}})
        elif url.startswith("postgresql"):
            timing = {"heartbeat_interval": heartbeat_s, "grace_period": grace_s}
            # A connection that died with the server is noticed before it is used, and replaced.
            engine = {"pool_pre_ping": True, "connect_args": {"connect_timeout": _CONNECT_S}}
            with _opening(url, engine):
                self.optuna = _open_database(url, engine, **timing)
        else:
            raise ConfigError(f"hydra.sweeper.storage: expected {_KINDS}, got {mask(url)}")
        self.is_server = url is not None and url.startswith("postgresql")

    def close(self) -> None:
        """Close the connections to a database."""
        engine = getattr(self.optuna, "engine", None)
        if engine is not None:
            engine.dispose()

    def liveness(self) -> Liveness:
        """Return the liveness of a new worker."""
        if self.is_server:
            return HeartbeatLiveness()
        return FileLiveness(self.home / ".workers")

    def held(self, study_name: str) -> AbstractContextManager[None]:
        """Hold the study's lock, so that one worker at a time counts its trials and takes one.

        The lock of a worker that dies is free.
        """
        if self.is_server:
            engine = self.optuna.engine  # type: ignore[attr-defined] # a server's is an RDBStorage
            return _advisory_lock(engine, study_name)
        return _file_lock(self.home / f".{study_name}.lock")


def _make_lock_file(path: Path, url: str) -> Path:
    """Make the file that is locked while a database file is opened, and return it.

    filelock 3.x waits for ever where none can be made, such as below /proc.

    Raises:
        ConfigError: nothing can be written there.
    """
    try:
        path.touch()
    except OSError as error:
        raise ConfigError(
            f"hydra.sweeper.storage: {url}: nothing can be written in {path.parent}: "
            f"{error.strerror}; name another folder"
        ) from None
    return path


def copy_to_journal(study: str, url: str, folder: Path) -> None:
    """Copy a study out of a database into a journal, which can be read without it.

    A journal that is there is replaced.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    source = Storage(url, folder)
    # A copy that is cut short leaves the old journal as it was.
    fresh = folder / f".{JOURNAL}.new"
    fresh.unlink(missing_ok=True)
    try:
        optuna.copy_study(
            from_study_name=study, from_storage=source.optuna, to_storage=_open_journal(fresh)
        )
        fresh.replace(folder / JOURNAL)
    finally:
        source.close()
        fresh.unlink(missing_ok=True)
        _lock_of(fresh).unlink(missing_ok=True)


def hide(text: str, url: str | None) -> str:
    """Return a text without the password of the storage's address, wherever it stands."""
    password = None
    with suppress(ValueError):  # half an address, such as one with an open bracket
        password = urlsplit(url or "").password
    if password:
        text = text.replace(password, "***")
    return mask(text)


def _open_journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path.parent.mkdir(parents=True, exist_ok=True)
    lock: Any = _JournalLock(path)  # the base class of Optuna's own is private
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


@contextmanager
def _opening(url: str, arguments: dict[str, Any]) -> Iterator[None]:
    """Hold a server's lock while its tables are made: one process at a time may do that."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    with ExitStack() as stack:

        def enter() -> None:
            engine = create_engine(url, **arguments)
            stack.callback(engine.dispose)
            stack.enter_context(_advisory_lock(engine, "studperf opens"))

        try:
            with _announce_wait(url):
                patiently(enter, give_up_after_s=_GIVE_UP_S)
        # sqlalchemy reads the port as a number, and says so as Python does.
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise ConfigError(_refusal(url, error)) from None
        yield


@contextmanager
def _announce_wait(url: str) -> Iterator[None]:
    """Print what is waited for, once it takes longer than a server that is there would take."""
    from rich.console import Console

    where = mask(url).rpartition("@")[2].partition("/")[0]
    line = f"waiting for the database at {where}, for {_GIVE_UP_S + _CONNECT_S} s at most"
    console = Console(stderr=True, highlight=False)
    timer = Timer(_SOON_S, lambda: print_line(console, line))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _refusal(url: str, error: Exception) -> str:
    """Return the message of a storage that can't be opened, without its password."""
    # The driver's own error can hold the whole address.
    first_line = str(error.__cause__ or error).strip().splitlines()[0]
    reason = hide(first_line, url)
    return f"hydra.sweeper.storage: {mask(url)} can't be opened: {reason}"


def _open_database(url: str, engine: dict[str, Any], **timing: Any) -> BaseStorage:  # noqa: ANN401 - whole numbers
    from optuna.storages import RDBStorage

    try:
        with warnings.catch_warnings():
            # Optuna marks heartbeats as experimental.
            warnings.simplefilter("ignore")
            return patiently(
                lambda: RDBStorage(url, engine_kwargs=engine, **timing), give_up_after_s=20
            )
    except Exception as error:  # noqa: BLE001 - each driver has errors of its own
        raise ConfigError(_refusal(url, error)) from None


class _JournalLock:
    """A journal's lock that is free at once when its holder dies; it is the kernel's.

    Optuna's own waits for half a minute then. The part of a line that a killed writer left is cut
    off before the next line is written: Optuna would refuse the whole journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(_lock_of(path))

    def acquire(self) -> bool:
        self._lock.acquire()
        _mend(self.path)
        return True

    def release(self) -> None:
        self._lock.release()


def _lock_of(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.lock")


def _mend(path: Path) -> None:
    """Cut off the part of a line at the end of a journal."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        keep = size
        while keep > 0:
            file.seek(keep - 1)
            if file.read(1) == b"\n":
                break
            keep -= 1
        if keep < size:
            file.truncate(keep)


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


@contextmanager
def _advisory_lock(engine: Engine, name: str) -> Iterator[None]:
    """Hold a lock of PostgreSQL's; it belongs to the connection, so a dead worker's is free."""
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    # PostgreSQL names such a lock by a signed number of 64 bits.
    digest = hashlib.sha256(name.encode()).digest()
    key = int.from_bytes(digest[:8], signed=True)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
        try:
            yield
        finally:
            # A connection that was lost holds no lock; one that goes back to the pool would keep
            # it.
            with suppress(DBAPIError):
                if not connection.closed and not connection.invalidated:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
                    connection.commit()
