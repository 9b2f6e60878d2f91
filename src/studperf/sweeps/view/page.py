"""A study as one page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.record.files import write_atomically
from studperf.report.pages.markup import (
    card,
    esc,
    facts,
    figure,
    fold,
    framed,
    points,
    render_page,
    table,
)
from studperf.sweeps.study import ERROR, best_first, pareto
from studperf.sweeps.view import charts
from studperf.sweeps.view.archive import repeat_command
from studperf.sweeps.view.live_table import short
from studperf.sweeps.winner import WINNER

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from studperf.sweeps.view.archive import Saved

_MIN_DRAWN = 2
_FEW_TRIALS = 20


def write(saved: Saved) -> Path:
    """Writes `report.html` in the study's folder."""
    saved.folder.mkdir(parents=True, exist_ok=True)
    path = saved.folder / "report.html"
    write_atomically(path, render(saved, repeat_command(saved) if saved.best is not None else ""))
    return path


def render(saved: Saved, command: str) -> str:
    """The page.

    Args:
        saved: the study.
        command: repeats its winner or best trial; empty where there is none.
    """
    complete = best_first(saved.trials, saved.directions)
    is_max = saved.directions[0] == "maximize"
    sections = [
        ("winner", "Winner", _winner(saved, command)),
        ("pareto", "Pareto table", _pareto(saved)),
        ("history", "History", _drawn(complete, lambda: _history(saved, is_max=is_max))),
        (
            "parameters",
            "What mattered",
            _drawn(complete, lambda: _parameters(saved, complete, is_max=is_max)),
        ),
        ("timeline", "Workers", _timeline(saved)),
        ("failed", "Failed and put back", _failed(saved)),
        ("trials", "All trials", _trials(saved)),
        (
            "space",
            "Space",
            card(
                facts((name, f"<code>{esc(domain)}</code>") for name, domain in saved.space.items())
            ),
        ),
    ]
    footer = f"Made from {len(saved.trials)} trials of the study's storage; every number on this page is read or computed from them."
    return render_page(f"{saved.name}: study", _masthead(saved), sections, footer=footer)


def _drawn(complete: list[FrozenTrial], draw: Callable[[], str]) -> str:
    return draw() if len(complete) >= _MIN_DRAWN else ""


def _masthead(saved: Saved) -> str:
    counts = "".join(f"<span>{n} {esc(kind)}</span>" for kind, n in saved.counts.items() if n)
    aims = ", ".join(
        f"{'largest' if d == 'maximize' else 'smallest'} {name}"
        for name, d in zip(saved.objectives, saved.directions, strict=True)
    )
    best = saved.best
    banner = (
        ""
        if best is None
        else f"<strong>{best.values[0]:.4f}</strong> {esc(saved.objectives[0])} in trial {best.number}, as the study saw it."
    )
    found = saved.facts.get(WINNER)
    banner = f"{esc(found['line'])}" if found else banner
    banner += f"<br>{esc(found['verdict'])}" if found and found.get("verdict") else ""
    total = saved.facts.get("total", "?")
    return (
        f'<p class="eyebrow">Study</p><h1>{esc(saved.name)} <small>{saved.n_done} of {total} trials</small></h1>'
        f'<p class="meta"><span>{esc(aims)}</span>{counts}</p>'
        + (
            f'<p class="banner level">{banner}</p>'
            if banner
            else '<p class="banner warn">No trial is complete yet.</p>'
        )
    )


def _winner(saved: Saved, command: str) -> str:
    found = saved.facts.get(WINNER)
    repeat = (
        f"<p>To repeat {'the winner' if found else 'the best trial'} as a run of its own:</p><pre>{esc(command)}</pre>"
        if command
        else ""
    )
    if not found:
        return card(repeat) if repeat else ""
    rows = []
    for line in found["candidates"]:
        gap = line["difference"]
        kind = (
            ("best", "good")
            if line["trial"] == found["best"]
            else ("tied", "level")
            if line["is_tied"]
            else ("worse", "warn")
        )
        pill = f'<span class="pill {kind[1]}">{kind[0]}</span>'
        pill += ' <span class="pill good">winner</span>' if line["trial"] == found["trial"] else ""
        interval = (
            f'{gap["value"]:+.3f} <span class="range">[{gap["low"]:+.3f}, {gap["high"]:+.3f}]</span>'
            if gap["value"]
            else ""
        )
        cells = (
            f"{line['mean']:.4f}",
            f"{line['sd']:.4f}",
            interval,
            pill,
            f"{line['n_parameters']:,}",
            f"{line['fit_seconds']:.1f}",
        )
        rows.append((str(line["trial"]), *cells, esc(" ".join(map(short, line["words"])))))
    header = (
        "trial",
        "mean",
        "sd",
        "against the best (95 %)",
        "",
        "parameters",
        "seconds",
        "settings",
    )
    caption = "Trained again on fresh seeds and compared in pairs on val. Of those tied with the best, the simplest wins; it alone saw test."
    return card(table(header, rows, caption=caption, numbers=(1, 2, 3, 5, 6)), repeat)


def _pareto(saved: Saved) -> str:
    if len(saved.objectives) == 1:
        return ""
    front = pareto(saved.trials, saved.directions)
    rows = [(str(t.number), *(f"{v:.4g}" for v in t.values), esc(_words(t))) for t in front]
    caption = "No other trial is better in all of these at once."
    return card(
        table(
            ("trial", *map(esc, saved.objectives), "settings"),
            rows,
            caption=caption,
            numbers=range(1, len(saved.objectives) + 1),
        )
    )


def _history(saved: Saved, *, is_max: bool) -> str:
    caption = "Each complete trial in colour, pruned ones grey at their last value; the line is the best so far. Arrows stand for those beyond."
    single = [t for t in saved.trials if len(saved.objectives) == 1 or t.state.name == "COMPLETE"]
    drawing = (
        charts.history_chart(single, saved.objectives[0], is_max=is_max)
        if len(saved.objectives) == 1
        else ""
    )
    return (
        figure("Values of the trials", caption, _scrolled(drawing, "Values of the trials"))
        if drawing
        else ""
    )


def _parameters(saved: Saved, complete: list[FrozenTrial], *, is_max: bool) -> str:
    objective = saved.objectives[0]
    shares = saved.importances()
    names = sorted({n for t in complete for n in t.params}, key=lambda name: -shares.get(name, 0.0))
    parts = []
    if shares:
        few = (
            f" Of {len(complete)} trials: a first hint, no more."
            if len(complete) < _FEW_TRIALS
            else ""
        )
        caption = f"The share of each in what makes good trials good (PED-ANOVA).{few}"
        parts.append(figure("Importance", caption, charts.importance_chart(shares)))
    if len(names) > 1:
        contour = charts.contour_chart(complete, names[0], names[1], is_max=is_max)
        if any(names[0] in t.params and names[1] in t.params for t in complete):
            parts.append(
                figure(
                    "The two that mattered most", "The darker the better; dots are trials.", contour
                )
            )
    slices = [
        figure(
            name,
            f"{objective} over {name}",
            charts.slice_chart(complete, name, objective, is_max=is_max),
        )
        for name in names
        if sum(name in t.params for t in complete) >= _MIN_DRAWN
    ]
    lines = _scrolled(
        charts.parallel_chart(complete, objective, is_max=is_max), "Parallel coordinates"
    )
    wide = figure("All together", "Each line is a trial; the best quarter stands out.", lines)
    return f'<div class="two">{"".join(parts)}</div>{wide}<div class="two" style="margin-top:1rem">{"".join(slices)}</div>'


def _timeline(saved: Saved) -> str:
    if not any(t.datetime_start is not None for t in saved.trials):
        return ""
    drawing = _scrolled(charts.timeline_chart(saved.trials), "Who did what when")
    return figure(
        "Who did what when", "Blue is complete, grey pruned, red failed or put back.", drawing
    )


def _scrolled(drawing: str, label: str) -> str:
    """A broad drawing, which keeps its size on a narrow screen and scrolls there."""
    return framed(drawing, label, cls="wide scroll")


def _failed(saved: Saved) -> str:
    failed = [t for t in saved.trials if t.state.name == "FAIL"]
    if not failed:
        return ""
    return card(
        points(
            f"Trial {t.number}: {str(t.user_attrs.get(ERROR, 'stopped from outside, put back')).splitlines()[0]}"
            for t in failed
        )
    )


def _trials(saved: Saved) -> str:
    rows = []
    for t in saved.trials:
        value = ", ".join(f"{v:.4g}" for v in t.values) if t.values else ""
        seconds = f"{t.duration.total_seconds():.1f}" if t.duration is not None else ""
        rows.append((str(t.number), t.state.name.lower(), value, seconds, esc(_words(t))))
    header = ("trial", "state", esc(", ".join(saved.objectives)), "seconds", "settings")
    return fold(
        f"{len(rows)} trials", card(table(header, rows, caption="By number", numbers=(2, 3)))
    )


def _words(trial: FrozenTrial) -> str:
    return " ".join(
        map(short, trial.user_attrs.get("words", [f"{k}={v}" for k, v in trial.params.items()]))
    )
