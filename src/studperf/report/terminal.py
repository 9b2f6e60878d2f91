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
    from studperf.record.shape import Scores, Verdict
    from studperf.scoring.metrics import Interval

_FAR = 1e3  # an end so much further off than the value says that the rows are too few; it shall not cost the value its digits
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
    rows = f"{data.n_train}/{data.n_val}/{data.n_test} train/val/test rows"
    console.print(
        f"{record.model}, {record.n_parameters} parameters, seed {record.seed}; {len(data.features)} columns, {rows}"
    )
    is_offline = record.tracking is not None and record.tracking.mode == "offline"
    upload = (
        f"; for W&B too, to be uploaded by: python -m studperf.tracking sync {folder}"
        if is_offline
        else ""
    )
    console.print(f"Recorded in {folder}{upload}", soft_wrap=True)
    for warning in data.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True, markup=False)
    if record.resumed_at:
        last = record.resumed_at[-1]
        console.print(
            f"Going on after epoch {last}."
            if last
            else "Begun again: there is no checkpoint to go on from."
        )


def show_stack(runs: Sequence[tuple[RunRecord, Path]], console: Console) -> None:
    """Print which runs are about to be trained together, and where they are recorded."""
    record, data = runs[0][0], runs[0][0].data
    rows = f"{data.n_train}/{data.n_val}/{data.n_test} train/val/test rows"
    console.print(
        f"{len(runs)} x {record.model} together, {record.n_parameters} parameters each; {len(data.features)} columns, {rows}"
    )
    console.print(f"Recorded in {runs[0][1]} to {runs[-1][1].name}", soft_wrap=True)
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
    rows = {record.model: judgement.scores} | {
        f"{name} (baseline)": scores for name, scores in judgement.baselines.items()
    }
    console.print(
        score_table(
            rows,
            title=f"{judgement.scored_on} split, {n_rows} rows, 95 % intervals",
            unit=record.data.unit,
        )
    )
    if judgement.conformal is not None:
        console.print(band_line(record, judgement.conformal), soft_wrap=True)
    if judgement.choice is not None:
        console.print(choice_line(judgement.choice), soft_wrap=True)
    plots = f"; plots in {folder / PLOTS}" if (folder / PLOTS).is_dir() else ""
    console.print(
        f"Best epoch {(record.best_epoch or 0) + 1} of {len(record.history)}{plots}", soft_wrap=True
    )
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
    r2 = interval_text(scores.r2, digits=3, smallest=1.0)
    return [
        *(interval_text(value) for value in (scores.rmse, scores.mae)),
        r2,
        interval_text(scores.bias),
    ]


def interval_text(interval: Interval, *, digits: int = 2, smallest: float = 0.0) -> str:
    """Return a value with its interval, as `4.95 [4.70, 5.21]`.

    Its digits are as many as its size deserves. A size below `smallest`, as an R2 may have, gets no
    more digits than that one.
    """
    ends = [
        end
        for end in (interval.low, interval.high)
        if abs(end) <= _FAR * max(1.0, abs(interval.value))
    ]
    size = max(abs(number) for number in (interval.value, *ends))
    shown = decimals(max(size, smallest), digits)
    low, high = (
        f"{end:.{shown}f}" if end in ends or not math.isfinite(end) else f"{end:.0e}"
        for end in (interval.low, interval.high)
    )
    return f"{interval.value:.{shown}f} [{low}, {high}]"
