"""Sets runs side by side and says which differences are noise.

python -m studperf.compare runs/A runs/B ...
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studperf.cli import end_at_once, make_console, read_words, run_command
from studperf.errors import RunError

if TYPE_CHECKING:
    from rich.table import Table

    from studperf.record import RunRecord

_USAGE = """Sets runs side by side: scores, paired intervals against the best, and which differences are noise.

  python -m studperf.compare runs/A runs/B ...

A folder that holds several runs, such as a multirun's, stands for all of them. Flags: --debug shows tracebacks."""


def compare(runs: list[tuple[Path, RunRecord]]) -> Table:
    """A row for each run, best first, with the RMSE difference to the best and whether it is noise.

    Runs scored on the same rows are compared in pairs; others by the intervals of two independent samples, and marked so.

    Raises:
        RunError: a run was not scored, or the runs predict different targets.
    """
    from rich.table import Table

    from studperf.ranking import rank
    from studperf.report import interval_text

    table = Table(title="Runs, best first", title_justify="left")
    for name in ("run", "model", "seed", "RMSE", "MAE", "against the best", ""):
        table.add_column(
            name, justify="left" if name in ("run", "model", "") else "right", overflow="fold"
        )
    for standing in rank(runs):
        scores, difference = standing.judgement.scores, standing.difference
        table.add_row(
            str(standing.folder),
            standing.record.model,
            str(standing.record.seed),
            interval_text(scores.rmse, digits=3),
            interval_text(scores.mae, digits=3),
            "" if difference is None else interval_text(difference, digits=3),
            standing.place + ("" if standing.is_paired else " (other rows, unpaired)"),
        )
    return table


def main() -> None:
    """The command."""
    if (words := read_words(_USAGE)) is None:
        return
    if not words:
        raise RunError(f"name the runs to compare.\n\n{_USAGE}")
    from studperf.ranking import find_runs

    runs = find_runs([Path(word) for word in words])
    console = make_console()
    console.print(compare(runs))
    if len(runs) > 1:
        console.print("noise: the 95 % interval of the difference in RMSE holds 0", style="dim")


if __name__ == "__main__":
    end_at_once()
    run_command(main)
