"""Rank runs side by side and mark which differences are noise.

python -m studperf.compare runs/A runs/B ...
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studperf.cli.command import read_words
from studperf.cli.process import end_at_once, make_console, run_command
from studperf.config.console import print_line
from studperf.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from studperf.judge.ranking import Found
    from studperf.report.views.runs import RankedGroup

_USAGE = """Sets runs side by side: scores, paired intervals against the best, and which differences are noise.

  python -m studperf.compare runs/A runs/B ...

A folder that holds several runs, such as a multirun's, stands for all of them, and runs/ for all runs and multiruns in it.
Runs on other data, on another split, with another target or scored on another part are ranked apart.
Flags: --debug shows tracebacks."""


def compare(found: Found, console: Console) -> None:
    """Print a ranking for each group of runs that can be compared.

    Then it prints the runs that were not scored, can't be read or were left out.

    Raises:
        RunError: no run was scored.
    """
    from studperf.report.views.runs import view_runs

    view = view_runs(found)
    rest = [run.line for run in view.unscored]
    rest += view.unreadable
    rest += [f"left out: {line}" for line in view.left_out]
    if not view.groups:
        raise RunError("\n  - ".join(["none of these runs was scored:", *rest]))
    for group in view.groups:
        console.print(_group_table(group))
    if any(len(group.runs) > 1 for group in view.groups):
        console.print("noise: the 95 % interval of the difference in RMSE holds 0", style="dim")
    for line in rest:
        print_line(console, line, style="yellow")


def _group_table(group: RankedGroup) -> Table:
    """Return a table with a row for each run, best first.

    It has the RMSE difference to the best, and whether that is noise.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"Runs, best first: {group.heading}"), title_justify="left")
    named = ["settings"] if any(run.settings for run in group.runs) else []
    for name in ("run", "model", *named, "seed", "RMSE", "MAE", "against the best", ""):
        is_text = name in ("run", "model", "settings", "")
        table.add_column(name, justify="left" if is_text else "right", overflow="fold")
    digits = group.digits
    for run in group.runs:
        scores, difference = run.judgement.scores, run.standing.difference
        table.add_row(
            Text(run.name),
            Text(run.record.model),
            *([Text(run.settings)] if named else []),
            str(run.record.seed),
            digits.interval(scores.rmse, more=1),
            digits.interval(scores.mae, more=1),
            "" if difference is None else digits.signed_interval(difference),
            run.standing.place,
        )
    return table


def main() -> None:
    """Run the command."""
    if (words := read_words(_USAGE)) is None:
        return
    if not words:
        raise RunError(f"name the runs to compare.\n\n{_USAGE}")
    from studperf.judge.ranking import find_runs

    compare(find_runs([Path(word) for word in words]), make_console())


if __name__ == "__main__":
    end_at_once()
    run_command(main)
