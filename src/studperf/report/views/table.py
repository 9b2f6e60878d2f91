"""The view of a table: what is in it, what is missing, how the split balances, and what leaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from studperf.data.guard.leaks import examine, find_leaks
from studperf.data.guard.left_out import left_out_signal
from studperf.data.schema import Table
from studperf.data.source import Provenance
from studperf.data.split import Split, split_rows
from studperf.report.views.section import Line, Matrix, Panel, Panels, Section
from studperf.schema.findings import Finding
from studperf.scoring.metrics import FloatArray
from studperf.scoring.numbers import short_number

_SURE_P = 0.01
_N_LEVELS_SHOWN = 12
_N_BINS, _N_TARGET_BINS = 40, 50
_N_CORRELATED = 24
_N_STEPS, _OFF_GRID = 100_000, 1e-3  # beyond these, values lie on no grid


@dataclass(frozen=True)
class TableView:
    """The view of a table.

    Args:
        name: of the dataset.
        origin: where its rows come from, in a line.
        sections: below both.
    """

    name: str
    origin: str
    sections: list[Section]

    @property
    def title(self) -> str:
        """The heading above all."""
        return f"Data report: {self.name}"


def view_table(
    table: Table, findings: list[Finding], split: Split, origin: Provenance
) -> TableView:
    """Return the view of a checked table and its split."""
    parts = split_rows(table, split)
    sections = [
        _view_columns(table),
        _view_findings(findings),
        _view_leaks(parts["train"]),
        _view_target(table, parts),
        _view_balance(parts),
        _view_missing(table),
        _view_relations(table),
        *_view_distributions(table),
    ]
    return TableView(table.dataset.name, origin.line, sections)


def _view_columns(table: Table) -> Section:
    dataset = table.dataset
    kinds = pd.Series([column.kind for column in dataset.columns.values()]).value_counts()
    rows: list[list[Line]] = []
    for kind, n in kinds.items():
        names = [name for name, column in dataset.columns.items() if column.kind == kind]
        rows.append([str(kind), str(n), ", ".join(names)])
    target = _with_unit(dataset.target.column, dataset.target.unit, " in {}")
    prose = f"{len(table)} rows; the target is {target}."
    return Section("Overview", [prose], ["kind", "columns", "names"], rows)


def _with_unit(name: str, unit: str | None, form: str = " ({})") -> str:
    """Return a name with its unit, if it has one."""
    return name + form.format(unit) if unit else name


def _view_findings(findings: list[Finding]) -> Section:
    if not findings:
        return Section("Checks", ["Every column is what the dataset says it is."])
    rows: list[list[Line]] = [[found.level, found.where, found.what] for found in findings]
    return Section("Checks", [], ["level", "where", "what"], rows)


def _view_leaks(train: Table) -> Section:
    dataset = train.dataset
    leaks = examine(train)
    n_refused = sum(leak.is_refused for leak in leaks)
    prose: list[Line] = [
        (
            "No feature gives the target away: none follows from it exactly, "
            "none can be read back from it, and no few of them make it together."
        )
    ]
    if leaks:
        refused = f"{n_refused} give the target away, so training refuses them"
        prose = [f"{refused}; {len(leaks) - n_refused} may, so training warns of them."]
    rows: list[list[Line]] = []
    for leak in leaks:
        kind = "feature" if leak.is_refused else "feature, suspect"
        rows.append([", ".join(leak.columns), kind, leak.test, leak.evidence])
    leaky = [name for name, column in dataset.columns.items() if column.kind == "leak"]
    marked = find_leaks(train, [name for name in leaky if name in train.frame])
    rows += [[leak.column, "marked as leak", leak.test, leak.evidence] for leak in marked]
    left_out = left_out_signal(train, dataset)
    if left_out:
        names = [f"{name} ({share:.0%} of the variance alone)" for name, share in left_out]
        prose.append(f"Left out though they carry signal: {', '.join(names)}.")
    header = ["column", "is", "test", "evidence"] if rows else []
    return Section("Leaks", prose, header, rows)


def _view_target(table: Table, parts: dict[str, Table]) -> Section:
    rows: list[list[Line]] = []
    for name, part in {"all": table, **parts}.items():
        values = part.target
        spread = (values.mean(), values.std(), values.min(), np.median(values), values.max())
        rows.append([name, str(len(part)), *(short_number(float(value)) for value in spread)])
    header = ["rows of", "n", "mean", "sd", "min", "median", "max"]
    panel = _histogram(table.dataset.target.column, table.target, _N_TARGET_BINS)
    return Section("Target", [], header, rows, Panels([panel], n_columns=1))


def _view_balance(parts: dict[str, Table]) -> Section:
    """Return the section on whether the parts look drawn from one population.

    Shown is the smallest p-value over the columns, corrected for their number.
    """
    train = parts["train"]
    columns = [train.dataset.target.column, *train.dataset.feature_names]
    rows: list[list[Line]] = []
    for part in ("val", "test"):
        tests = [(_test_equal(train, parts[part], name), name) for name in columns]
        smallest, name = min(tests)
        corrected = min(1.0, smallest * len(tests))
        verdict = "differs" if corrected < _SURE_P else "no difference seen"
        rows.append([part, name, f"{smallest:.3g}", f"{corrected:.3g}", verdict])
    prose = (
        f"Each of {len(columns)} columns is tested against train "
        "(Kolmogorov-Smirnov for numbers, chi-squared for levels)."
    )
    header = ["part", "most different column", "p", "p, corrected", ""]
    return Section("Balance of the split", [prose], header, rows)


def _test_equal(train: Table, part: Table, name: str) -> float:
    """Return the p-value of a column's values in two parts being drawn alike."""
    from scipy import stats

    a = train.frame[name].dropna()
    b = part.frame[name].dropna()
    if name not in train.dataset.of_kind("category", "flag"):
        if not len(a) or not len(b):
            return 1.0
        return float(stats.ks_2samp(a, b).pvalue)
    levels = sorted(set(a) | set(b))
    counts = np.array([[(side == level).sum() for level in levels] for side in (a, b)])
    if len(levels) < 2 or not (counts.sum(axis=1) > 0).all():  # noqa: PLR2004 - nothing to compare
        return 1.0
    return float(stats.chi2_contingency(counts).pvalue)


def _view_missing(table: Table) -> Section:
    rows: list[list[Line]] = []
    for name in table.dataset.feature_names:
        n_missing = int(table.frame[name].isna().sum())
        if n_missing:
            fill = table.dataset.columns[name].fill
            how = "refused" if fill is None else f"filled with {fill}"
            rows.append([name, str(n_missing), f"{n_missing / len(table):.1%}", how])
    if not rows:
        return Section("Missing values", ["None."])
    return Section("Missing values", [], ["column", "rows", "share", "in training"], rows)


def _view_relations(table: Table) -> Section:
    target = table.dataset.target.column
    numeric = [*table.dataset.of_kind("number", "flag"), target]
    correlation = table.frame[numeric].corr().fillna(0.0)
    strength = correlation[target].drop(target).abs()
    order = list(strength.sort_values(ascending=False).index)
    rows: list[list[Line]] = [[name, f"{correlation.loc[name, target]:+.3f}"] for name in order]
    shown = [target, *order[:_N_CORRELATED]]
    return Section(
        "Correlations",
        ["With the target, strongest first."],
        ["column", "r"],
        rows,
        Matrix(shown, correlation.loc[shown, shown].to_numpy()),
    )


def _view_distributions(table: Table) -> list[Section]:
    dataset = table.dataset
    sections = []
    numbers = []
    for name in dataset.of_kind("number"):
        values = table.frame[name].dropna().to_numpy(dtype=np.float64)
        title = _with_unit(name, dataset.columns[name].unit)
        numbers.append(_histogram(title, values, _N_BINS))
    if numbers:
        sections.append(Section("Numbers", picture=Panels(numbers)))
    levels = [_count_levels(table, name) for name in dataset.of_kind("category", "flag")]
    if levels:
        sections.append(Section("Categories and flags", picture=Panels(levels, height=2.4)))
    return sections


def _histogram(title: str, values: FloatArray, n_bins: int) -> Panel:
    edges = bin_edges(values, n_bins)
    counts, _ = np.histogram(values, edges)
    return Panel(title, counts.tolist(), edges=edges.tolist())


def _count_levels(table: Table, name: str) -> Panel:
    values = table.frame[name]
    # A flag's levels are floats: 1.0 is shown as 1.
    if name in table.dataset.of_kind("flag"):
        values = values.map("{:g}".format, na_action="ignore")
    counts = values.astype(str).value_counts().head(_N_LEVELS_SHOWN)
    return Panel(name, counts.tolist(), levels=list(counts.index))


def bin_edges(values: FloatArray, n_most: int) -> FloatArray:
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


def _even_edges(values: FloatArray, n_bins: int) -> FloatArray:
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
