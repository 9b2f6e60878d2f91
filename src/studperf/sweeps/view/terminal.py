"""A study in a terminal: the tables of its trials and of its candidates."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from studperf.errors import as_shown
from studperf.report.views.study import CANDIDATE_HEADER, Trials, TrialView, WinnerView, brief

_STYLES = {
    "complete": "green",
    "pruned": "dim",
    "fail": "red",
    "running": "cyan",
    "waiting": "yellow",
}


def trial_table(trials: Trials, shown: Sequence[TrialView]) -> Table:
    """Return a table of some of a study's trials, those that lead with a star."""
    table = Table(pad_edge=False, box=None, header_style="bold")
    for name in trials.header:
        table.add_column(name, justify="left" if name == "state" else "right")
    table.add_column("parameters", overflow="fold")
    for trial in shown:
        number, state, *cells = trials.row(trial)
        weight = "bold " if trial in trials.leading else ""
        coloured = Text(state, style=weight + _STYLES[trial.state])
        table.add_row(number, coloured, *cells, Text(as_shown(trial.about)))
    return table


def show_winner(winner: WinnerView, console: Console) -> None:
    """Print the candidates, those that are tied, and the winner with its verdict."""
    table = Table(title="Trained again on fresh seeds, val", title_justify="left")
    for name in CANDIDATE_HEADER:
        is_text = name in ("", "settings")
        table.add_column(name, justify="left" if is_text else "right", overflow="fold")
    for candidate in winner.candidates:
        remark = candidate.standing
        if candidate.is_winner:
            remark += ", winner"
        trial, mean, sd, difference, *cost = candidate.cells
        table.add_row(trial, mean, sd, difference, remark, *cost, brief(candidate.words))
    console.print(table)

    console.print(winner.line, soft_wrap=True)
    if winner.verdict:
        console.print(f"Verdict of the winner: {winner.verdict}", style="bold", soft_wrap=True)
        console.print(f"Its run: {winner.folder}", soft_wrap=True)
    console.print(winner.command, soft_wrap=True, markup=False)
