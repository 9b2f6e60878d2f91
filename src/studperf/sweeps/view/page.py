"""The page of a study, one file that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.config.files import write_atomically
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
from studperf.sweeps.view.live_table import list_aims, short
from studperf.sweeps.winner import WINNER, describe_standing

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from studperf.sweeps.view.archive import Saved

_MIN_DRAWN = 2
"""Complete trials below which nothing is drawn."""
_FEW_TRIALS = 20
"""Complete trials below which the importance of parameters is called a first hint."""
_PILLS = {"best": "good", "tied": "level", "worse": "warn"}
"""How a candidate stands to the best one -> the tone of its label."""


def write(saved: Saved) -> Path:
    """Write `report.html` in the study's folder, and return its path."""
    saved.folder.mkdir(parents=True, exist_ok=True)
    path = saved.folder / "report.html"
    command = repeat_command(saved) if saved.best is not None else ""
    write_atomically(path, render(saved, command))
    return path


def render(saved: Saved, command: str) -> str:
    """Return the page of a study.

    Args:
        saved: the study.
        command: repeats its winner or best trial; empty where there is none.
    """
    complete = best_first(saved.trials, saved.directions)
    is_max = saved.directions[0] == "maximize"
    space = [(name, f"<code>{esc(domain)}</code>") for name, domain in saved.space.items()]
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
        ("space", "Space", card(facts(space))),
    ]
    footer = (
        f"Made from {len(saved.trials)} trials of the study's storage; "
        "every number on this page is read or computed from them."
    )
    return render_page(f"{saved.name}: study", _masthead(saved), sections, footer=footer)


def _drawn(complete: list[FrozenTrial], draw: Callable[[], str]) -> str:
    """Return a drawing, or nothing where there are too few complete trials for it."""
    return draw() if len(complete) >= _MIN_DRAWN else ""


def _masthead(saved: Saved) -> str:
    """Return the head of the page: name, aims, progress and the winner or best trial."""
    counts = "".join(f"<span>{n} {esc(kind)}</span>" for kind, n in saved.counts.items() if n)
    aims = list_aims(saved.objectives, saved.directions)
    total = saved.facts.get("total", "?")
    progress = f"<small>{saved.n_done} of {total} trials</small>"
    return (
        f'<p class="eyebrow">Study</p><h1>{esc(saved.name)} {progress}</h1>'
        f'<p class="meta"><span>{esc(aims)}</span>{counts}</p>'
        f"{_banner(saved)}"
    )


def _banner(saved: Saved) -> str:
    """Return the line on the winner, or on the best trial where none was chosen."""
    found = saved.facts.get(WINNER)
    best = saved.best
    if found:
        text = esc(found["line"])
        if found.get("verdict"):
            text += f"<br>{esc(found['verdict'])}"
    elif best is not None:
        value = f"<strong>{best.values[0]:.4f}</strong> {esc(saved.objectives[0])}"
        text = f"{value} in trial {best.number}, as the study saw it."
    else:
        return '<p class="banner warn">No trial is complete yet.</p>'
    return f'<p class="banner level">{text}</p>'


def _winner(saved: Saved, command: str) -> str:
    """Return the table of candidates, with the command that repeats the winner or best trial."""
    found = saved.facts.get(WINNER)
    repeat = ""
    if command:
        what = "the winner" if found else "the best trial"
        repeat = f"<p>To repeat {what} as a run of its own:</p><pre>{esc(command)}</pre>"
    if not found:
        return card(repeat) if repeat else ""

    rows = []
    for line in found["candidates"]:
        gap = line["difference"]
        kind = describe_standing(line, found)
        pill = f'<span class="pill {_PILLS[kind]}">{kind}</span>'
        if line["trial"] == found["trial"]:
            pill += ' <span class="pill good">winner</span>'
        interval = ""
        if gap["value"]:
            ends = f"[{gap['low']:+.3f}, {gap['high']:+.3f}]"
            interval = f'{gap["value"]:+.3f} <span class="range">{ends}</span>'
        cells = (
            f"{line['mean']:.4f}",
            f"{line['sd']:.4f}",
            interval,
            pill,
            f"{line['n_parameters']:,}",
            f"{line['fit_seconds']:.1f}",
        )
        settings = " ".join(map(short, line["words"]))
        rows.append((str(line["trial"]), *cells, esc(settings)))
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
    caption = (
        "Trained again on fresh seeds and compared in pairs on val. "
        "Of those tied with the best, the simplest wins; it alone saw test."
    )
    candidates = table(header, rows, caption=caption, numbers=(1, 2, 3, 5, 6))
    return card(candidates, repeat)


def _pareto(saved: Saved) -> str:
    """Return the Pareto table of a study of several objectives."""
    if len(saved.objectives) == 1:
        return ""
    front = pareto(saved.trials, saved.directions)
    rows = []
    for t in front:
        values = [f"{value:.4g}" for value in t.values]
        rows.append((str(t.number), *values, esc(_words(t))))
    caption = "No other trial is better in all of these at once."
    header = ("trial", *map(esc, saved.objectives), "settings")
    numbers = range(1, len(saved.objectives) + 1)
    return card(table(header, rows, caption=caption, numbers=numbers))


def _history(saved: Saved, *, is_max: bool) -> str:
    """Return the chart of the trials' values, for a study of one objective."""
    if len(saved.objectives) > 1:
        return ""
    title = "Values of the trials"
    caption = (
        "Each complete trial in colour, pruned ones grey at their last value; "
        "the line is the best so far. Arrows stand for those beyond."
    )
    drawing = charts.history_chart(saved.trials, saved.objectives[0], is_max=is_max)
    return figure(title, caption, _scrolled(drawing, title))


def _parameters(saved: Saved, complete: list[FrozenTrial], *, is_max: bool) -> str:
    """Return the charts of the parameters, the most important ones first."""
    objective = saved.objectives[0]
    shares = saved.importances()
    varied = {name for t in complete for name in t.params}
    # By name too, so that equal shares have one order in every process.
    names = sorted(varied, key=lambda name: (-shares.get(name, 0.0), name))
    parts = []
    if shares:
        caption = "The share of each in what makes good trials good (PED-ANOVA)."
        if len(complete) < _FEW_TRIALS:
            caption += f" Of {len(complete)} trials: a first hint, no more."
        parts.append(figure("Importance", caption, charts.importance_chart(shares)))

    if len(names) > 1:
        first, second = names[:2]
        # In a study of models a parameter of one may never meet one of another.
        if any(first in t.params and second in t.params for t in complete):
            contour = charts.contour_chart(complete, first, second, is_max=is_max)
            caption = "The darker the better; dots are trials."
            parts.append(figure("The two that mattered most", caption, contour))

    slices = []
    for name in names:
        n_trials = sum(name in t.params for t in complete)
        if n_trials >= _MIN_DRAWN:
            drawing = charts.slice_chart(complete, name, objective, is_max=is_max)
            slices.append(figure(name, f"{objective} over {name}", drawing))

    drawing = charts.parallel_chart(complete, objective, is_max=is_max)
    lines = _scrolled(drawing, "Parallel coordinates")
    wide = figure("All together", "Each line is a trial; the best quarter stands out.", lines)
    return (
        f'<div class="two">{"".join(parts)}</div>{wide}'
        f'<div class="two" style="margin-top:1rem">{"".join(slices)}</div>'
    )


def _timeline(saved: Saved) -> str:
    if not any(t.datetime_start is not None for t in saved.trials):
        return ""
    title = "Who did what when"
    caption = "Blue is complete, grey pruned, red failed or put back."
    return figure(title, caption, _scrolled(charts.timeline_chart(saved.trials), title))


def _scrolled(drawing: str, label: str) -> str:
    """Return a broad drawing that keeps its size on a narrow screen and scrolls there."""
    return framed(drawing, label, cls="wide scroll")


def _failed(saved: Saved) -> str:
    """Return the list of trials that failed or were put back."""
    lines = []
    for t in saved.trials:
        if t.state.name == "FAIL":
            error = str(t.user_attrs.get(ERROR, "stopped from outside, put back"))
            lines.append(f"Trial {t.number}: {error.splitlines()[0]}")
    if not lines:
        return ""
    return card(points(lines))


def _trials(saved: Saved) -> str:
    """Return the folded table of all trials."""
    rows = []
    for t in saved.trials:
        value = ", ".join(f"{v:.4g}" for v in t.values) if t.values else ""
        seconds = f"{t.duration.total_seconds():.1f}" if t.duration is not None else ""
        state = t.state.name.lower()
        rows.append((str(t.number), state, value, seconds, esc(_words(t))))
    header = ("trial", "state", esc(", ".join(saved.objectives)), "seconds", "settings")
    by_number = table(header, rows, caption="By number", numbers=(2, 3))
    return fold(f"{len(rows)} trials", card(by_number))


def _words(trial: FrozenTrial) -> str:
    drawn = [f"{name}={value}" for name, value in trial.params.items()]
    words = trial.user_attrs.get("words", drawn)
    return " ".join(map(short, words))
