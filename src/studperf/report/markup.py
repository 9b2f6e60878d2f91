"""HTML that needs nothing but a browser: one file, no request, nothing of the data taken for markup."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

_HERE = Path(__file__).parent


def esc(text: object) -> str:
    """As text, wherever it stands: between tags or in an attribute."""
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
    """A whole page.

    Args:
        title: for the browser's tab.
        masthead: what stands above the sections, as HTML.
        sections: id, heading, HTML; those without HTML are left out.
        footer: as HTML.
        script: runs at the end of the page.
        broad: for wide tables.
    """
    shown = [section for section in sections if section[2]]
    links = "".join(f'<li><a href="#{name}">{esc(heading)}</a></li>' for name, heading, _ in shown)
    body = "".join(
        f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{esc(h)}</h2>{b}</section>'
        for name, h, b in shown
    )
    # Nothing is loaded and only this script runs, whatever text slipped past `esc`.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}; base-uri 'none'; form-action 'none'"
    width = ' class="broad"' if broad else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{esc(title)}</title>'
        f'<link rel="icon" href="data:,"><style>\n{(_HERE / "page.css").read_text(encoding="utf-8")}</style></head><body>'
        f'<header class="masthead{" broad" if broad else ""}"><div>{masthead}</div></header>'
        f'<nav aria-label="Sections"{width}><ul>{links}</ul></nav><main{width}>{body}<footer>{footer}</footer></main>'
        f"{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )


def read_script(name: str) -> str:
    """A script that lies beside this module."""
    return (_HERE / name).read_text(encoding="utf-8")


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str,
    numbers: Iterable[int] = (),
    lead: bool = False,
) -> str:
    """A table in a frame that scrolls by itself. Cells are HTML, the first of each row names it; `numbers` are right-aligned columns.

    `lead` sets off the first row. A row of one cell is a heading for those below it.
    """
    right = set(numbers)
    heads = "".join(f'<th scope="col"{_n(i, right)}>{cell}</th>' for i, cell in enumerate(header))
    lines = []
    for k, row in enumerate(rows):
        if len(row) == 1:
            lines.append(
                f'<tr class="head"><th scope="rowgroup" colspan="{len(header)}">{row[0]}</th></tr>'
            )
            continue
        cells = "".join(f"<td{_n(i, right)}>{cell}</td>" for i, cell in enumerate(row) if i)
        lines.append(
            f'<tr{" class=lead" if lead and k == 0 else ""}><th scope="row">{row[0]}</th>{cells}</tr>'
        )
    body = f"<table><caption>{esc(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return framed(body, caption)


def framed(inner: str, label: str, *, cls: str = "wide") -> str:
    """A part that scrolls sideways by itself, by keyboard too, so that the page never does."""
    return f'<div class="{cls}" role="region" aria-label="{esc(label)}" tabindex="0">{inner}</div>'


def _n(i: int, right: set[int]) -> str:
    return ' class="n"' if i in right else ""


def figure(title: str, caption: str, drawing: str) -> str:
    """A drawing in a card, with its heading and what to see in it."""
    return f'<figure class="card"><h3>{esc(title)}</h3><figcaption>{esc(caption)}</figcaption>{drawing}</figure>'


def card(*parts: str) -> str:
    """A card of HTML."""
    return f'<div class="card">{"".join(parts)}</div>'


def points(lines: Iterable[str]) -> str:
    """A list of sentences."""
    return f'<ul class="points">{"".join(f"<li>{esc(line)}</li>" for line in lines)}</ul>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Terms with their values, which are HTML."""
    return f'<dl class="facts">{"".join(f"<dt>{esc(term)}</dt><dd>{value}</dd>" for term, value in pairs)}</dl>'


def fold(summary: str, inner: str) -> str:
    """Something to open."""
    return f"<details><summary>{esc(summary)}</summary>{inner}</details>"
