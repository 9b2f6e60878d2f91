"""The page of many runs: leaderboard, learning curves, and what was chosen differently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from studperf.errors import counted
from studperf.judge.ranking import Found, Group, Run, Standing, rank_apart
from studperf.report.card import digits_of
from studperf.report.pages.leaderboard import by_model, leaderboard
from studperf.report.pages.markup import (
    card,
    esc,
    figure,
    framed,
    points,
    read_script,
    render_page,
    table,
)
from studperf.report.pages.overview import (
    N_COLOURS,
    Axis,
    Line,
    choices,
    curves_chart,
    parallel_chart,
    upper_end,
)
from studperf.report.pages.run import TONES


def render_runs(found: Found, folder: Path) -> str:
    """Return one page over all runs.

    Runs that can't be compared are ranked apart, each group under its heading.
    """
    ranking = rank_apart(found)
    models = sorted({record.model for _, record in found.runs})
    colours = {model: i % N_COLOURS for i, model in enumerate(models)}
    indices = {run[0]: i for i, run in enumerate(found.runs)}
    sections: list[tuple[str, str, str]] = []
    labels = _group_labels(ranking.groups)
    for k, group in enumerate(ranking.groups):
        lines = [
            Line(indices[s.folder], colours[s.record.model], _label(s.folder, folder), s.record)
            for s in group.items
        ]
        sections += _group_sections(group, lines, folder, k, label=labels[k])
    sections.append(("unfinished", "Not scored", _unfinished(ranking.unscored, folder)))
    lost = [reason for _, reason in ranking.unreadable]
    sections.append(("unreadable", "Not readable", card(points(lost)) if lost else ""))
    left_out = found.explain_left_out()
    sections.append(("left-out", "Left out", card(points(left_out)) if left_out else ""))
    tools = _tools(models, colours) if ranking.groups else ""
    masthead = _masthead(found, folder, ranking.groups) + tools
    n_read = counted(len(found.runs), "record")
    footer = (
        f"Made from {n_read} below {esc(folder.name or folder)}; "
        "every number on this page is read or computed from them."
    )
    return render_page(
        f"Runs in {folder.name}",
        masthead,
        sections,
        footer=footer,
        script=read_script("runs.js"),
        broad=True,
    )


def _group_labels(groups: Sequence[Group[Standing]]) -> list[str]:
    """Return a few words by which headings and links tell groups apart.

    They are empty where there is one group.
    """
    if len(groups) == 1:
        return [""]
    labels: list[str] = []
    for group in groups:
        ground = group.ground
        label = f": {ground.target}, {ground.scored_on}"
        if ground.is_simulated:
            label += ", SIMULATED"
        n_alike = sum(other.startswith(label) for other in labels)
        labels.append(f"{label}, other rows {n_alike}" if n_alike else label)
    return labels


def _masthead(found: Found, folder: Path, groups: Sequence[Group[Standing]]) -> str:
    n_judged = sum(len(group.items) for group in groups)
    counts = [counted(len(found.runs), "run"), f"{n_judged} scored"]
    if any(record.data.is_simulated for _, record in found.runs):
        counts.append("some on SIMULATED data")
    spans = "".join(f"<span>{esc(part)}</span>" for part in counts)
    lead = '<p class="banner warn"><strong>No run was scored yet.</strong></p>'
    if groups:
        lead = _headline(groups)
    title = esc(folder.name or folder)
    return f'<p class="eyebrow">Runs</p><h1>{title}</h1><p class="meta">{spans}</p>{lead}'


def _headline(groups: Sequence[Group[Standing]]) -> str:
    """Return who leads the first group, who is tied with it, and the leader's verdict."""
    standings = groups[0].items
    best, show = standings[0], digits_of(standings[0].record)
    tied = [s for s in standings if s.place == "noise"]
    smallest = min([best, *tied], key=lambda s: s.record.n_parameters)
    rmse = show.interval_with_unit(best.judgement.scores.rmse)
    said = f"<strong>{esc(best.record.model)} leads</strong> with RMSE {esc(rmse)}."
    if tied:
        said += (
            f" {len(tied)} of {len(standings) - 1} others are tied with it: "
            "the 95 % interval of the difference holds 0."
        )
        if smallest is not best:
            said += (
                f" The smallest of them is {esc(smallest.record.model)} "
                f"with {smallest.record.n_parameters:,} parameters."
            )
    elif len(standings) > 1:
        said += " No other run is tied with it."
    if best.record.data.is_simulated:
        said = f"SIMULATED data, not real: {said}"
    if len(groups) > 1:
        n_apart = sum(len(group.items) for group in groups[1:])
        verb = "is" if n_apart == 1 else "are"
        said += (
            f" {counted(n_apart, 'run')} on other data, rows or targets "
            f"can't be compared with these and {verb} ranked apart."
        )
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
    group: Group[Standing], lines: list[Line], folder: Path, k: int, *, label: str
) -> list[tuple[str, str, str]]:
    standings = group.items
    record, judgement = standings[0].record, standings[0].judgement
    monitor = record.monitor
    in_unit = ""
    if monitor in ("val/rmse", "val/mae"):
        in_unit = digits_of(record).in_unit
    # Curves of different metrics can't share an axis.
    same = [line for line in lines if line.record.monitor == monitor]
    curves = curves_chart(same, monitor, in_unit)
    axes = choices([line.record for line in lines])
    scores = [s.judgement.scores.rmse.value for s in standings]
    axes.append(Axis(f"{judgement.scored_on} RMSE", list(scores), cap=upper_end(scores[0], scores)))
    parallel = ""
    if len(standings) > 1:
        chart = parallel_chart(lines, axes)
        parallel = framed(chart, "Parallel coordinates", cls="wide scroll")
    how = (
        "One line a run, through what was chosen to how it scored. "
        "Drag along an axis to keep a range, click it to let go."
    )
    legend = _legend(lines)
    said = f"{monitor} on val, by epoch; what lies above the frame is cut off."
    pictures = figure("Learning curves", said, legend + curves) if curves else ""
    choice = figure("What was chosen, and what it gave", how, legend + parallel) if parallel else ""
    beside = pictures + by_model(standings, lines)
    return [
        (
            f"leaderboard{k or ''}",
            f"Leaderboard{label}",
            card(_group_heading(group), leaderboard(standings, lines, folder)),
        ),
        (
            f"curves{k or ''}",
            f"Curves{label}",
            f'<div class="two">{beside}</div>' if beside else "",
        ),
        (f"choices{k or ''}", f"Choices{label}", choice),
    ]


def _group_heading(group: Group[Standing]) -> str:
    """Return the ground of a group, and why its runs are ranked apart from the first one."""
    said = f"<h3>{esc(group.ground.text)}</h3>"
    if group.why_apart:
        why = f"Apart from the runs above: {', and '.join(group.why_apart)}."
        said += f'<p class="banner warn">{esc(why)}</p>'
    return said


def _legend(lines: Sequence[Line]) -> str:
    models = sorted({(line.record.model, line.colour) for line in lines})
    items = [f'<li><span class="swatch m{c}"></span>{esc(model)}</li>' for model, c in models]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _unfinished(runs: Sequence[Run], folder: Path) -> str:
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
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return path.name
