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

    from studperf.judge.ranking import Found, Group, Run, Standing

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
    from studperf.judge.ranking import rank_apart

    ranking = rank_apart(found)
    rest = [_unscored_line(run) for run in ranking.unscored]
    rest += [reason for _, reason in ranking.unreadable]
    rest += [f"left out: {line}" for line in found.explain_left_out()]
    if not ranking.groups:
        raise RunError("\n  - ".join(["none of these runs was scored:", *rest]))
    for group in ranking.groups:
        console.print(_group_table(group))
    if any(len(group.items) > 1 for group in ranking.groups):
        console.print("noise: the 95 % interval of the difference in RMSE holds 0", style="dim")
    for line in rest:
        print_line(console, line, style="yellow")


def _group_table(group: Group[Standing]) -> Table:
    """Return a table with a row for each run, best first.

    It has the RMSE difference to the best, and whether that is noise.
    """
    from rich.table import Table
    from rich.text import Text

    from studperf.judge.ranking import common_words, settings_of
    from studperf.report import interval_text

    table = Table(title=Text(f"Runs, best first: {group.heading}"), title_justify="left")
    common = common_words(standing.record for standing in group.items)
    settings = [settings_of(standing.record, common) for standing in group.items]
    is_text = ("run", "model", "settings", "")
    named = ["settings"] if any(settings) else []
    for name in ("run", "model", *named, "seed", "RMSE", "MAE", "against the best", ""):
        table.add_column(name, justify="left" if name in is_text else "right", overflow="fold")
    for standing, own in zip(group.items, settings, strict=True):
        scores, difference = standing.judgement.scores, standing.difference
        table.add_row(
            Text(str(standing.folder)),
            Text(standing.record.model),
            *([Text(own)] if named else []),
            str(standing.record.seed),
            interval_text(scores.rmse, digits=3),
            interval_text(scores.mae, digits=3),
            "" if difference is None else interval_text(difference, digits=3),
            standing.place,
        )
    return table


def _unscored_line(run: Run) -> str:
    """Return why a run is in no ranking, and how it gets into one."""
    folder, record = run
    named = f"{folder} ({record.model}): {record.status}"
    if record.status in ("interrupted", "failed"):
        why = f"; {record.error}" if record.error else ""
        return f"{named}{why}; go on with it: python -m studperf.train resume={folder}"
    if record.status == "running":
        return f"{named}; it has no score yet"
    return f"{named}; a trial of a study, which has no score of its own"


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
