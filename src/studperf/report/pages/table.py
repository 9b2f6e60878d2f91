"""The page about a table, with the same content in Markdown and HTML.

It says what is in the table, what is missing, how the split balances, and what leaks.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from studperf.data.guard.leaks import examine, find_leaks
from studperf.data.guard.left_out import left_out_signal
from studperf.data.schema import Table
from studperf.data.source import Provenance
from studperf.data.split import Split, split_rows
from studperf.schema.findings import Finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _SOFT, _ACCENT = "#334155", "#94a3b8", "#3b82c4"
_N_COLUMNS = 3
_SURE_P = 0.01
_N_LEVELS_SHOWN = 12
_N_BINS = 40
_N_STEPS, _OFF_GRID = 100_000, 1e-3  # beyond these, values lie on no grid
_STYLE = """
:root{color-scheme:light dark;--bg:#fff;--ink:#1f2933;--soft:#616e7c;--line:#d9dee4;--card:#f6f8fa;--bad:#b42318;--good:#1a7f4b}
@media(prefers-color-scheme:dark){:root{--bg:#12171d;--ink:#e4e7eb;--soft:#9aa5b1;--line:#323f4b;--card:#1b222b;--bad:#ff9c8f;--good:#6fd3a0}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 4rem}h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem}p{margin:.5rem 0;max-width:46rem}.soft{color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;min-width:50%}
th,td{padding:.32rem .8rem .32rem 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600}td.n,th.n{text-align:right}
img{max-width:100%;height:auto;background:#fff;border-radius:6px;border:1px solid var(--line);padding:6px}
"""


@dataclass
class Section:
    """A heading with prose, a table and a picture, each if there is one."""

    title: str
    prose: list[str] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    picture: bytes | None = None


def write_report(
    table: Table, findings: list[Finding], split: Split, origin: Provenance, folder: Path
) -> list[Path]:
    """Write `index.html` and `report.md`, and return their paths.

    The HTML page is self-contained; the Markdown page has its pictures beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections = describe(table, findings, split)
    title = f"Data report: {table.dataset.name}"
    page, text = folder / "index.html", folder / "report.md"
    page.write_text(_to_html(title, origin.line, sections), encoding="utf-8")
    text.write_text(_to_markdown(title, origin.line, sections, folder), encoding="utf-8")
    return [page, text]


def describe(table: Table, findings: list[Finding], split: Split) -> list[Section]:
    """Return the report's sections."""
    parts = split_rows(table, split)
    return [
        _overview(table),
        _findings(findings),
        _leaks(parts["train"]),
        _target(table, parts),
        _balance(parts),
        _missing(table),
        _relations(table),
        *_distributions(table),
    ]


def _overview(table: Table) -> Section:
    dataset = table.dataset
    kinds = pd.Series([column.kind for column in dataset.columns.values()]).value_counts()
    rows = [
        [
            str(kind),
            str(n),
            ", ".join(name for name, column in dataset.columns.items() if column.kind == kind),
        ]
        for kind, n in kinds.items()
    ]
    target = f"{dataset.target.column}{f' in {dataset.target.unit}' if dataset.target.unit else ''}"
    return Section(
        "Overview",
        [f"{len(table)} rows; the target is {target}."],
        ["kind", "columns", "names"],
        rows,
    )


def _findings(findings: list[Finding]) -> Section:
    if not findings:
        return Section("Checks", ["Every column is what the dataset says it is."])
    return Section(
        "Checks", [], ["level", "where", "what"], [[f.level, f.where, f.what] for f in findings]
    )


def _leaks(train: Table) -> Section:
    dataset = train.dataset
    features = examine(train)
    n_refused = sum(leak.is_refused for leak in features)
    marked = [
        name
        for name, column in dataset.columns.items()
        if column.kind == "leak" and name in train.frame
    ]
    prose = [
        (
            "No feature gives the target away: none follows from it exactly, "
            "none can be read back from it, and no few of them make it together."
        )
    ]
    if features:
        refused = f"{n_refused} give the target away, so training refuses them"
        prose = [f"{refused}; {len(features) - n_refused} may, so training warns of them."]
    rows = [
        [
            ", ".join(leak.columns),
            "feature" if leak.is_refused else "feature, suspect",
            leak.test,
            leak.evidence,
        ]
        for leak in features
    ]
    rows += [
        [leak.column, "marked as leak", leak.test, leak.evidence]
        for leak in find_leaks(train, marked)
    ]
    left_out = left_out_signal(train, dataset)
    if left_out:
        names = ", ".join(f"{name} ({share:.0%} of the variance alone)" for name, share in left_out)
        prose.append(f"Left out though they carry signal: {names}.")
    return Section("Leaks", prose, ["column", "is", "test", "evidence"] if rows else [], rows)


def _target(table: Table, parts: dict[str, Table]) -> Section:
    def paint(ax: Axes) -> None:
        ax.hist(table.target, bins=list(bin_edges(table.target, 50)), color=_ACCENT)
        _label(ax, table.dataset.target.column)

    rows = [
        [name, str(len(part)), *(f"{value:.4g}" for value in _spread(part.target))]
        for name, part in {"all": table, **parts}.items()
    ]
    return Section(
        "Target", [], ["rows of", "n", "mean", "sd", "min", "median", "max"], rows, _figure(paint)
    )


def _spread(values: np.ndarray) -> list[float]:
    return [values.mean(), values.std(), values.min(), float(np.median(values)), values.max()]


def _balance(parts: dict[str, Table]) -> Section:
    """Return the section on whether the parts look drawn from one population.

    Shown is the smallest p-value over the columns, corrected for their number.
    """
    from scipy import stats

    train, dataset = parts["train"], parts["train"].dataset
    columns = [dataset.target.column, *dataset.feature_names]
    rows = []
    for part in ("val", "test"):
        tests = []
        for name in columns:
            a, b = train.frame[name].dropna(), parts[part].frame[name].dropna()
            if dataset.columns.get(name) is not None and dataset.columns[name].kind in (
                "category",
                "flag",
            ):
                levels = sorted(set(a) | set(b))
                counts = np.array([[(side == level).sum() for level in levels] for side in (a, b)])
                p = (
                    stats.chi2_contingency(counts).pvalue
                    if len(levels) > 1 and (counts.sum(axis=1) > 0).all()
                    else 1.0
                )
            else:
                p = stats.ks_2samp(a, b).pvalue if len(a) and len(b) else 1.0
            tests.append((float(p), name))
        smallest, name = min(tests)
        corrected = min(1.0, smallest * len(tests))
        rows.append(
            [
                part,
                name,
                f"{smallest:.3g}",
                f"{corrected:.3g}",
                "differs" if corrected < _SURE_P else "no difference seen",
            ]
        )
    prose = [
        f"Each of {len(columns)} columns is tested against train (Kolmogorov-Smirnov for numbers, chi-squared for levels)."
    ]
    return Section(
        "Balance of the split",
        prose,
        ["part", "most different column", "p", "p, corrected", ""],
        rows,
    )


def _missing(table: Table) -> Section:
    rows = []
    for name in table.dataset.feature_names:
        n_missing = int(table.frame[name].isna().sum())
        if n_missing:
            fill = table.dataset.columns[name].fill
            rows.append(
                [
                    name,
                    str(n_missing),
                    f"{n_missing / len(table):.1%}",
                    "refused" if fill is None else f"filled with {fill}",
                ]
            )
    if not rows:
        return Section("Missing values", ["None."])
    return Section("Missing values", [], ["column", "rows", "share", "in training"], rows)


def _relations(table: Table) -> Section:
    numeric = [*table.dataset.of_kind("number", "flag"), table.dataset.target.column]
    correlation = table.frame[numeric].corr().fillna(0.0)
    target = table.dataset.target.column
    strength = correlation[target].drop(target).abs()
    order = strength.sort_values(ascending=False).index
    rows = [[name, f"{correlation.loc[name, target]:+.3f}"] for name in order]
    shown = [target, *order[:24]]

    def paint(ax: Axes) -> None:
        image = ax.imshow(correlation.loc[shown, shown], cmap="RdBu_r", vmin=-1, vmax=1)
        ax.set_xticks(range(len(shown)), shown, rotation=90, fontsize=7)
        ax.set_yticks(range(len(shown)), shown, fontsize=7)
        ax.figure.colorbar(image, ax=ax, shrink=0.7)

    return Section(
        "Correlations",
        ["With the target, strongest first."],
        ["column", "r"],
        rows,
        _figure(paint, size=(7.4, 6.6)),
    )


def _distributions(table: Table) -> list[Section]:
    sections = []
    numbers, levels = table.dataset.of_kind("number"), table.dataset.of_kind("category", "flag")
    if numbers:
        sections.append(
            Section(
                "Numbers", [], picture=_grid(numbers, lambda ax, name: _histogram(ax, table, name))
            )
        )
    if levels:
        sections.append(
            Section(
                "Categories and flags",
                [],
                picture=_grid(levels, lambda ax, name: _bars(ax, table, name), height=2.4),
            )
        )
    return sections


def _histogram(ax: Axes, table: Table, name: str) -> None:
    values = table.frame[name].dropna().to_numpy(dtype=np.float64)
    ax.hist(values, bins=list(bin_edges(values, _N_BINS)), color=_ACCENT)
    unit = table.dataset.columns[name].unit
    _label(ax, f"{name}{f' ({unit})' if unit else ''}")


def bin_edges(values: np.ndarray, n_most: int) -> np.ndarray:
    """Return the edges of at most `n_most` bins, (B + 1,).

    Each bin holds as many steps of the values' grid, lest there are stripes that the data do not
    have.
    """
    levels = np.unique(values)
    steps = np.diff(levels)
    if not len(steps):
        return _even_edges(values, 1)
    places = (levels - levels[0]) / steps.min()
    if places[-1] > _N_STEPS or np.abs(places - places.round()).max() > _OFF_GRID:
        return _even_edges(values, n_most)
    n_levels = int(places[-1].round()) + 1
    least = -(-n_levels // n_most)

    def fullness_of_last(width: int) -> float:
        return ((n_levels - 1) % width + 1) / width

    width = max(range(least, least + least // 2 + 1), key=fullness_of_last)
    n_bins = -(-n_levels // width)
    # Edges lie half a step off the grid, so that no value lies on one.
    places_of_edges = width * np.arange(n_bins + 1) - 0.5
    return np.asarray(levels[0] + steps.min() * places_of_edges)


def _even_edges(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the edges of bins of one width, (B + 1,).

    There is one bin where values lie too near to one another to be parted, as 2**63 and its
    neighbours.
    """
    low, high = float(values.min()), float(values.max())
    finest = float(np.spacing(max(abs(low), abs(high))))
    if high - low > 2 * n_bins * finest:
        return np.histogram_bin_edges(values, bins=n_bins)
    margin = max(0.5, 2 * finest)
    return np.array([low - margin, high + margin])


def _bars(ax: Axes, table: Table, name: str) -> None:
    values = table.frame[name]
    # A flag's levels are floats: 1.0 is shown as 1.
    if name in table.dataset.of_kind("flag"):
        values = values.map("{:g}".format, na_action="ignore")
    counts = values.astype(str).value_counts().head(_N_LEVELS_SHOWN)[::-1]
    ax.barh(list(counts.index), list(counts), color=_ACCENT)
    _label(ax, name)


def _label(ax: Axes, text: str) -> None:
    ax.set_title(text, fontsize=8.5, color=_INK, loc="left")


def _grid(
    names: tuple[str, ...], paint: Callable[[Axes, str], None], *, height: float = 1.7
) -> bytes:
    figure = _new_figure((9.0, height * -(-len(names) // _N_COLUMNS)))
    for i, name in enumerate(names):
        ax = figure.add_subplot(-(-len(names) // _N_COLUMNS), _N_COLUMNS, i + 1)
        _tidy(ax)
        paint(ax, name)
    return _as_png(figure)


def _figure(paint: Callable[[Axes], None], *, size: tuple[float, float] = (7.4, 3.0)) -> bytes:
    figure = _new_figure(size)
    ax = figure.add_subplot()
    _tidy(ax)
    paint(ax)
    return _as_png(figure)


def _new_figure(size: tuple[float, float]) -> Figure:
    from matplotlib import rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rcParams["text.parse_math"] = False  # a level or a name with two `$` in it is no formula
    figure = Figure(figsize=size, dpi=130, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(_SOFT)
    ax.tick_params(labelsize=7, colors=_INK)


def _as_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _to_html(title: str, lead: str, sections: list[Section]) -> str:
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="soft">{html.escape(lead)}</p>']
    for section in sections:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        body += [f"<p>{html.escape(text)}</p>" for text in section.prose]
        if section.header:
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in section.header)
            rows = "".join(
                "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
                for row in section.rows
            )
            body.append(f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>')
        if section.picture:
            data = base64.b64encode(section.picture).decode()
            body.append(
                f'<p style="max-width:none"><img alt="{html.escape(section.title)}" src="data:image/png;base64,{data}"></p>'
            )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body><main>{"".join(body)}</main></body></html>\n'


def _to_markdown(title: str, lead: str, sections: list[Section], folder: Path) -> str:
    lines = [f"# {title}", "", lead, ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for text in section.prose:
            lines += [text, ""]
        if section.header:
            lines += [_markdown_row(section.header), _markdown_row(["---"] * len(section.header))]
            lines += [*(_markdown_row(row) for row in section.rows), ""]
        if section.picture:
            name = section.title.lower().replace(" ", "_") + ".png"
            (folder / name).write_bytes(section.picture)
            lines += [f"![{section.title}]({name})", ""]
    return "\n".join(lines)


def _markdown_row(cells: list[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
