"""The terminal's view of a run: its beginning, its scores, its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from studperf.config.console import print_line, warn
from studperf.report.plots import PLOTS
from studperf.report.views.run import TONES, view_run
from studperf.report.views.scores import format_scores
from studperf.scoring.numbers import Digits

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.record.record import RunRecord
    from studperf.record.shape import DataFacts, Scores

_STYLES = {"good": "bold green", "level": "bold cyan", "warn": "bold yellow", "bad": "bold red"}


def show_start(record: RunRecord, folder: Path, console: Console) -> None:
    """Print what is about to be trained, and where it is recorded."""
    data = record.data
    size = ""
    # Trees have none before they are grown.
    if record.n_parameters:
        size = f", {record.n_parameters} parameters"
    console.print(f"{record.model}{size}, seed {record.seed}; {_table_line(data)}")
    upload = ""
    if record.tracking is not None and record.tracking.mode == "offline":
        upload = f"; for W&B too, to be uploaded by: python -m studperf.tracking sync {folder}"
    print_line(console, f"Recorded in {folder}{upload}")
    _print_warnings(data, console)
    if record.resumed_at:
        last = record.resumed_at[-1]
        line = "Begun again: there is no checkpoint to go on from."
        if last:
            line = f"Going on after epoch {last}."
        console.print(line)


def show_stack(runs: Sequence[tuple[RunRecord, Path]], console: Console) -> None:
    """Print which runs are about to be trained together, and where they are recorded."""
    record, first_folder = runs[0]
    _, last_folder = runs[-1]
    console.print(
        f"{len(runs)} x {record.model} together, {record.n_parameters} parameters each; "
        f"{_table_line(record.data)}"
    )
    print_line(console, f"Recorded in {first_folder} to {last_folder.name}")
    _print_warnings(record.data, console)


def _table_line(data: DataFacts) -> str:
    rows = f"{data.n_train}/{data.n_val}/{data.n_test} train/val/test rows"
    return f"{len(data.features)} columns, {rows}"


def _print_warnings(data: DataFacts, console: Console) -> None:
    for warning in data.warnings:
        warn(console, warning)


def show_verdict(record: RunRecord, folder: Path, console: Console) -> None:
    """Print the name and the verdict of one run of many in a line."""
    _print_verdict(folder.name, record, console)
    _print_cut(record, console)


def show_end(record: RunRecord, folder: Path, console: Console) -> None:
    """Print the scores beside the baselines', and the verdict as the last line."""
    judgement = record.judgement
    if judgement is None:
        return
    view = view_run(record)
    title = f"{judgement.scored_on} split, {view.n_scored} rows, 95 % intervals"
    console.print(_score_table(view.score_rows, title, view.digits))
    for line in (view.band_line, view.choice_line):
        if line:
            print_line(console, line)
    plots = f"; plots in {folder / PLOTS}" if (folder / PLOTS).is_dir() else ""
    best = (record.best_epoch or 0) + 1
    print_line(console, f"Best epoch {best} of {len(record.history)}{plots}")
    _print_cut(record, console)
    _print_verdict("Verdict", record, console)


def _print_cut(record: RunRecord, console: Console) -> None:
    if record.cut_short is not None:
        print_line(console, record.cut_short.line, style="yellow")


def _print_verdict(head: str, record: RunRecord, console: Console) -> None:
    if record.judgement is None:
        return
    verdict = record.judgement.verdict
    simulated = "SIMULATED data. " if record.data.is_simulated else ""
    style = _STYLES[TONES[verdict.kind]]
    print_line(console, f"{head}: {simulated}{verdict.line}", style=style)


def score_table(rows: Mapping[str, Scores], *, title: str, unit: str) -> Table:
    """Return a table with a row for each predictor, of which the first sets the digits."""
    first = next(iter(rows.values()))
    digits = Digits.of(first.rmse.value, unit)
    return _score_table(format_scores(rows, digits), title, digits)


def _score_table(rows: Sequence[Sequence[str]], title: str, digits: Digits) -> Table:
    """Return the table of a row for each predictor, the first in bold."""
    heads = ("", f"RMSE{digits.in_unit}", f"MAE{digits.in_unit}", "R2", f"bias{digits.in_unit}")
    table = Table(title=title, title_justify="left")
    columns = zip(*rows, strict=True)
    for i, (head, cells) in enumerate(zip(heads, columns, strict=True)):
        # Without it rich parts numbers to make all columns even.
        longest = max(len(word) for cell in cells for word in cell.split())
        table.add_column(head, justify="right" if i else "left", min_width=longest)
    for i, row in enumerate(rows):
        table.add_row(*row, style=None if i else "bold")
    return table
