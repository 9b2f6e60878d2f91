"""The page about a change of a table, for the terminal and for a pull request."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from studperf.config.dataset import Dataset
from studperf.data.schema import inspect_table
from studperf.data.versions.drift import Drift, find_drift
from studperf.data.versions.effect import Effect, Effects, measure_effect
from studperf.data.versions.find import Version
from studperf.data.versions.rows import RowChanges, compare_columns, compare_rows
from studperf.schema.findings import Finding

_N_DRIFTS = 12
_SMALLEST_P = 1e-12
# Faults with which a quick baseline can be trained all the same, on the columns that both versions
# have.
_HARMLESS = ("the column is missing", "the dataset does not name this column")


@dataclass
class Block:
    """A heading with prose and a table, each if there is one."""

    title: str
    prose: list[str] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


def describe_change(old: Version, new: Version, dataset: Dataset) -> tuple[str, list[Block]]:
    """Return a line that says it all, and the blocks below it."""
    if old.md5 == new.md5:
        return f"No change: both have md5 {new.md5}.", []

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

    blocks = [
        _rows_block(rows),
        _columns_block(columns),
        _checks_block(faults_old, faults_new),
        _drift_block(drifts, rows),
        _effect_block(effects, dataset),
    ]
    return _headline(rows, errors, drifts, effects), blocks


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
) -> str:
    """Return the change in one line."""
    parts = [f"{rows.n_old:,} to {rows.n_new:,} rows: {_count_rows(rows)}"]
    drifted = [_code(drift.column) for drift in drifts if drift.has_drifted]
    line = f"{len(drifted)} of {len(drifts)} columns drifted"
    if drifted:
        line += f" ({', '.join(drifted[:3])})"
    parts.append(line)
    if errors:
        parts.append(f"**{len(errors)} faults: training will refuse it**")

    ridge = [effect for effect in effects.effects if effect.baseline == "ridge"]
    said = [f"{_signed(effect)} on {effect.scored_on} rows, {effect.verdict}" for effect in ridge]
    if said:
        parts.append(f"ridge trained on it: {', '.join(said)}")
    return "; ".join(parts) + "."


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


def _rows_block(rows: RowChanges) -> Block:
    """Return the block about rows, and about the cells that changed in them."""
    block = Block("Rows", [f"{rows.n_old:,} before, {rows.n_new:,} now: {_count_rows(rows)}."])
    if rows.changed is None:
        block.prose.append(
            "Without a column of ids, a changed row counts as one that went and one that came."
        )
    for name, n in list(rows.cells.items())[:_N_DRIFTS]:
        block.rows.append([_code(name), f"{n:,}"])
    if block.rows:
        block.header = ["column", "cells that changed"]
    return block


def _columns_block(columns: list[tuple[str, str]]) -> Block:
    """Return the block about columns and their levels."""
    if not columns:
        return Block("Columns", ["The same columns, and the same levels in each."])
    rows = [[_code(name), _code(what)] for name, what in columns]
    return Block("Columns", header=["column", "what happened"], rows=rows)


def _checks_block(old: list[Finding], new: list[Finding]) -> Block:
    """Return the block about the new version's faults, and which of them are new."""
    known = {(finding.level, finding.where, finding.what) for finding in old}
    rows = []
    for finding in sorted(new, key=lambda finding: finding.level):
        is_known = (finding.level, finding.where, finding.what) in known
        note = "as before" if is_known else "**new**"
        rows.append([finding.level, _code(finding.where), _code(finding.what), note])
    if not rows:
        return Block("Checks", ["Every column is what the dataset says it is."])
    return Block("Checks", header=["level", "where", "what", ""], rows=rows)


def _drift_block(drifts: list[Drift], rows: RowChanges) -> Block:
    """Return the block about columns whose values drifted."""
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

    block = Block("Drift", [text])
    if len(drifts) > _N_DRIFTS:
        block.prose.append(
            f"The {_N_DRIFTS} most shifted columns of {len(drifts)}. "
            "Shift: in standard deviations, for levels Cramér's V."
        )
    for drift in drifts[:_N_DRIFTS]:
        block.rows.append(_drift_row(drift))
    if block.rows:
        block.header = ["column", "before", "now", "shift", "p", "missing", ""]
    return block


def _drift_row(drift: Drift) -> list[str]:
    """Return a column's row in the table of drifts."""
    before, now = drift.missing
    missing = ""
    if before or now:
        missing = f"{before:.1%} to {now:.1%}"
    return [
        _code(drift.column),
        _code(drift.old),
        _code(drift.new),
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
    return "**drifted**" if drift.has_drifted else "no difference seen"


def _effect_block(effects: Effects, dataset: Dataset) -> Block:
    """Return the block about baselines trained on either version."""
    if effects.why_not is not None:
        return Block("Effect on a quick baseline", [f"Not measured: {effects.why_not}."])

    prose = (
        "Trained on each version, scored on test rows of the new version, then of the old one, "
        "on which neither was trained. "
        "A target that was spoilt looks better on new rows and worse on old ones."
    )
    rows = []
    for effect in effects.effects:
        row = [
            effect.baseline,
            f"{effect.scored_on}, {effect.n_rows:,}",
            f"{effect.old:.3f}",
            f"{effect.new:.3f}",
            _signed(effect),
            effect.verdict,
        ]
        rows.append(row)
    unit = ""
    if dataset.target.unit:
        unit = f" ({dataset.target.unit})"
    header = [
        "baseline",
        "scored rows",
        f"RMSE{unit}, old",
        f"RMSE{unit}, new",
        "difference, paired 95 % interval",
        "",
    ]
    return Block("Effect on a quick baseline", [prose], header, rows)


def _signed(effect: Effect) -> str:
    """Return the difference of errors with its interval, in words."""
    difference = effect.difference
    return f"RMSE {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _code(text: object) -> str:
    """Return a text from the data as a code span.

    There Markdown reads no link, no markup and no name to be notified.
    """
    plain = re.sub(r"[`\r\n]", " ", str(text)).replace("|", "\\|")
    return f"`{plain}`"


def to_markdown(title: str, headline: str, blocks: list[Block]) -> str:
    """Return the page, for a comment on a pull request."""
    lines = [f"## {title}", "", headline, ""]
    for block in blocks:
        lines += [f"### {block.title}", ""]
        lines += [f"{text}\n" for text in block.prose]
        if block.header:
            lines += [_row(block.header), _row(["---"] * len(block.header))]
            lines += [_row(row) for row in block.rows]
            lines.append("")
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def show(console: Console, title: str, headline: str, blocks: list[Block]) -> None:
    """Print the page in the terminal."""
    from rich.table import Table

    console.print(title, style="bold", markup=False)
    console.print(_plain(headline), soft_wrap=True, markup=False)
    for block in blocks:
        console.print(f"\n{block.title}", style="bold", markup=False)
        for text in block.prose:
            console.print(_plain(text), soft_wrap=True, markup=False)
        if not block.header:
            continue
        table = Table(*block.header)
        for row in block.rows:
            # rich would read [...] of a name as its own markup.
            cells = [_plain(cell).replace("[", r"\[") for cell in row]
            style = "yellow" if "**" in "".join(row) else None
            table.add_row(*cells, style=style)
        console.print(table)


def _plain(text: str) -> str:
    """Return a text without Markdown's marks."""
    return text.replace("`", "").replace("**", "").replace("\\|", "|")


def write(folder: Path, text: str) -> Path:
    """Write `changes.md`, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "changes.md"
    path.write_text(text, encoding="utf-8")
    return path
