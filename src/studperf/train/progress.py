"""The bar of a fit in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class EpochBar:
    """A bar of epochs with a text beside it and the time left.

    Without a terminal it prints plain lines, ten in all.

    Args:
        console: where it is shown.
        is_shown: False for a bar that shows nothing.
        unit: what an epoch is called.
    """

    def __init__(self, console: Console, *, is_shown: bool, unit: str = "epoch") -> None:
        self.console = console
        self.is_shown = is_shown
        self.unit = unit
        self.n_epochs = 0
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def start(self, n_epochs: int, *, n_done: int = 0) -> None:
        """Open the bar."""
        self.n_epochs = n_epochs
        # Without a terminal rich would print an empty line.
        if not self.is_shown or not self.console.is_terminal:
            return
        columns: list[ProgressColumn | str] = [
            TextColumn(f"{self.unit} {{task.completed}}/{{task.total}}"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            _Left(),
        ]
        self._progress = Progress(*columns, console=self.console, transient=True)
        self._progress.start()
        self._task = self._progress.add_task("", total=n_epochs, completed=n_done)

    def move(self, n_done: int, text: str) -> None:
        """Show that so many epochs are done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=n_done, description=text)
            return
        is_due = n_done % max(1, self.n_epochs // 10) == 0 or n_done == self.n_epochs
        if self.is_shown and is_due:
            self.console.print(f"{self.unit} {n_done}/{self.n_epochs}  {text}")

    def close(self) -> None:
        """Close the bar, and give the terminal back."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class _Left(ProgressColumn):
    """The word `left` behind the remaining time, once that is known."""

    def render(self, task: Task) -> Text:
        return Text("left" if task.time_remaining else "", style="dim")
