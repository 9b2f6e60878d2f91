"""The terminal's view of a run: its beginning, its scores, its verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from studperf.report.card import band_line, choice_line
from studperf.report.plots import PLOTS
from studperf.scoring.metrics import decimals

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.record.record import RunRecord
    from studperf.record.shape import DataFacts, Scores, Verdict
    from studperf.scoring.metrics import Interval

# An end so much further off than the value says that the rows are too few; it shall not cost the
# value its digits.
_FAR = 1e3
_STYLES = {
    "beats": "bold green",
    "matches": "bold cyan",
    "can't tell": "bold",
    "worse": "bold yellow",
    "suspicious": "bold red",
    "no better than the mean": "bold red",
}


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
    console.print(f"Recorded in {folder}{upload}", soft_wrap=True)
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
    console.print(f"Recorded in {first_folder} to {last_folder.name}", soft_wrap=True)
    _print_warnings(record.data, console)


def _table_line(data: DataFacts) -> str:
    rows = f"{data.n_train}/{data.n_val}/{data.n_test} train/val/test rows"
    return f"{len(data.features)} columns, {rows}"


def _print_warnings(data: DataFacts, console: Console) -> None:
    for warning in data.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True, markup=False)


def show_verdict(record: RunRecord, folder: Path, console: Console) -> None:
    """Print the name and the verdict of one run of many in a line."""
    if record.judgement is not None:
        _print_verdict(folder.name, record, record.judgement.verdict, console)
    _print_cut(record, console)


def show_end(record: RunRecord, folder: Path, console: Console) -> None:
    """Print the scores beside the baselines', and the verdict as the last line."""
    judgement = record.judgement
    if judgement is None:
        return
    n_rows = record.data.n_val if judgement.scored_on == "val" else record.data.n_test
    rows = {record.model: judgement.scores}
    for name, scores in judgement.baselines.items():
        rows[f"{name} (baseline)"] = scores
    title = f"{judgement.scored_on} split, {n_rows} rows, 95 % intervals"
    console.print(score_table(rows, title=title, unit=record.data.unit))
    if judgement.conformal is not None:
        console.print(band_line(record, judgement.conformal), soft_wrap=True)
    if judgement.choice is not None:
        console.print(choice_line(judgement.choice), soft_wrap=True)
    plots = f"; plots in {folder / PLOTS}" if (folder / PLOTS).is_dir() else ""
    best = (record.best_epoch or 0) + 1
    console.print(f"Best epoch {best} of {len(record.history)}{plots}", soft_wrap=True)
    _print_cut(record, console)
    _print_verdict("Verdict", record, judgement.verdict, console)


def _print_cut(record: RunRecord, console: Console) -> None:
    if record.cut_short is not None:
        console.print(record.cut_short.line, style="yellow", soft_wrap=True, markup=False)


def _print_verdict(head: str, record: RunRecord, verdict: Verdict, console: Console) -> None:
    simulated = "SIMULATED data. " if record.data.is_simulated else ""
    console.print(
        f"{head}: {simulated}{verdict.line}",
        style=_STYLES[verdict.kind],
        soft_wrap=True,
        markup=False,
    )


def score_table(rows: Mapping[str, Scores], *, title: str, unit: str) -> Table:
    """Return a table with a row for each predictor, the first in bold."""
    table = Table(title=title, title_justify="left")
    with_unit = f" ({unit})" if unit else ""
    table.add_column("", no_wrap=True)
    for name in (f"RMSE{with_unit}", f"MAE{with_unit}", "R2", f"bias{with_unit}"):
        table.add_column(name, justify="right", overflow="fold")
    for i, (name, scores) in enumerate(rows.items()):
        table.add_row(name, *_cells(scores), style=None if i else "bold")
    return table


def _cells(scores: Scores) -> list[str]:
    return [
        interval_text(scores.rmse),
        interval_text(scores.mae),
        interval_text(scores.r2, digits=3, smallest=1.0),
        interval_text(scores.bias),
    ]


def interval_text(interval: Interval, *, digits: int = 2, smallest: float = 0.0) -> str:
    """Return a value with its interval, as `4.95 [4.70, 5.21]`.

    Its digits are as many as its size deserves. A size below `smallest`, as an R2 may have, gets no
    more digits than that one.
    """
    farthest = _FAR * max(1.0, abs(interval.value))
    near = [end for end in (interval.low, interval.high) if abs(end) <= farthest]
    size = max(abs(number) for number in (interval.value, *near))
    shown = decimals(max(size, smallest), digits)

    ends = []
    for end in (interval.low, interval.high):
        if math.isfinite(end) and abs(end) > farthest:
            ends.append(f"{end:.0e}")
        else:
            ends.append(f"{end:.{shown}f}")
    return f"{interval.value:.{shown}f} [{', '.join(ends)}]"
