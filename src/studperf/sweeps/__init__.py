"""Studies: many runs (trials), each chosen by the results of those before it.

Any number of workers take part, and the work of one that dies is not lost. Rooms import no
commands, so the command that starts a study hands over the function that runs a trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.train.runner import Runner


@dataclass
class Handed:
    """The functions that the command which started the study has set."""

    run: Runner | None = None
    make_console: Callable[[], Console] | None = None
    since: float | None = None
    """The command's start, by the monotonic clock."""


_handed = Handed()


def hand_over(run: Runner, make_console: Callable[[], Console]) -> None:
    """Set the function that runs a trial, and the one that makes the console.

    Args:
        run: a function that another process can import.
        make_console: makes the console on which a study is shown.
    """
    _handed.run = run
    _handed.make_console = make_console
    _handed.since = time.monotonic()


def handed() -> Handed:
    """Return the functions that the command has set; None where no command did."""
    return _handed
