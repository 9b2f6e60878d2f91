"""What a study leaves at its end, beside its storage: a page, and its summary at W&B."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from studperf.sweeps.study import Study
from studperf.sweeps.view.archive import Saved, rows
from studperf.sweeps.view.page import write
from studperf.sweeps.winner import WINNER
from studperf.tracking import keys
from studperf.tracking.payload import Table
from studperf.tracking.study import StudySummary, counts, log_study

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.config.run import Wandb

_TOLD = "told"


def tell(study: Study, settings: Wandb, console: Console) -> None:
    """Writes the study's page and tells W&B, unless that was done: several machines, or the same command again, have nothing new to say."""
    with study.storage.held(f"{study.plan.name}-winner"):
        saved = Saved(
            study.plan.name, study.plan.folder, study.optuna, study.trials(), study.facts()
        )
        winner = (saved.facts.get(WINNER) or {}).get("trial")
        stands = [len(saved.trials), winner]
        if saved.facts.get(_TOLD) == stands:
            return
        console.print(f"Report: {write(saved)}", soft_wrap=True)
        log_study(summarise(study, saved), study.plan.folder, settings, console)
        study.add_facts(**{_TOLD: stands})


def summarise(study: Study, saved: Saved) -> StudySummary:
    """All that the summary holds."""
    settings = study.plan.settings.model_dump(
        mode="json", exclude={"storage", "params", "conditional", "dry_run"}
    )
    header, lines = rows(saved)
    tables: dict[str, Table] = {
        keys.TRIALS: {
            "columns": header,
            "data": [[_plain(cell) for cell in line] for line in lines],
        }
    }
    ends = {"complete": 0, "pruned": 0, **saved.counts}
    summary: dict[str, Any] = {
        **counts(ends),
        **{f"importance/{name}": share for name, share in saved.importances().items()},
    }
    if saved.best is not None:
        summary |= {keys.BEST_VALUE: saved.best.values[0], "best/trial": saved.best.number}
    if found := saved.facts.get(WINNER):
        summary |= {
            "winner/trial": found["trial"],
            "winner/line": found["line"],
            "winner/command": found["command"],
        }
        summary |= {keys.VERDICT_LINE: found["verdict"]} if found.get("verdict") else {}
        columns = [
            "trial",
            "mean",
            "sd",
            "against_best",
            "low",
            "high",
            "is_tied",
            "n_parameters",
            "fit_seconds",
        ]
        data = [
            [
                c["trial"],
                c["mean"],
                c["sd"],
                *(c["difference"][end] for end in ("value", "low", "high")),
                *(c[name] for name in columns[6:]),
            ]
            for c in found["candidates"]
        ]
        tables[keys.CANDIDATES] = {"columns": columns, "data": data}
    return StudySummary(
        saved.name, {"sweep": settings, "space": saved.space}, _curve(saved), tables, summary
    )


def _curve(saved: Saved) -> list[dict[str, float]]:
    """The first objective by trial, and the best so far."""
    better = max if saved.directions[0] == "maximize" else min
    best = math.nan
    lines = []
    for trial in saved.trials:
        if trial.state.name == "COMPLETE" and trial.values:
            best = trial.values[0] if math.isnan(best) else better(best, trial.values[0])
            lines.append(
                {keys.TRIAL: trial.number, keys.TRIAL_VALUE: trial.values[0], keys.STUDY_BEST: best}
            )
    return lines


def _plain(cell: Any) -> Any:  # noqa: ANN401 - of any column
    """A column at W&B holds one type: numbers, or else text."""
    return cell if cell is None or isinstance(cell, int | float) else str(cell)
