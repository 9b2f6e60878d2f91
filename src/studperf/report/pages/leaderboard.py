"""The table of ranked runs, and its summary by model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from studperf.judge.ranking import Standing
from studperf.report.card import digits_of, n_scored
from studperf.report.pages.markup import card, esc, framed, table
from studperf.report.pages.overview import Line, score_bar
from studperf.report.pages.run import TONES
from studperf.report.pages.svg import Scale
from studperf.scoring.numbers import R2_DECIMALS, Digits, number

_TIES = {"best": ("best", "good"), "noise": ("tied", "level"), "worse": ("worse", "warn")}
_SHORT = {"no better than the mean": "like the mean"}


def leaderboard(standings: list[Standing], lines: list[Line], folder: Path) -> str:
    """Return the table of ranked runs, the best first.

    It shows intervals, the difference to the best, and the verdict against the baselines.
    """
    show = digits_of(standings[0].record)
    scale = _bar_scale(standings)
    first = standings[0].judgement
    reference = first.baselines[first.best_baseline].rmse.value
    unit = show.in_unit
    heads = [
        "",
        "run",
        f"RMSE{unit}",
        "95 % interval",
        "minus the best",
        "",
        "MAE",
        "R²",
        "against baselines",
        "epochs",
        "parameters",
        "fit, s",
    ]
    right = {0, 2, 4, 6, 7, 9, 10, 11}
    header = "".join(
        f'<th scope="col"{" class=n" if i in right else ""}{" aria-sort=ascending" if i == 2 else ""}>'  # noqa: PLR2004 - RMSE
        f"{f'<button>{esc(head)}</button>' if head else ''}</th>"
        for i, head in enumerate(heads)
    )
    rows = "".join(
        _row(i, s, line, show, scale, reference, folder)
        for i, (s, line) in enumerate(zip(standings, lines, strict=True), start=1)
    )
    said = (
        f"{n_scored(standings[0].record):,} {first.scored_on} rows. "
        "A run is tied with the best when the 95 % interval of the difference, "
        f"paired row by row, holds 0. The mark in the bars is {first.best_baseline}, "
        f"{show.number(reference, more=1)}."
    )
    body = f'<table><thead><tr>{header}</tr></thead><tbody class="runs">{rows}</tbody></table>'
    return f'<p class="soft small">{esc(said)}</p>' + framed(body, "Leaderboard")


def _bar_scale(standings: list[Standing]) -> Scale:
    """Return the scale of the bars, twice as wide as the best run's interval.

    The contest is there; what lies beyond is drawn at the edge.
    """
    best = standings[0].judgement.scores.rmse
    width = max(best.high - best.low, 1e-9)
    return Scale(best.low - 0.1 * width, best.high + 1.2 * width, 4, 140)


def _row(
    place: int, s: Standing, line: Line, show: Digits, scale: Scale, reference: float, folder: Path
) -> str:
    record, scores = s.record, s.judgement.scores
    tie, tone = _TIES[s.place]
    difference = '<td class="n" data-v="0"></td>'
    if s.difference is not None:
        difference = f'<td class="n" data-v="{s.difference.value}">{_difference(s, show)}</td>'
    verdict = s.judgement.verdict.kind
    between = f'<span class="range small">{show.number(scores.rmse.low)} to {show.number(scores.rmse.high)}</span>'
    words = " ".join([line.name, record.model, verdict, tie, *record.overrides]).lower()
    cells = [
        f'<td class="n" data-v="{place}">{place}</td>',
        f'<th scope="row" data-v="{esc(line.name)}">{_run_cell(s, line, folder)}</th>',
        f'<td class="n" data-v="{scores.rmse.value}">{show.number(scores.rmse.value, more=1)}</td>',
        f'<td data-v="{scores.rmse.low}">{score_bar(scores.rmse, scale, reference, line.colour)}{between}</td>',
        difference,
        f'<td><span class="pill {tone}">{esc(tie)}</span></td>',
        f'<td class="n" data-v="{scores.mae.value}">{show.number(scores.mae.value, more=1)}</td>',
        f'<td class="n" data-v="{scores.r2.value}">{number(scores.r2.value, R2_DECIMALS)}</td>',
        f'<td><span class="pill {TONES[verdict]}">{esc(_SHORT.get(verdict, verdict))}</span></td>',
        f'<td class="n" data-v="{len(record.history)}">{len(record.history)}</td>',
        f'<td class="n" data-v="{record.n_parameters}">{record.n_parameters:,}</td>',
        f'<td class="n" data-v="{record.timings_s.get("fit", "")}">{record.timings_s.get("fit", 0.0):,.1f}</td>',
    ]
    return f'<tr{line.marks} data-model="{esc(record.model)}" data-words="{esc(words)}">{"".join(cells)}</tr>'


def _difference(s: Standing, show: Digits) -> str:
    if s.difference is None:
        return ""
    d = s.difference
    signed = show.signed(d.value)
    ends = f"{show.signed(d.low)} to {show.signed(d.high)}"
    return f'{signed}<br><span class="range small">{ends}</span>'


def _run_cell(s: Standing, line: Line, folder: Path) -> str:
    """Return the cell with a run's model, settings and name.

    The name links to the run's own page where there is one.
    """
    page, name = s.folder / "report.html", esc(line.name)
    if page.is_file() and page.is_relative_to(folder):
        name = f'<a href="{esc(page.relative_to(folder).as_posix())}">{name}</a>'
    words = [
        word
        for word in s.record.overrides
        if not word.startswith(("model=", "progress=", "trainer.max_epochs="))
    ]
    simulated = ' <span class="pill warn">SIMULATED</span>' if s.record.data.is_simulated else ""
    said = f' <span class="words">{esc(" ".join(words))}</span>' if words else ""
    swatch = f'<span class="swatch m{line.colour}"></span>'
    return (
        f'<span class="model">{swatch}{esc(s.record.model)}</span>{said}{simulated}'
        f'<span class="name" title="{esc(line.name)}">{name}</span>'
    )


def by_model(standings: list[Standing], lines: list[Line]) -> str:
    """Return the mean and spread of each model's runs, if a model has several."""
    groups: dict[str, list[float]] = {}
    for s in standings:
        groups.setdefault(s.record.model, []).append(s.judgement.scores.rmse.value)
    if max(map(len, groups.values())) < 2:  # noqa: PLR2004 - nothing to spread
        return ""
    show = digits_of(standings[0].record)
    colours = {line.record.model: line.colour for line in lines}
    rows = []
    for model, values in sorted(groups.items(), key=lambda pair: np.mean(pair[1])):
        name = f'<span class="swatch m{colours[model]}"></span>{esc(model)}'
        best = show.number(min(values), more=1)
        mean = show.number(float(np.mean(values)), more=1)
        spread = ""
        if len(values) > 1:
            spread = show.number(float(np.std(values, ddof=1)), more=1)
        rows.append([name, str(len(values)), best, mean, spread])
    caption = f"RMSE{show.in_unit} by model, over all its runs and settings"
    return card(
        "<h3>By model</h3>",
        table(["model", "runs", "best", "mean", "sd"], rows, caption=caption, numbers=range(1, 5)),
    )
