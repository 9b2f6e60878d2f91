"""A run: what is to be done, and the run while it is being done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.config.run import RunConfig
    from studperf.record.record import RunRecord
    from studperf.record.shape import Status

Row: TypeAlias = "dict[str, float | int]"
"""An epoch in the history: name -> value."""
Follow: TypeAlias = "Callable[[Run, Row], object]"
"""A function that is called with a run and the row of each epoch, as it ends."""


@dataclass(frozen=True)
class Job:
    """A run to be done.

    Args:
        config: of this one run; its `repeat` is 1.
        overrides: the words of the command line, for the record.
        folder: where the run lies, or is to lie; None for a new folder below `config.runs`.
    """

    config: RunConfig
    overrides: Sequence[str] = ()
    folder: Path | None = None


@dataclass
class Run:
    """A run that is being done: all that is known of it beside its rows and its model.

    Args:
        config: of this one run.
        record: what the run says of itself.
        folder: where it lies.
        console: shows it.
        is_trial: a study's; it is neither judged nor drawn, and leaves the test split closed.
        is_kept: False in the further processes of a run, which write nothing.
        on_epoch: called with the history's newest row, in this order.
        is_over: training is to end with this epoch, as one of those that were called asked.
    """

    config: RunConfig
    record: RunRecord
    folder: Path
    console: Console
    is_trial: bool = False
    is_kept: bool = True
    on_epoch: list[Callable[[Row], object]] = field(default_factory=list)
    is_over: bool = False

    @property
    def is_alone(self) -> bool:
        """Return True if no other run is trained together with this one."""
        return self.record.n_stacked == 1

    def add_epoch(self, row: Row) -> None:
        """Add a row to the history, and call those who follow the run."""
        self.record.history.append(row)
        for follow in self.on_epoch:
            follow(row)

    def save(self) -> None:
        """Write the record, whole or not at all."""
        self.record.save(self.folder)

    def end_early(self, status: Status, error: str) -> None:
        """Record that the run ended before it was finished, with the reason."""
        self.record.end_early(self.folder, status, error)
