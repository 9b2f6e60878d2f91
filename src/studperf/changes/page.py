"""The change in words and tables, for the terminal and as Markdown for a pull request."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from studperf.changes.drift import Drift, find_drift
from studperf.changes.effect import Effect, Effects, measure_effect
from studperf.changes.rows import RowChanges, compare_columns, compare_rows
from studperf.changes.versions import Version
from studperf.config.dataset import Dataset
from studperf.data.facts import Finding
from studperf.data.schema import inspect_table

_N_DRIFTS = 12
_SMALLEST_P = 1e-12
_HARMLESS = ("the column is missing", "the dataset does not name this column")
"""Faults with which a quick baseline can be trained all the same, on the columns that both versions have."""


@dataclass
class Block:
    """A heading with prose and a table, each if there is one."""

    title: str
    prose: list[str] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


def describe_change(old: Version, new: Version, dataset: Dataset) -> tuple[str, list[Block]]:
    """One line that says it all, and the blocks below it."""
    if old.md5 == new.md5:
        return f"No change: both have md5 {new.md5}.", []
    rows = compare_rows(old.raw, new.raw, dataset)
    (table_old, faults_old), (table_new, faults_new) = (
        inspect_table(version.raw, dataset) for version in (old, new)
    )
    columns = compare_columns(old.raw, new.raw, dataset)
    errors = [finding for finding in faults_new if finding.level == "error"]
    # A target left out for missing rows shortens a table, and rows could no longer be told by their place.
    is_whole = len(table_old) == len(old.raw) and len(table_new) == len(new.raw)
    drifts = find_drift(table_old, table_new, rows.fresh, rows.gone) if is_whole else []
    has_targets = table_old.has_target and table_new.has_target
    blocked = (
        _blocked(faults_old, faults_new, is_whole=is_whole)
        if has_targets
        else "a version without target can't be trained on"
    )
    effects = Effects([], blocked) if blocked else measure_effect(table_old, table_new)
    blocks = [
        _rows_block(rows),
        _columns_block(columns),
        _checks_block(faults_old, faults_new),
        _drift_block(drifts, rows),
    ]
    return _headline(rows, errors, drifts, effects), [*blocks, _effect_block(effects, dataset)]


def _blocked(faults_old: list[Finding], faults_new: list[Finding], *, is_whole: bool) -> str | None:
    for name, faults in (("old", faults_old), ("new", faults_new)):
        if errors := [f for f in faults if f.level == "error" and not f.what.startswith(_HARMLESS)]:
            return f"the {name} version has faults, {errors[0].where} first"
    return None if is_whole else "rows without a target were left out of one of them"


def _headline(
    rows: RowChanges, errors: list[Finding], drifts: list[Drift], effects: Effects
) -> str:
    parts = [f"{rows.n_old:,} to {rows.n_new:,} rows: {_rows_told(rows)}"]
    drifted = [drift.column for drift in drifts if drift.has_drifted]
    parts.append(
        f"{len(drifted)} of {len(drifts)} columns drifted"
        + (f" ({', '.join(map(_code, drifted[:3]))})" if drifted else "")
    )
    if errors:
        parts.append(f"**{len(errors)} faults: training will refuse it**")
    ridge = [
        f"{_signed(e)} on {e.scored_on} rows, {e.verdict}"
        for e in effects.effects
        if e.baseline == "ridge"
    ]
    parts += [f"ridge trained on it: {', '.join(ridge)}"] if ridge else []
    return "; ".join(parts) + "."


def _rows_told(rows: RowChanges) -> str:
    if rows.is_reordered:
        return "the same rows in another order"
    changed = rows.changed or 0
    parts = [
        f"{int(rows.fresh.sum()) - changed:,} came",
        f"{int(rows.gone.sum()) - changed:,} went",
    ]
    return ", ".join(parts + ([f"{changed:,} changed"] if rows.changed is not None else []))


def _rows_block(rows: RowChanges) -> Block:
    prose = [f"{rows.n_old:,} before, {rows.n_new:,} now: {_rows_told(rows)}."]
    if rows.changed is None:
        prose.append(
            "Without a column of ids, a changed row counts as one that went and one that came."
        )
    cells = [[_code(name), f"{n:,}"] for name, n in list(rows.cells.items())[:_N_DRIFTS]]
    return Block("Rows", prose, ["column", "cells that changed"] if cells else [], cells)


def _columns_block(columns: list[tuple[str, str]]) -> Block:
    if not columns:
        return Block("Columns", ["The same columns, and the same levels in each."])
    return Block(
        "Columns",
        [],
        ["column", "what happened"],
        [[_code(name), _code(what)] for name, what in columns],
    )


def _checks_block(old: list[Finding], new: list[Finding]) -> Block:
    known = {(f.level, f.where, f.what) for f in old}
    rows = [
        [
            f.level,
            _code(f.where),
            _code(f.what),
            "as before" if (f.level, f.where, f.what) in known else "**new**",
        ]
        for f in sorted(new, key=lambda f: f.level)
    ]
    if not rows:
        return Block("Checks", ["Every column is what the dataset says it is."])
    return Block("Checks", [], ["level", "where", "what", ""], rows)


def _drift_block(drifts: list[Drift], rows: RowChanges) -> Block:
    n_fresh, n_gone = int(rows.fresh.sum()), int(rows.gone.sum())
    what = (
        f"the {n_fresh:,} rows that came against all old ones"
        if n_fresh
        else f"the {n_gone:,} rows that went against those that stayed"
    )
    prose = [
        f"Tested: {what} (Kolmogorov-Smirnov, chi-squared; p is corrected for the {len(drifts)} columns)."
    ]
    if drifts and all(drift.p is None for drift in drifts):
        prose = [
            f"{n_fresh or n_gone:,} rows differ: too few to tell whether a column drifted; about 100 are needed."
        ]
    shown = [
        [
            _code(d.column),
            _code(d.old),
            _code(d.new),
            f"{d.shift:+.3f}",
            _p(d.p),
            _missing(d),
            _verdict(d),
        ]
        for d in drifts[:_N_DRIFTS]
    ]
    if len(drifts) > _N_DRIFTS:
        prose.append(
            f"The {_N_DRIFTS} most shifted columns of {len(drifts)}. Shift: in standard deviations, for levels Cramér's V."
        )
    return Block(
        "Drift",
        prose,
        ["column", "before", "now", "shift", "p", "missing", ""] if shown else [],
        shown,
    )


def _p(p: float | None) -> str:
    return "" if p is None else f"{p:.2g}" if p >= _SMALLEST_P else f"<{_SMALLEST_P:g}"


def _missing(drift: Drift) -> str:
    before, now = drift.missing
    return "" if before == now == 0 else f"{before:.1%} to {now:.1%}"


def _verdict(drift: Drift) -> str:
    if drift.p is None:
        return "can't tell"
    return "**drifted**" if drift.has_drifted else "no difference seen"


def _effect_block(effects: Effects, dataset: Dataset) -> Block:
    if effects.why_not is not None:
        return Block("Effect on a quick baseline", [f"Not measured: {effects.why_not}."])
    unit = f" ({dataset.target.unit})" if dataset.target.unit else ""
    which = "test rows of the new version, then of the old one, on which neither was trained"
    prose = [
        f"Trained on each version, scored on {which}. A target that was spoilt looks better on new rows and worse on old ones."
    ]
    rows = [
        [
            e.baseline,
            f"{e.scored_on}, {e.n_rows:,}",
            f"{e.old:.3f}",
            f"{e.new:.3f}",
            _signed(e),
            e.verdict,
        ]
        for e in effects.effects
    ]
    header = [
        "baseline",
        "scored rows",
        f"RMSE{unit}, old",
        f"RMSE{unit}, new",
        "difference, paired 95 % interval",
        "",
    ]
    return Block("Effect on a quick baseline", prose, header, rows)


def _signed(effect: Effect) -> str:
    difference = effect.difference
    return f"RMSE {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _code(text: object) -> str:
    """What stems from the data, as a code span: there Markdown reads no link, no markup and no name to be notified."""
    return "`" + re.sub(r"[`\r\n]", " ", str(text)).replace("|", "\\|") + "`"


def to_markdown(title: str, headline: str, blocks: list[Block]) -> str:
    """The page, for a comment on a pull request."""
    lines = [f"## {title}", "", headline, ""]
    for block in blocks:
        lines += [f"### {block.title}", "", *(f"{text}\n" for text in block.prose)]
        if block.header:
            lines += [
                _row(block.header),
                _row(["---"] * len(block.header)),
                *(_row(row) for row in block.rows),
                "",
            ]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def show(console: Console, title: str, headline: str, blocks: list[Block]) -> None:
    """The same in the terminal."""
    from rich.table import Table

    console.print(title, style="bold", markup=False)
    console.print(_plain(headline), soft_wrap=True, markup=False)
    for block in blocks:
        console.print(f"\n{block.title}", style="bold", markup=False)
        for text in block.prose:
            console.print(_plain(text), soft_wrap=True, markup=False)
        if block.header:
            table = Table(*block.header)
            for row in block.rows:
                table.add_row(
                    *(_plain(cell).replace("[", r"\[") for cell in row),
                    style="yellow" if "**" in "".join(row) else None,
                )
            console.print(table)


def _plain(text: str) -> str:
    return text.replace("`", "").replace("**", "").replace("\\|", "|")


def write(folder: Path, text: str) -> Path:
    """Writes `changes.md`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "changes.md"
    path.write_text(text, encoding="utf-8")
    return path
