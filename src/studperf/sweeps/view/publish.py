"""The page of a finished study, and its summary at W&B."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from studperf.config.console import print_line
from studperf.sweeps.study import WINNER, Study
from studperf.sweeps.view.archive import Saved, rows, write_page
from studperf.sweeps.view.trials import view_trials
from studperf.tracking import keys
from studperf.tracking.payload import Table
from studperf.tracking.study import StudySummary, counts, log_study

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.config.run import Wandb

_TOLD = "told"
"""The fact of a study that names the state that was published last."""


def publish_study(study: Study, settings: Wandb, console: Console) -> None:
    """Write the study's page and log its summary to W&B, once per state of the study.

    Another machine that sees the study finished, or a repeated command, skips it.
    """
    with study.storage.held(f"{study.plan.name}-winner"):
        plan = study.plan
        saved = Saved(plan.name, plan.folder, study.optuna, study.trials(), study.facts())
        winner = (saved.facts.get(WINNER) or {}).get("trial")
        stands = [len(saved.trials), winner]
        if saved.facts.get(_TOLD) == stands:
            return

        print_line(console, f"Report: {write_page(saved)}")
        log_study(summarise(study, saved), plan.folder, settings, console)
        study.add_facts(**{_TOLD: stands})


def summarise(study: Study, saved: Saved) -> StudySummary:
    """Return the summary of a study: settings, curve, tables and single values."""
    settings = study.plan.settings.model_dump(
        mode="json", exclude={"storage", "params", "conditional", "dry_run"}
    )
    header, lines = rows(saved)
    data = [[_plain(cell) for cell in line] for line in lines]
    tables: dict[str, Table] = {keys.TRIALS: {"columns": header, "data": data}}

    ends = {"complete": 0, "pruned": 0, **saved.counts}
    summary: dict[str, Any] = dict(counts(ends))
    for name, share in saved.importances().items():
        summary[f"importance/{name}"] = share

    best = saved.best
    if best is not None:
        summary[keys.BEST_VALUE] = best.values[0]
        summary["best/trial"] = best.number

    found = saved.facts.get(WINNER)
    if found:
        for name in ("trial", "line", "command"):
            summary[f"winner/{name}"] = found[name]
        if found.get("verdict"):
            summary[keys.VERDICT_LINE] = found["verdict"]
        tables[keys.CANDIDATES] = _candidates(found)

    config = {"sweep": settings, "space": saved.space}
    return StudySummary(saved.name, config, _curve(saved), tables, summary)


def _candidates(found: dict[str, Any]) -> Table:
    """Return the table of the candidates, one row each."""
    before = ("trial", "mean", "sd")
    after = ("is_tied", "n_parameters", "fit_seconds")
    data = []
    for candidate in found["candidates"]:
        difference = candidate["difference"]
        data.append(
            [
                *(candidate[name] for name in before),
                *(difference[end] for end in ("value", "low", "high")),
                *(candidate[name] for name in after),
            ]
        )
    return {"columns": [*before, "against_best", "low", "high", *after], "data": data}


def _curve(saved: Saved) -> list[dict[str, float]]:
    """Return the first objective by trial, and the best so far."""
    trials = view_trials(saved.trials, saved.objectives, saved.directions)
    lines = []
    for trial, best in trials.best_so_far:
        row = {keys.TRIAL: trial.number, keys.TRIAL_VALUE: trial.value, keys.STUDY_BEST: best}
        lines.append(row)
    return lines


def _plain(cell: Any) -> Any:  # noqa: ANN401 - of any column
    """Return a cell as a number or as text: a column at W&B holds one type."""
    if cell is None or isinstance(cell, int | float):
        return cell
    return str(cell)
