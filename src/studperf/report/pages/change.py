"""The page about a change of a table, as Markdown and in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from studperf.report.pages.template import fill
from studperf.report.views.change import ChangeView
from studperf.report.views.section import Strong, plain


def to_markdown(view: ChangeView) -> str:
    """Return the page, for a comment on a pull request."""
    return fill("change.md", view=view)


def show(view: ChangeView, console: Console) -> None:
    """Print the page in the terminal."""
    console.print(view.title, style="bold", markup=False)
    console.print(plain(view.headline), soft_wrap=True, markup=False)
    for section in view.sections:
        console.print(f"\n{section.title}", style="bold", markup=False)
        for line in section.prose:
            console.print(plain(line), soft_wrap=True, markup=False)
        if not section.header:
            continue
        table = Table()
        for head in section.header:
            table.add_column(Text(head))
        for row in section.rows:
            is_strong = any(isinstance(cell, Strong) for cell in row)
            # Not as bare text, as rich would read [...] of a name as its own markup.
            cells = [Text(plain(cell)) for cell in row]
            table.add_row(*cells, style="yellow" if is_strong else None)
        console.print(table)
