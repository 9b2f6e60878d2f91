"""The tables of several runs with which a multirun ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from studperf.errors import counted
from studperf.judge.ranking import Ground, Run, find_runs, group_by_ground
from studperf.record.record import RunRecord
from studperf.report.views.run import digits_of
from studperf.report.views.runs import common_words, pool_runs, settings_of
from studperf.train.plan import Progress, find_progress

_N_NAMED = 10


def show_summary(folder: Path, console: Console) -> None:
    """Print the summary of the runs below a multirun's folder, and what is left to do."""
    found = find_runs([folder])
    progress = find_progress(folder)
    console.print()
    if found.runs:
        for table in summary_tables(found.runs, progress):
            console.print(table)
    lines = [reason for _, reason in found.unreadable] + _unfinished_lines(found.runs, progress)
    if lines:
        lines.append(f"Go on with: python -m studperf.train resume={folder}")
    lines.append(f"Compare them in pairs: python -m studperf.compare {folder}")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def summary_tables(runs: Sequence[Run], progress: Progress | None = None) -> list[Table]:
    """Return a table for each group of runs that can be compared.

    It has a row for each model and its settings.
    """
    n_finished = sum(record.status == "finished" for _, record in runs)
    n_planned = progress.n_planned if progress is not None else None
    n_runs = len(runs) if n_planned is None else n_planned
    title = counted(n_runs, "run")
    if n_finished < n_runs:
        title = f"{n_finished} of {title}"
    groups = group_by_ground((Ground.of(record), record) for _, record in runs)
    if len(groups) == 1:
        return [_summary_table(groups[0].items, title)]
    tables = []
    for group in groups:
        heading = f"{len(group.items)} of {title}: {group.heading}"
        tables.append(_summary_table(group.items, heading))
    return tables


def _summary_table(records: Sequence[RunRecord], title: str) -> Table:
    """Return a group's table: runs, mean and spread of RMSE, and verdicts of each model."""
    table = Table(title=Text(title), title_justify="left")
    for name in ("model", "settings", "runs", "RMSE mean", "sd", "best baseline", "verdicts"):
        table.add_column(name, justify="right" if name in ("runs", "RMSE mean", "sd") else "left")
    common = common_words(records)
    pools = pool_runs(records, lambda record: (record.model, settings_of(record, common)))
    digits = digits_of(pools[0].records[0])
    for pool in pools:
        # The rows are the same in all of them, and so are the baselines.
        best = "-"
        if pool.judgements:
            first = pool.judgements[0]
            baseline = first.baselines[first.best_baseline].rmse.value
            best = f"{first.best_baseline} {digits.number(baseline, more=1)}"
        mean = "-" if pool.mean is None else digits.number(pool.mean, more=1)
        spread = "-" if pool.sd is None else digits.number(pool.sd, more=1)
        n_runs = str(len(pool.records))
        cells = (pool.model, pool.settings, n_runs, mean, spread, best, pool.verdicts)
        table.add_row(*map(Text, cells))
    return table


def _unfinished_lines(runs: Sequence[Run], progress: Progress) -> list[str]:
    """Return lines that name the runs that keep a folder from being complete."""
    by_status: dict[str, list[str]] = {}
    for folder, record in runs:
        if record.status != "finished":
            by_status.setdefault(record.status.capitalize(), []).append(folder.name)
    if progress.not_begun:
        by_status["Not begun"] = list(progress.not_begun)
    return [f"{status}: {_list_first(names)}" for status, names in by_status.items()]


def _list_first(names: Sequence[str]) -> str:
    more = f"; and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return "; ".join(names[:_N_NAMED]) + more
