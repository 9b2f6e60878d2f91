"""Studies: many runs, each chosen in the light of those before it; any number of workers, none of whose work is lost.

Rooms import no commands, so the command that starts a study hands over what runs a trial, and who wants to hear of its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from studperf.record import RunRecord

Run = Callable[..., "RunRecord"]


@dataclass(frozen=True)
class TrialEnd:
    """A trial that has ended, for whoever wants to show it elsewhere."""

    study: str
    number: int
    state: str
    """COMPLETE, PRUNED or FAIL."""
    values: dict[str, float]
    """Objective -> value; empty unless it is complete."""
    words: tuple[str, ...]
    folder: Path
    seconds: float
    error: str | None


Hook = Callable[[TrialEnd], None]


@dataclass
class Handed:
    """What the command handed over."""

    run: Run | None = None
    make_console: Callable[[], Console] | None = None
    hooks: Sequence[Hook] = field(default_factory=tuple)


_handed = Handed()


def hand_over(run: Run, make_console: Callable[[], Console], *, hooks: Sequence[Hook] = ()) -> None:
    """Says what runs a trial, where a study is shown, and what is called at each trial's end, in the process that ran it.

    `run` and the hooks are functions that another process can import.
    """
    _handed.run, _handed.make_console, _handed.hooks = run, make_console, tuple(hooks)


def handed() -> Handed:
    """What was handed over."""
    return _handed
