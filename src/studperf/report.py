"""What people see of a run: terminal tables and plots, from the record and its files alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.table import Table

from studperf.metrics import Interval, rmse
from studperf.record import RunRecord, Scores, read_predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOTS = "plots"
_INK, _SOFT, _ACCENT, _SECOND = "#1f2933", "#9aa5b1", "#2563a8", "#c2570c"
_STYLES = {
    "beats": "bold green",
    "matches": "bold cyan",
    "worse": "bold yellow",
    "suspicious": "bold red",
    "no better than the mean": "bold red",
}
_N_SLICES = 24
_MAX_POINTS = 4000


def show_start(record: RunRecord, folder: Path, console: Console) -> None:
    """What is about to be trained, and where it is recorded."""
    data = record.data
    rows = f"{data.n_train}/{data.n_val}/{data.n_test} train/val/test rows"
    console.print(f"{record.model}, {record.n_parameters} parameters, seed {record.seed}; {len(data.features)} columns, {rows}")
    is_offline = record.tracking is not None and record.tracking.mode == "offline"
    upload = f"; for W&B too, to be uploaded by: python -m studperf.tracking sync {folder}" if is_offline else ""
    console.print(f"Recorded in {folder}{upload}", soft_wrap=True)
    for warning in data.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True, markup=False)
    if record.resumed_at:
        console.print(f"Going on after epoch {record.resumed_at[-1]}.")


def show_end(record: RunRecord, folder: Path, console: Console) -> None:
    """The scores beside the baselines', and the verdict as the last line."""
    judgement = record.judgement
    if judgement is None:
        return
    n_rows = record.data.n_val if judgement.scored_on == "val" else record.data.n_test
    rows = {record.model: judgement.scores} | {f"{name} (baseline)": scores for name, scores in judgement.baselines.items()}
    console.print(score_table(rows, title=f"{judgement.scored_on} split, {n_rows} rows, 95 % intervals", unit=record.data.unit))
    if judgement.conformal is not None:
        band = judgement.conformal
        text = f"90 % of {judgement.scored_on} scores lie within {band.half_width:.2f} {record.data.unit}".rstrip()
        console.print(f"{text} of the prediction, by val; on {judgement.scored_on} it was {band.coverage:.1%}")
    console.print(f"Best epoch {(record.best_epoch or 0) + 1} of {len(record.history)}; plots in {folder / PLOTS}", soft_wrap=True)
    simulated = "SIMULATED data. " if record.data.is_simulated else ""
    console.print(f"Verdict: {simulated}{judgement.verdict.line}", style=_STYLES[judgement.verdict.kind], soft_wrap=True, markup=False)


def score_table(rows: Mapping[str, Scores], *, title: str, unit: str) -> Table:
    """A row for each predictor, the first in bold."""
    table = Table(title=title, title_justify="left")
    with_unit = f" ({unit})" if unit else ""
    table.add_column("", no_wrap=True)
    for name in (f"RMSE{with_unit}", f"MAE{with_unit}", "R2", f"bias{with_unit}"):
        table.add_column(name, justify="right", no_wrap=True)
    for i, (name, scores) in enumerate(rows.items()):
        table.add_row(name, *_cells(scores), style=None if i else "bold")
    return table


def _cells(scores: Scores) -> list[str]:
    return [*(interval_text(value) for value in (scores.rmse, scores.mae)), interval_text(scores.r2, digits=3), interval_text(scores.bias)]


def interval_text(interval: Interval, *, digits: int = 2) -> str:
    """`4.95 [4.70, 5.21]`; numbers of three figures and more before the point get fewer behind it."""
    size = max(abs(number) for number in (interval.value, interval.low, interval.high))
    shown = max(0, digits - max(0, int(math.log10(size)) - 1)) if 1 <= size < math.inf else digits
    return f"{interval.value:.{shown}f} \\[{interval.low:.{shown}f}, {interval.high:.{shown}f}]"


def draw_plots(record: RunRecord, folder: Path) -> None:
    """Learning curve, parity, residuals and error by slice, as PNG below `plots/`."""
    if record.judgement is None:
        return
    (folder / PLOTS).mkdir(exist_ok=True)
    predictions = read_predictions(folder)
    scored = predictions[predictions["split"] == record.judgement.scored_on]
    _draw(folder / PLOTS / "learning_curve.png", lambda ax: _learning_curve(ax, record, predictions))
    _draw(folder / PLOTS / "parity.png", lambda ax: _parity(ax, record, scored), size=(5.4, 5.4))
    _draw(folder / PLOTS / "residuals.png", lambda ax: _residuals(ax, record, scored))
    if record.judgement.slices:
        n_shown = min(len(record.judgement.slices), _N_SLICES)
        _draw(folder / PLOTS / "slices.png", lambda ax: _slices(ax, record), size=(7.2, 1.2 + 0.28 * n_shown))


def _draw(path: Path, paint: Callable[[Axes], None], *, size: tuple[float, float] = (7.2, 4.2)) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=144, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_SOFT)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.grid(visible=True, color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    paint(axes)
    figure.savefig(path)


def _title(ax: Axes, text: str, x: str, y: str) -> None:
    ax.set_title(text, loc="left", fontsize=11, color=_INK, fontweight="bold")
    ax.set_xlabel(x, fontsize=9.5, color=_INK)
    ax.set_ylabel(y, fontsize=9.5, color=_INK)


def _with_unit(text: str, record: RunRecord) -> str:
    return f"{text} ({record.data.unit})" if record.data.unit else text


def _learning_curve(ax: Axes, record: RunRecord, predictions: pd.DataFrame) -> None:
    values = [float(row[record.monitor]) for row in record.history]
    epochs = range(1, len(values) + 1)
    best = record.best_epoch or 0
    ax.plot(epochs, values, color=_ACCENT, linewidth=1.8, label=record.model)
    ax.plot(best + 1, values[best], "o", color=_ACCENT, markersize=6, label=f"best: {values[best]:.3f}, epoch {best + 1}")
    if record.judgement is not None and record.monitor == "val/rmse":
        val, name = predictions[predictions["split"] == "val"], record.judgement.best_baseline
        level = rmse(val[name].to_numpy(), val["actual"].to_numpy())
        ax.axhline(level, color=_SECOND, linewidth=1.2, linestyle="--", label=f"{name}: {level:.3f}")
        # The first epochs are far off; the eye needs the range where the model settles.
        settled = values[len(values) // 10 :]
        low, high = min(level, *settled), max(level, *settled)
        ax.set_ylim(low - 0.1 * (high - low) - 1e-3, high + 0.15 * (high - low) + 1e-3)
    ax.set_xlim(0.5, max(len(values), 2) + 0.5)
    ax.legend(frameon=False, fontsize=9)
    _title(ax, "Learning curve", "epoch", record.monitor if record.monitor == "val/r2" else _with_unit(record.monitor, record))


def _parity(ax: Axes, record: RunRecord, scored: pd.DataFrame) -> None:
    shown = scored.sample(min(len(scored), _MAX_POINTS), random_state=0)
    ax.scatter(shown["actual"], shown["predicted"], s=9, color=_ACCENT, alpha=0.35, linewidths=0)
    ends = [min(scored["actual"].min(), scored["predicted"].min()), max(scored["actual"].max(), scored["predicted"].max())]
    ax.plot(ends, ends, color=_INK, linewidth=1)
    ax.set_aspect("equal", adjustable="box")
    if record.judgement is not None and (band := record.judgement.conformal) is not None:
        lower, upper = [e - band.half_width for e in ends], [e + band.half_width for e in ends]
        ax.fill_between(ends, lower, upper, color=_SOFT, alpha=0.18, linewidth=0, label=f"±{band.half_width:.1f}: 90 % band")
        ax.legend(frameon=False, fontsize=9, loc="upper left")
    _title(ax, f"Predicted against actual, {scored['split'].iloc[0]} rows", _with_unit("actual", record), _with_unit("predicted", record))


def _residuals(ax: Axes, record: RunRecord, scored: pd.DataFrame) -> None:
    error = scored["predicted"] - scored["actual"]
    ax.hist(error, bins=min(60, max(10, len(error) // 20)), color=_ACCENT, alpha=0.85)
    ax.axvline(0, color=_INK, linewidth=1)
    ax.axvline(float(error.mean()), color=_SECOND, linewidth=1.5, linestyle="--", label=f"bias {error.mean():+.2f}")
    ax.legend(frameon=False, fontsize=9)
    _title(ax, "Residuals", _with_unit("predicted minus actual", record), "rows")


def _slices(ax: Axes, record: RunRecord) -> None:
    if record.judgement is None:
        return
    slices = record.judgement.slices[:_N_SLICES]
    places = range(len(slices), 0, -1)
    for place, part in zip(places, slices, strict=True):
        ax.plot([part.mae.low, part.mae.high], [place, place], color=_ACCENT, linewidth=2, solid_capstyle="round")
        ax.plot(part.mae.value, place, "o", color=_ACCENT, markersize=5)
    ax.axvline(record.judgement.scores.mae.value, color=_SECOND, linewidth=1.2, linestyle="--", label="all rows")
    ax.set_yticks(list(places), [f"{part.column} = {part.level}  (n={part.n})" for part in slices])
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    _title(ax, "Error by slice, with 95 % intervals", _with_unit("mean absolute error", record), "")
