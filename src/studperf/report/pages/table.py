"""The page about a table, with the same content in HTML and in Markdown."""

from __future__ import annotations

from pathlib import Path

from studperf.report.pages.template import fill
from studperf.report.plots import draw_picture
from studperf.report.views.table import TableView


def write_report(view: TableView, folder: Path) -> list[Path]:
    """Write `index.html` and `report.md`, and return their paths.

    The HTML page is self-contained; the Markdown page has its pictures beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for section in view.sections:
        if section.picture is not None:
            pictures[section.name] = draw_picture(section.picture)
            (folder / f"{section.name}.png").write_bytes(pictures[section.name])
    page, text = folder / "index.html", folder / "report.md"
    page.write_text(fill("table.html", view=view, pictures=pictures), encoding="utf-8")
    text.write_text(fill("table.md", view=view), encoding="utf-8")
    return [page, text]
