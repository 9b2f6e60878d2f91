"""Retries while a storage is away, such as a database server that restarts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

Result = TypeVar("Result")
# A database that is restarted or moved is back within minutes; a worker that gives up loses its
# trial.
GIVE_UP_AFTER_S = 300.0
# The last one is repeated.
_WAITS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# Errors of sqlalchemy and Optuna, by name: neither needs to be imported for a journal on disk.
_TRANSIENT = frozenset(
    {
        "OperationalError",
        "InterfaceError",
        "InternalError",
        "InvalidatePoolError",
        "StorageInternalError",
        "TimeoutError",
    }
)
# Parts of the messages of faults that waiting does not mend, such as a wrong password: all of them
# come as an OperationalError too.
_REFUSALS = (
    *("authentication failed", "does not exist", "no pg_hba.conf entry", "invalid port number"),
    *("unable to open database file", "readonly database"),  # SQLite's
)


def patiently(work: Callable[[], Result], *, give_up_after_s: float = GIVE_UP_AFTER_S) -> Result:
    """Do the work, and repeat it while the storage is away.

    The work must bear to be done twice: a connection can be lost after the storage has done it.
    """
    started = time.monotonic()
    for i in range(10**9):
        try:
            return work()
        except Exception as error:
            is_late = time.monotonic() - started > give_up_after_s
            if is_late or not is_transient(error):
                raise
        time.sleep(_WAITS_S[min(i, len(_WAITS_S) - 1)])
    raise AssertionError


def is_transient(error: BaseException) -> bool:
    """Return True if an error says that the storage is away for a while."""
    # Optuna 5 wraps and re-raises in several ways, so the whole chain is looked at.
    links = list(_chain(error))
    is_refused = any(refusal in str(link) for link in links for refusal in _REFUSALS)
    return not is_refused and any(type(link).__name__ in _TRANSIENT for link in links)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all errors that it was raised from or during."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        link = todo.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if link.__cause__ is not None:
            todo.append(link.__cause__)
        if link.__context__ is not None:
            todo.append(link.__context__)
