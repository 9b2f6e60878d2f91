"""Templates filled with views: HTML that escapes all it is given, and Markdown whose filters do.

A page is one file that asks no other site for anything, and in which no text is taken for markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.report.views.section import Code, Line, Strong, parts_of
from studperf.scoring.numbers import R2_DECIMALS, ends, number, short_number

if TYPE_CHECKING:
    from jinja2 import Environment

_MARKS = re.compile(r"[\\`*\[\]|]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown reads as markup. An underscore within a word is none, as in names of columns."""
_TEMPLATES = Path(__file__).parents[1] / "templates"


def fill(template: str, **view: object) -> str:
    """Return a template filled with what a view says.

    Raises:
        jinja2.UndefinedError: the template names something that it was not given.
    """
    text = _environment().get_template(template).render(view).strip() + "\n"
    if template.endswith(".md"):
        # Where a macro ends before an empty line there are two.
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text


@cache
def _environment() -> Environment:
    # Here, since only where a page is written it is worth its start-up.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        # Markdown has marks of its own, which its filters escape.
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["R2_DECIMALS"] = R2_DECIMALS
    environment.filters |= {
        "number": number,
        "ends": ends,
        "short_number": short_number,
        "percent": lambda share, decimals=0: f"{share:.{decimals}%}",
        "sha256": _hash_script,
        "base64": lambda data: base64.b64encode(data).decode(),
        "parts": parts_of,
        "text": markdown_text,
        "code": markdown_code,
        "line": markdown_line,
        "cell": markdown_cell,
        "fenced": _fenced,
    }
    environment.tests |= {
        "code": lambda part: isinstance(part, Code),
        "strong": lambda part: isinstance(part, Strong),
    }
    return environment


def _hash_script(script: str) -> str:
    """Return the hash by which a page's policy lets this script run and no other."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def markdown_text(text: object) -> str:
    """Return a text in which Markdown reads no markup.

    Markdown lets HTML through, and a bar or a line's end would break a table.
    """
    escaped = _MARKS.sub(r"\\\g<0>", html.escape(str(text), quote=False))
    return _in_one_line(escaped)


def markdown_code(text: object) -> str:
    """Return a text as a code span.

    There Markdown reads no link, no markup and no name to be notified.
    """
    inside = str(text).replace("`", "'")
    return f"`{_in_one_line(inside)}`"


def markdown_line(line: Line) -> str:
    """Return a line with its marks, and the rest of it escaped."""
    texts = []
    for part in parts_of(line):
        if isinstance(part, Code):
            texts.append(markdown_code(part))
        elif isinstance(part, Strong):
            texts.append(f"**{markdown_text(part)}**")
        else:
            texts.append(markdown_text(part))
    return "".join(texts)


def markdown_cell(line: Line) -> str:
    """Return a line for a cell of a table, which a bar would end, even one in a code span."""
    return re.sub(r"(?<!\\)\|", r"\\|", markdown_line(line))


def _in_one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")


def _fenced(text: str) -> str:
    """Return a text that can't end the fence around it."""
    return text.replace("```", "'''")
