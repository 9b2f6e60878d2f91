"""Lines for a user: as they are, not wrapped, no markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def print_line(console: Console, text: str | Text, *, style: str | None = None) -> None:
    """Print a text as it is.

    It is not wrapped, since a path or a command is copied from it; and a column's name may look
    like rich's markup, as in `rate [/min]`.
    """
    console.print(text, style=style, soft_wrap=True, markup=False)


def warn(console: Console, what: object) -> None:
    """Print a warning: a text, or a finding."""
    print_line(console, f"warning: {what}", style="yellow")
