"""The page of many runs: who leads, who is tied with the leader, how they learnt, and what was chosen differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from studperf.errors import RunError, counted
from studperf.figures import Figures
from studperf.ranking import Standing, rank
from studperf.record import RECORD, RunRecord, read_predictions
from studperf.report.leaderboard import by_model, leaderboard
from studperf.report.markup import (
    card,
    esc,
    figure,
    framed,
    points,
    read_script,
    render_page,
    table,
)
from studperf.report.overview import (
    N_COLOURS,
    Axis,
    Line,
    choices,
    curves_chart,
    parallel_chart,
    upper_end,
)
from studperf.report.run_page import TONES

Run = tuple[Path, RunRecord]


@dataclass(frozen=True)
class Found:
    """What lies below a folder: runs whose record can be read, and why others can't."""

    runs: list[Run]
    unreadable: list[tuple[Path, str]]


def find_all(folder: Path) -> Found:
    """The runs in a folder and in the multiruns and sweeps in it; a damaged record is told, and stops nothing.

    Raises:
        RunError: there is none.
    """
    records = sorted({*folder.glob(f"*/{RECORD}"), *folder.glob(f"*/*/{RECORD}")})
    if not records:
        why = (
            f"holds no run (no {RECORD} one or two levels below it)"
            if folder.is_dir()
            else "there is no such folder"
        )
        raise RunError(f"{folder}: {why}")
    runs, unreadable = [], []
    for path in records:
        try:
            runs.append((path.parent, RunRecord.load(path.parent)))
        except RunError as error:
            unreadable.append((path.parent, str(error)))
    return Found(runs, unreadable)


def render_runs(found: Found, folder: Path) -> str:
    """One page over all runs. Runs that predict another target, or were scored on val instead of test, are ranked apart."""
    groups: dict[tuple[str, str, str], list[Run]] = {}
    others: list[Run] = []
    lost: list[tuple[Path, str]] = list(found.unreadable)
    for run in found.runs:
        judgement = run[1].judgement
        if judgement is None:
            others.append(run)
            continue
        try:
            read_predictions(run[0])
        except RunError as error:
            lost.append((run[0], str(error)))
        else:
            groups.setdefault(
                (run[1].data.target, run[1].data.unit, judgement.scored_on), []
            ).append(run)
    models = sorted({record.model for _, record in found.runs})
    colours = {model: i % N_COLOURS for i, model in enumerate(models)}
    indices = {run[0]: i for i, run in enumerate(found.runs)}
    sections: list[tuple[str, str, str]] = []
    ranked = [rank(runs) for runs in sorted(groups.values(), key=len, reverse=True)]
    for k, standings in enumerate(ranked):
        lines = [
            Line(indices[s.folder], colours[s.record.model], _label(s.folder, folder), s.record)
            for s in standings
        ]
        sections += _group_sections(standings, lines, folder, k, several=len(ranked) > 1)
    sections.append(("unfinished", "Not scored", _unfinished(others, folder)))
    sections.append(
        ("unreadable", "Not readable", card(points(reason for _, reason in lost)) if lost else "")
    )
    tools = _tools(models, colours) if any(ranked) else ""
    masthead = _masthead(found, folder, ranked) + tools
    n_read = counted(len(found.runs), "record")
    footer = f"Made from {n_read} below {esc(folder.name or folder)}; every number on this page is read or computed from them."
    return render_page(
        f"Runs in {folder.name}",
        masthead,
        sections,
        footer=footer,
        script=read_script("runs.js"),
        broad=True,
    )


def _masthead(found: Found, folder: Path, ranked: list[list[Standing]]) -> str:
    n_judged = sum(map(len, ranked))
    counts = [counted(len(found.runs), "run"), f"{n_judged} scored"]
    if any(record.data.is_simulated for _, record in found.runs):
        counts.append("some on SIMULATED data")
    spans = "".join(f"<span>{esc(part)}</span>" for part in counts)
    lead = (
        _headline(ranked[0])
        if ranked
        else '<p class="banner warn"><strong>No run was scored yet.</strong></p>'
    )
    return f'<p class="eyebrow">Runs</p><h1>{esc(folder.name or folder)}</h1><p class="meta">{spans}</p>{lead}'


def _headline(standings: list[Standing]) -> str:
    """Who leads, who can't be told apart from it, and whether that is any better than a baseline."""
    best, show = standings[0], Figures.of(standings[0].record)
    tied = [s for s in standings if s.place == "noise"]
    smallest = min([best, *tied], key=lambda s: s.record.n_parameters)
    said = f"<strong>{esc(best.record.model)} leads</strong> with RMSE {esc(show.interval_with_unit(best.judgement.scores.rmse))}."
    if tied:
        said += f" {len(tied)} of {len(standings) - 1} others are tied with it: the 95 % interval of the difference holds 0."
        if smallest is not best:
            said += f" The smallest of them is {esc(smallest.record.model)} with {smallest.record.n_parameters:,} parameters."
    elif len(standings) > 1:
        said += " No other run is tied with it."
    name = best.judgement.best_baseline
    said += f" Against the best baseline, {esc(name)}: {esc(best.judgement.verdict.line)}"
    return f'<p class="banner {TONES[best.judgement.verdict.kind]}">{said}</p>'


def _tools(models: Sequence[str], colours: dict[str, int]) -> str:
    chips = "".join(
        f'<button class="chip" aria-pressed="true" data-model="{esc(model)}"><span class="swatch m{colours[model]}"></span>{esc(model)}</button>'
        for model in models
    )
    box = '<input id="search" type="search" placeholder="filter by name, setting or verdict" aria-label="filter runs">'
    return f'<div class="tools">{box}{chips}<span id="count" class="soft small" aria-live="polite"></span></div>'


def _group_sections(
    standings: list[Standing], lines: list[Line], folder: Path, k: int, *, several: bool
) -> list[tuple[str, str, str]]:
    record, judgement = standings[0].record, standings[0].judgement
    what = f": {record.data.target}, {judgement.scored_on}" if several else ""
    monitor, in_unit = (
        record.monitor,
        Figures.of(record).in_unit if record.monitor in ("val/rmse", "val/mae") else "",
    )
    same = [line for line in lines if line.record.monitor == monitor]
    curves = curves_chart(same, monitor, in_unit)
    axes = choices([line.record for line in lines])
    scores = [s.judgement.scores.rmse.value for s in standings]
    axes.append(Axis(f"{judgement.scored_on} RMSE", list(scores), cap=upper_end(scores[0], scores)))
    parallel = (
        framed(parallel_chart(lines, axes), "Parallel coordinates", cls="wide scroll")
        if len(standings) > 1
        else ""
    )
    how = "One line a run, through what was chosen to how it scored. Drag along an axis to keep a range, click it to let go."
    legend = _legend(lines)
    said = f"{monitor} on val, by epoch; what lies above the frame is cut off."
    pictures = figure("Learning curves", said, legend + curves) if curves else ""
    choice = figure("What was chosen, and what it gave", how, legend + parallel) if parallel else ""
    beside = pictures + by_model(standings, lines)
    return [
        (
            f"leaderboard{k or ''}",
            f"Leaderboard{what}",
            card(leaderboard(standings, lines, folder)),
        ),
        (f"curves{k or ''}", f"Curves{what}", f'<div class="two">{beside}</div>' if beside else ""),
        (f"choices{k or ''}", f"Choices{what}", choice),
    ]


def _legend(lines: Sequence[Line]) -> str:
    models = sorted({(line.record.model, line.colour) for line in lines})
    return f'<ul class="legend">{"".join(f"<li><span class={chr(34)}swatch m{c}{chr(34)}></span>{esc(m)}</li>" for m, c in models)}</ul>'


def _unfinished(runs: list[Run], folder: Path) -> str:
    if not runs:
        return ""
    rows = [
        [
            esc(_label(path, folder)),
            esc(r.model),
            f'<span class="pill">{esc(r.status)}</span>',
            str(len(r.history)),
            esc(r.error or ""),
        ]
        for path, r in runs
    ]
    caption = "An interrupted or failed run goes on with: python -m studperf.train resume=FOLDER"
    return card(
        table(["run", "model", "status", "epochs", "why"], rows, caption=caption, numbers=[3])
    )


def _label(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
