"""Several runs in one table: what a multirun ends with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from studperf.errors import counted
from studperf.ranking import find_runs
from studperf.record import RunRecord


def show_summary(folder: Path, console: Console) -> None:
    """The summary table of the runs below a multirun's folder."""
    runs = find_runs([folder])
    console.print()
    console.print(summary_table(runs))
    console.print(f"Compare them in pairs: python -m studperf.compare {folder}", soft_wrap=True)


def summary_table(runs: list[tuple[Path, RunRecord]]) -> Table:
    """A row for each model: its seeds, mean and spread of RMSE, and verdicts."""
    table = Table(title=counted(len(runs), "run"), title_justify="left")
    for name in ("model", "settings", "runs", "RMSE mean", "sd", "best baseline", "verdicts"):
        table.add_column(name, justify="right" if name in ("runs", "RMSE mean", "sd") else "left")
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    common = set.intersection(*(set(record.overrides) for _, record in runs))
    for _, record in runs:
        groups.setdefault((record.model, _settings(record, common)), []).append(record)
    rows = []
    for (model, settings), records in groups.items():
        judged = [r.judgement for r in records if r.judgement is not None]
        values = [j.scores.rmse.value for j in judged]
        verdicts = sorted(
            {j.verdict.kind for j in judged} | {r.status for r in records if r.judgement is None}
        )
        best = (
            f"{judged[0].best_baseline} {judged[0].baselines[judged[0].best_baseline].rmse.value:.3f}"
            if judged
            else "-"
        )
        mean = f"{np.mean(values):.3f}" if values else "-"
        spread = f"{np.std(values, ddof=1):.3f}" if len(values) > 1 else "-"
        rows.append(
            (
                np.mean(values) if values else np.inf,
                (model, settings, str(len(records)), mean, spread, best, ", ".join(verdicts)),
            )
        )
    for _, cells in sorted(rows, key=lambda row: row[0]):
        table.add_row(*cells)
    return table


def _settings(record: RunRecord, common: set[str]) -> str:
    """What sets the run apart from the others, but for its model and seed, which have columns of their own."""
    return " ".join(
        word
        for word in record.overrides
        if word not in common and not word.startswith(("model=", "seed="))
    )
