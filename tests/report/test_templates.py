"""Templates: what they are given stays text, whatever it holds."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import UndefinedError, nodes

from studperf.report.charts.svg import Chart, element
from studperf.report.pages import template
from studperf.report.pages.change import to_markdown
from studperf.report.pages.study import render_study
from studperf.report.pages.table import write_report
from studperf.report.pages.template import fill, markdown_cell, markdown_text
from studperf.report.views.change import ChangeView
from studperf.report.views.section import Code, Section, Strong
from studperf.report.views.study import StudyView, Trials, TrialView, view_winner
from studperf.report.views.table import TableView

from .conftest import Page

SRC = Path(template.__file__).parents[2]
TEMPLATES = Path(template.__file__).parents[1] / "templates"
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)> & '`| "
ESCAPING = {"text", "code", "line", "cell", "number", "percent", "fenced"}
MACROS = {"table", "points", "show"}


def check_is_text(source: str) -> Page:
    page = Page(source)
    assert page.faults == []
    assert page.attributes("script") == []
    assert [a["src"] for a in page.attributes("img") if not a["src"].startswith("data:")] == []
    assert not [a for _, a in page.tags for key in a if key.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    return page


def markup_of(text: str) -> list[str]:
    """The constants of a module that look like a tag."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_tag = any(
                start in node.value for start in ("</", "<p", "<t", "<div", "<span", "<svg")
            )
            if is_tag and "\n" not in node.value:
                found.append(node.value)
    return found


def test_no_markup_is_written_outside_of_templates() -> None:
    assert markup_of("a = f'<p class=x>{b}</p>'") != []
    rooms = [*(SRC / "report").rglob("*.py"), *(SRC / "sweeps").rglob("*.py"), SRC / "compare.py"]
    found = {path.name: markup_of(path.read_text(encoding="utf-8")) for path in rooms}
    # The one that makes elements of drawings, and escapes all that is put into them.
    assert {name for name, texts in found.items() if texts} == {"svg.py"}
    assert found["svg.py"] == ["<{0}{1}>{2}</{0}>"]


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_html_template_lets_text_through(path: Path) -> None:
    environment = template._environment()
    tree = environment.parse(path.read_text(encoding="utf-8"))
    assert environment.autoescape(path.name)
    assert "safe" not in {found.name for found in tree.find_all(nodes.Filter)}
    assert list(tree.find_all(nodes.ScopedEvalContextModifier)) == []


def unescaped(tree: nodes.Template) -> Iterator[nodes.Node]:
    """The expressions that a Markdown template prints without an escaping filter."""
    for output in tree.find_all(nodes.Output):
        for part in output.nodes:
            if not is_escaped(part):
                yield part


def is_escaped(part: nodes.Node) -> bool:
    if isinstance(part, nodes.TemplateData | nodes.Const):
        return True
    if isinstance(part, nodes.CondExpr):
        return is_escaped(part.expr1) and (part.expr2 is None or is_escaped(part.expr2))
    if isinstance(part, nodes.Mul):
        return isinstance(part.left, nodes.Const)
    if isinstance(part, nodes.Call):
        return part.node.name in MACROS
    if isinstance(part, nodes.Filter) and part.name == "join":
        return part.node.name == "map" and part.node.args[0].value in ESCAPING
    return isinstance(part, nodes.Filter) and part.name in ESCAPING


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.md")), ids=lambda path: path.name)
def test_every_expression_of_a_markdown_template_is_escaped(path: Path) -> None:
    tree = template._environment().parse(path.read_text(encoding="utf-8"))
    assert list(unescaped(tree)) == []


def test_an_expression_that_is_not_escaped_is_found() -> None:
    tree = template._environment().parse("{{ view.name }} {{ view.name | text }}")
    assert len(list(unescaped(tree))) == 1


def test_a_name_that_a_view_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="origin"):
        fill("table.md", view={"title": "t", "sections": []})


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_column of b", "a_column of b"),
        ("_a_ __init__", r"\_a\_ \_\_init\_\_"),
        ("[x](http://evil) *b* <b>\n# top", r"\[x\](http://evil) \*b\* &lt;b&gt; # top"),
        ("`a` | \\", r"\`a\` \| \\"),
    ],
)
def test_markdown_reads_no_markup_in_a_text(text: str, escaped: str) -> None:
    assert markdown_text(text) == escaped


def test_a_bar_in_a_cell_ends_no_cell() -> None:
    assert markdown_cell((Code("a|b"), " and ", Strong("c|d"))) == r"`a\|b` and **c\|d**"


def test_attributes_and_texts_of_a_drawing_are_escaped() -> None:
    drawn = element("text", HOSTILE, aria_label=HOSTILE, cls="a")
    assert "<script>" not in drawn
    page = Page(str(drawn))
    assert page.tags == [("text", {"aria-label": HOSTILE, "class": "a"})]
    assert "".join(page.pieces) == HOSTILE
    chart = Chart()
    chart.dot(1, 2, title=HOSTILE)
    assert "<script>" not in chart.render(HOSTILE)


def test_a_hostile_table_stays_text(tmp_path: Path) -> None:
    section = Section(HOSTILE, [(HOSTILE, Code(HOSTILE))], [HOSTILE], [[HOSTILE], [Code(HOSTILE)]])
    page, text = write_report(TableView(HOSTILE, HOSTILE, [section]), tmp_path)
    check_is_text(page.read_text(encoding="utf-8"))
    written = text.read_text(encoding="utf-8")
    assert "<script>" not in written.replace('`"><script>alert(1)</script>', "")
    changed = to_markdown(ChangeView(HOSTILE, HOSTILE, [section]))
    assert "<script>" not in changed.replace('`"><script>alert(1)</script>', "")


def hostile_trial(number: int, value: float) -> TrialView:
    return TrialView(
        number=number,
        state="complete",
        values=(value,),
        last=(1, value),
        settings={HOSTILE: HOSTILE, "lr": value},
        words=(f"{HOSTILE}={HOSTILE}",),
        start=float(number),
        end=number + 1.0,
        worker=HOSTILE,
        error="",
        retry_of=None,
    )


def test_a_hostile_study_stays_text() -> None:
    trials = [hostile_trial(i, 5.0 + i) for i in range(12)]
    lost = TrialView(12, "fail", (), None, {}, (), None, None, "?", HOSTILE, None)
    candidate = {
        "trial": 0,
        "mean": 0.494,
        "sd": 0.0123,
        "difference": {"value": 0.0, "low": 0.0, "high": 0.0},
        "is_tied": True,
        "n_parameters": 4712,
        "fit_seconds": 1.0,
        "words": [HOSTILE],
    }
    found = {"trial": 0, "best": 0, "line": HOSTILE, "folder": "f", "command": HOSTILE}
    view = StudyView(
        name=HOSTILE,
        total=13,
        n_done=12,
        counts={"complete": 12, "fail": 1},
        trials=Trials([HOSTILE], ["minimize"], [*trials, lost], trials, trials[:1]),
        shares={HOSTILE: 0.7, "lr": 0.3},
        winner=view_winner({**found, "verdict": HOSTILE, "candidates": [candidate]}),
        command=HOSTILE,
        space={HOSTILE: HOSTILE},
    )
    text = check_is_text(render_study(view)).text
    for shown in ("0.494", "0.0123", "4,712", "12 of 13 trials", "Failed and put back"):
        assert shown in text
