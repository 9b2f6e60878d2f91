"""Studies: many runs, each chosen in the light of those before it; any number of workers, none of whose work is lost.

Rooms import no commands, so the command that starts a study hands over what runs a trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.train.job import Runner


@dataclass
class Handed:
    """What the command handed over."""

    run: Runner | None = None
    make_console: Callable[[], Console] | None = None
    since: float | None = None
    """When, by the monotonic clock: the command's start."""


_handed = Handed()


def hand_over(run: Runner, make_console: Callable[[], Console]) -> None:
    """Says what runs a trial, a function that another process can import, and where a study is shown."""
    _handed.run, _handed.make_console, _handed.since = run, make_console, time.monotonic()


def handed() -> Handed:
    """What was handed over."""
    return _handed
