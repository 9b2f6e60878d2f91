"""Riding out a storage that is away for a while, such as a database server that restarts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

Result = TypeVar("Result")
GIVE_UP_AFTER_S = 300.0
_WAITS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
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
_REFUSALS = (
    *("authentication failed", "does not exist", "no pg_hba.conf entry"),
    *("unable to open database file", "readonly database"),  # SQLite's
)
"""In what a database says of a user, a password or a database that it will not know a minute later either."""


def patiently(work: Callable[[], Result], *, give_up_after_s: float = GIVE_UP_AFTER_S) -> Result:
    """Does the work, again and again while the storage is away; the work must bear to be done twice."""
    started = time.monotonic()
    for i in range(10**9):
        try:
            return work()
        except Exception as error:
            if not is_transient(error) or time.monotonic() - started > give_up_after_s:
                raise
        time.sleep(_WAITS_S[min(i, len(_WAITS_S) - 1)])
    raise AssertionError


def is_transient(error: BaseException) -> bool:
    """Whether any error in the chain says that the storage is away. Optuna 5 wraps and re-raises in several ways."""
    links = list(_chain(error))
    is_refused = any(refusal in str(link) for link in links for refusal in _REFUSALS)
    return not is_refused and any(type(link).__name__ in _TRANSIENT for link in links)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo = [error]
    while todo:
        link = todo.pop()
        if id(link) not in seen:
            seen.add(id(link))
            yield link
            todo += [other for other in (link.__cause__, link.__context__) if other is not None]
