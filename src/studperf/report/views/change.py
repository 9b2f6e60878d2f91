"""The view of a change of a table, for the terminal and for a pull request."""

from __future__ import annotations

from dataclasses import dataclass

from studperf.config.dataset import Dataset
from studperf.data.schema import inspect_table
from studperf.data.versions.drift import Drift, find_drift
from studperf.data.versions.effect import Effect, Effects, measure_effect
from studperf.data.versions.find import Version
from studperf.data.versions.rows import RowChanges, compare_columns, compare_rows
from studperf.report.views.section import Code, Line, Section, Strong
from studperf.schema.findings import Finding
from studperf.scoring.numbers import Digits

_N_DRIFTS = 12
_SMALLEST_P = 1e-12
# Faults with which a quick baseline can be trained all the same, on the columns that both versions
# have.
_HARMLESS = ("the column is missing", "the dataset does not name this column")


@dataclass(frozen=True)
class ChangeView:
    """The view of what changed between two versions of a table.

    Args:
        title: names both.
        headline: all in one line.
        sections: below it; none where nothing changed.
    """

    title: str
    headline: Line
    sections: list[Section]


def view_change(old: Version, new: Version, dataset: Dataset) -> ChangeView:
    """Return the view of the change from an old version of a table to a new one."""
    title = f"{dataset.name}: md5 {old.md5[:8]} ({old.name}) to {new.md5[:8]}"
    if old.md5 == new.md5:
        return ChangeView(title, f"No change: both have md5 {new.md5}.", [])

    rows = compare_rows(old.raw, new.raw, dataset)
    table_old, faults_old = inspect_table(old.raw, dataset)
    table_new, faults_new = inspect_table(new.raw, dataset)
    columns = compare_columns(old.raw, new.raw, dataset)
    errors = [finding for finding in faults_new if finding.level == "error"]

    # Rows left out for a missing target shorten a table, and rows could no longer be known by
    # their place.
    is_whole = len(table_old) == len(old.raw) and len(table_new) == len(new.raw)
    drifts = []
    if is_whole:
        drifts = find_drift(table_old, table_new, rows.fresh, rows.gone)

    if table_old.has_target and table_new.has_target:
        obstacle = _find_obstacle(faults_old, faults_new, is_whole=is_whole)
    else:
        obstacle = "a version without target can't be trained on"
    effects = Effects([], obstacle)
    if not obstacle:
        effects = measure_effect(table_old, table_new)

    sections = [
        _view_rows(rows),
        _view_columns(columns),
        _view_checks(faults_old, faults_new),
        _view_drift(drifts, rows),
        _view_effect(effects, dataset),
    ]
    return ChangeView(title, _headline(rows, errors, drifts, effects), sections)


def _find_obstacle(
    faults_old: list[Finding], faults_new: list[Finding], *, is_whole: bool
) -> str | None:
    """Return why no baseline can be trained on the versions, or None."""
    for name, faults in (("old", faults_old), ("new", faults_new)):
        for fault in faults:
            if fault.level == "error" and not fault.what.startswith(_HARMLESS):
                return f"the {name} version has faults, {fault.where} first"
    if not is_whole:
        return "rows without a target were left out of one of them"
    return None


def _headline(
    rows: RowChanges, errors: list[Finding], drifts: list[Drift], effects: Effects
) -> Line:
    """Return the change in one line."""
    drifted = [drift.column for drift in drifts if drift.has_drifted]
    parts: list[str] = [f"{rows.n_old:,} to {rows.n_new:,} rows: {_count_rows(rows)}; "]
    parts.append(f"{len(drifted)} of {len(drifts)} columns drifted")
    for i, column in enumerate(drifted[:3]):
        parts += [", " if i else " (", Code(column)]
    if drifted:
        parts.append(")")
    if errors:
        parts += ["; ", Strong(f"{len(errors)} faults: training will refuse it")]

    ridge = [effect for effect in effects.effects if effect.baseline == "ridge"]
    said = [f"{_tell(effect)} on {effect.scored_on} rows, {effect.verdict}" for effect in ridge]
    if said:
        parts.append(f"; ridge trained on it: {', '.join(said)}")
    return (*parts, ".")


def _count_rows(rows: RowChanges) -> str:
    """Return in words how many rows came, went and changed."""
    if rows.is_reordered:
        return "the same rows in another order"
    # A changed row is fresh in the new version and gone from the old one.
    n_changed = rows.changed or 0
    parts = [
        f"{int(rows.fresh.sum()) - n_changed:,} came",
        f"{int(rows.gone.sum()) - n_changed:,} went",
    ]
    if rows.changed is not None:
        parts.append(f"{n_changed:,} changed")
    return ", ".join(parts)


def _view_rows(rows: RowChanges) -> Section:
    """Return the section on rows, and on the cells that changed in them."""
    prose: list[Line] = [f"{rows.n_old:,} before, {rows.n_new:,} now: {_count_rows(rows)}."]
    if rows.changed is None:
        prose.append(
            "Without a column of ids, a changed row counts as one that went and one that came."
        )
    cells: list[list[Line]] = []
    for name, n in list(rows.cells.items())[:_N_DRIFTS]:
        cells.append([Code(name), f"{n:,}"])
    header = ["column", "cells that changed"] if cells else []
    return Section("Rows", prose, header, cells)


def _view_columns(columns: list[tuple[str, str]]) -> Section:
    """Return the section on columns and their levels."""
    if not columns:
        return Section("Columns", ["The same columns, and the same levels in each."])
    rows: list[list[Line]] = [[Code(name), Code(what)] for name, what in columns]
    return Section("Columns", header=["column", "what happened"], rows=rows)


def _view_checks(old: list[Finding], new: list[Finding]) -> Section:
    """Return the section on the new version's faults, and which of them are new."""
    known = {(finding.level, finding.where, finding.what) for finding in old}
    rows: list[list[Line]] = []
    for finding in sorted(new, key=lambda finding: finding.level):
        is_known = (finding.level, finding.where, finding.what) in known
        note = "as before" if is_known else Strong("new")
        rows.append([finding.level, Code(finding.where), Code(finding.what), note])
    if not rows:
        return Section("Checks", ["Every column is what the dataset says it is."])
    return Section("Checks", header=["level", "where", "what", ""], rows=rows)


def _view_drift(drifts: list[Drift], rows: RowChanges) -> Section:
    """Return the section on columns whose values drifted."""
    n_fresh = int(rows.fresh.sum())
    n_gone = int(rows.gone.sum())
    if drifts and all(drift.p is None for drift in drifts):
        text = (
            f"{n_fresh or n_gone:,} rows differ: too few to tell whether a column drifted; "
            "about 100 are needed."
        )
    else:
        what = f"the {n_gone:,} rows that went against those that stayed"
        if n_fresh:
            what = f"the {n_fresh:,} rows that came against all old ones"
        text = (
            f"Tested: {what} (Kolmogorov-Smirnov, chi-squared; "
            f"p is corrected for the {len(drifts)} columns)."
        )

    prose: list[Line] = [text]
    if len(drifts) > _N_DRIFTS:
        prose.append(
            f"The {_N_DRIFTS} most shifted columns of {len(drifts)}. "
            "Shift: in standard deviations, for levels Cramér's V."
        )
    cells = [_drift_row(drift) for drift in drifts[:_N_DRIFTS]]
    header = ["column", "before", "now", "shift", "p", "missing", ""] if cells else []
    return Section("Drift", prose, header, cells)


def _drift_row(drift: Drift) -> list[Line]:
    """Return a column's row in the table of drifts."""
    before, now = drift.missing
    missing = ""
    if before or now:
        missing = f"{before:.1%} to {now:.1%}"
    return [
        Code(drift.column),
        Code(drift.old),
        Code(drift.new),
        f"{drift.shift:+.3f}",
        _p(drift.p),
        missing,
        _verdict(drift),
    ]


def _p(p: float | None) -> str:
    """Return a p-value as it is shown, a very small one as a bound."""
    if p is None:
        return ""
    if p >= _SMALLEST_P:
        return f"{p:.2g}"
    return f"<{_SMALLEST_P:g}"


def _verdict(drift: Drift) -> str:
    """Return in words whether a column drifted."""
    if drift.p is None:
        return "can't tell"
    return Strong("drifted") if drift.has_drifted else "no difference seen"


def _view_effect(effects: Effects, dataset: Dataset) -> Section:
    """Return the section on baselines trained on either version."""
    if effects.why_not is not None:
        return Section("Effect on a quick baseline", [f"Not measured: {effects.why_not}."])

    prose = (
        "Trained on each version, scored on test rows of the new version, then of the old one, "
        "on which neither was trained. "
        "A target that was spoilt looks better on new rows and worse on old ones."
    )
    rows: list[list[Line]] = []
    for effect in effects.effects:
        digits = Digits.of(effect.old)
        row: list[Line] = [
            effect.baseline,
            f"{effect.scored_on}, {effect.n_rows:,}",
            digits.number(effect.old, more=1),
            digits.number(effect.new, more=1),
            _tell(effect),
            effect.verdict,
        ]
        rows.append(row)
    unit = f" ({dataset.target.unit})" if dataset.target.unit else ""
    header = [
        "baseline",
        "scored rows",
        f"RMSE{unit}, old",
        f"RMSE{unit}, new",
        "difference, paired 95 % interval",
        "",
    ]
    return Section("Effect on a quick baseline", [prose], header, rows)


def _tell(effect: Effect) -> str:
    """Return the difference of errors with its interval, in words."""
    return f"RMSE {Digits.of(effect.old).signed_interval(effect.difference)}"
