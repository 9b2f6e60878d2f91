"""HTML that needs nothing but a browser: one file, no request, no text taken for markup."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

_HERE = Path(__file__).parent


def esc(text: object) -> str:
    """Return a text as it may stand between tags or in an attribute."""
    return html.escape(str(text), quote=True)


def render_page(
    title: str,
    masthead: str,
    sections: Sequence[tuple[str, str, str]],
    *,
    footer: str,
    script: str = "",
    broad: bool = False,
) -> str:
    """Return a whole page.

    Args:
        title: for the browser's tab.
        masthead: what stands above the sections, as HTML.
        sections: id, heading, HTML; those without HTML are left out.
        footer: as HTML.
        script: runs at the end of the page.
        broad: for wide tables.
    """
    links = ""
    body = ""
    for name, heading, content in sections:
        if not content:
            continue
        links += f'<li><a href="#{name}">{esc(heading)}</a></li>'
        title_of_section = f'<h2 id="h-{name}">{esc(heading)}</h2>'
        body += (
            f'<section id="{name}" aria-labelledby="h-{name}">{title_of_section}{content}</section>'
        )

    style = (_HERE / "page.css").read_text(encoding="utf-8")
    width = ' class="broad"' if broad else ""
    masthead_class = "masthead broad" if broad else "masthead"
    tail = ""
    if script:
        tail = f"<script>{script}</script>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{esc(title)}</title>"
        f'<link rel="icon" href="data:,"><style>\n{style}</style></head><body>'
        f'<header class="{masthead_class}"><div>{masthead}</div></header>'
        f'<nav aria-label="Sections"{width}><ul>{links}</ul></nav>'
        f"<main{width}>{body}<footer>{footer}</footer></main>"
        f"{tail}</body></html>\n"
    )


def _policy(script: str) -> str:
    """Return the policy by which nothing is loaded and only this script runs.

    It holds whatever text slipped past `esc`.
    """
    allowed = "'none'"
    if script:
        digest = hashlib.sha256(script.encode()).digest()
        allowed = f"'sha256-{base64.b64encode(digest).decode()}'"
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src {allowed}; base-uri 'none'; form-action 'none'"
    )


def read_script(name: str) -> str:
    """Return a script that lies beside this module."""
    return (_HERE / name).read_text(encoding="utf-8")


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str,
    numbers: Iterable[int] = (),
    lead: bool = False,
) -> str:
    """Return a table in a frame that scrolls by itself.

    Args:
        header: names of the columns.
        rows: cells as HTML, of which the first names the row; a row of one cell is a heading for
            those below it.
        caption: what the table shows.
        numbers: columns that are right-aligned.
        lead: sets off the first row.
    """
    right = set(numbers)
    heads = ""
    for i, cell in enumerate(header):
        heads += f'<th scope="col"{_number_class(i, right)}>{cell}</th>'

    lines = ""
    for k, row in enumerate(rows):
        name, *others = row
        if not others:
            head = f'<th scope="rowgroup" colspan="{len(header)}">{name}</th>'
            lines += f'<tr class="head">{head}</tr>'
            continue
        cells = ""
        for i, cell in enumerate(others, start=1):
            cells += f"<td{_number_class(i, right)}>{cell}</td>"
        cls = " class=lead" if lead and k == 0 else ""
        lines += f'<tr{cls}><th scope="row">{name}</th>{cells}</tr>'

    body = (
        f"<table><caption>{esc(caption)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{lines}</tbody></table>"
    )
    return framed(body, caption)


def framed(inner: str, label: str, *, cls: str = "wide") -> str:
    """Return a part that scrolls sideways by itself, by keyboard too.

    So the page as a whole never does.
    """
    return f'<div class="{cls}" role="region" aria-label="{esc(label)}" tabindex="0">{inner}</div>'


def _number_class(i: int, right: set[int]) -> str:
    """Return the attribute of a cell in a column that is right-aligned."""
    return ' class="n"' if i in right else ""


def figure(title: str, caption: str, drawing: str) -> str:
    """Return a drawing in a card, with its heading and what to see in it."""
    words = f"<h3>{esc(title)}</h3><figcaption>{esc(caption)}</figcaption>"
    return f'<figure class="card">{words}{drawing}</figure>'


def card(*parts: str) -> str:
    """Return a card of HTML."""
    return f'<div class="card">{"".join(parts)}</div>'


def points(lines: Iterable[str]) -> str:
    """Return a list of sentences."""
    items = "".join(f"<li>{esc(line)}</li>" for line in lines)
    return f'<ul class="points">{items}</ul>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of terms with their values, which are HTML."""
    items = "".join(f"<dt>{esc(term)}</dt><dd>{value}</dd>" for term, value in pairs)
    return f'<dl class="facts">{items}</dl>'


def fold(summary: str, inner: str) -> str:
    """Return HTML that is hidden until its summary is opened."""
    return f"<details><summary>{esc(summary)}</summary>{inner}</details>"
