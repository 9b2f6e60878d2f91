"""The plots of a run as PNG, for terminals, trackers and papers; pages draw their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.scoring.metrics import rmse

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from studperf.record.record import RunRecord

PLOTS = "plots"
_INK = "#1f2933"
_SOFT = "#9aa5b1"
_ACCENT = "#2563a8"
_SECOND = "#c2570c"
_N_SLICES = 24
_MAX_POINTS = 4000


def draw_plots(record: RunRecord, folder: Path) -> None:
    """Draw learning curve, parity, residuals and error by slice, as PNG below `plots/`."""
    from studperf.record.files import read_predictions

    if record.judgement is None:
        return
    (folder / PLOTS).mkdir(exist_ok=True)
    predictions = read_predictions(folder)
    scored = predictions[predictions["split"] == record.judgement.scored_on]

    plots = folder / PLOTS
    _draw(plots / "learning_curve.png", lambda ax: _learning_curve(ax, record, predictions))
    _draw(plots / "parity.png", lambda ax: _parity(ax, record, scored), size=(5.4, 5.4))
    _draw(plots / "residuals.png", lambda ax: _residuals(ax, record, scored))
    if record.judgement.slices:
        n_shown = min(len(record.judgement.slices), _N_SLICES)
        height = 1.2 + 0.28 * n_shown
        _draw(plots / "slices.png", lambda ax: _slices(ax, record), size=(7.2, height))


def _draw(
    path: Path, paint: Callable[[Axes], None], *, size: tuple[float, float] = (7.2, 4.2)
) -> None:
    """Save what `paint` draws as a PNG."""
    from matplotlib import rcParams

    # Not pyplot, which keeps its figures in the process and looks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rcParams["text.parse_math"] = False  # a level or a name with two `$` in it is no formula
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
    """Write the title, and the names of both axes."""
    ax.set_title(text, loc="left", fontsize=11, color=_INK, fontweight="bold")
    ax.set_xlabel(x, fontsize=9.5, color=_INK)
    ax.set_ylabel(y, fontsize=9.5, color=_INK)


def _with_unit(text: str, record: RunRecord) -> str:
    """Return a name with the target's unit, if it has one."""
    if not record.data.unit:
        return text
    return f"{text} ({record.data.unit})"


def _learning_curve(ax: Axes, record: RunRecord, predictions: pd.DataFrame) -> None:
    """Draw the watched metric by epoch, beside the best baseline."""
    values = [float(row[record.monitor]) for row in record.history]
    epochs = range(1, len(values) + 1)
    best = record.best_epoch or 0
    ax.plot(epochs, values, color=_ACCENT, linewidth=1.8, label=record.model)
    label = f"best: {values[best]:.3f}, epoch {best + 1}"
    ax.plot(best + 1, values[best], "o", color=_ACCENT, markersize=6, label=label)

    if record.judgement is not None and record.monitor == "val/rmse":
        name = record.judgement.best_baseline
        val = predictions[predictions["split"] == "val"]
        level = rmse(val[name].to_numpy(), val["actual"].to_numpy())
        label = f"{name}: {level:.3f}"
        ax.axhline(level, color=_SECOND, linewidth=1.2, linestyle="--", label=label)
        # The first epochs are far off; the eye needs the range where the model settles.
        settled = values[len(values) // 10 :]
        low = min(level, *settled)
        high = max(level, *settled)
        reach = high - low
        ax.set_ylim(low - 0.1 * reach - 1e-3, high + 0.15 * reach + 1e-3)

    ax.set_xlim(0.5, max(len(values), 2) + 0.5)
    ax.legend(frameon=False, fontsize=9)
    monitored = record.monitor
    if monitored != "val/r2":
        monitored = _with_unit(monitored, record)
    _title(ax, "Learning curve", "epoch", monitored)


def _parity(ax: Axes, record: RunRecord, scored: pd.DataFrame) -> None:
    """Draw predicted against actual, with the band that holds 90 % of them."""
    shown = scored.sample(min(len(scored), _MAX_POINTS), random_state=0)
    ax.scatter(shown["actual"], shown["predicted"], s=9, color=_ACCENT, alpha=0.35, linewidths=0)
    smallest = min(scored["actual"].min(), scored["predicted"].min())
    largest = max(scored["actual"].max(), scored["predicted"].max())
    ends = [smallest, largest]
    ax.plot(ends, ends, color=_INK, linewidth=1)
    ax.set_aspect("equal", adjustable="box")

    band = record.judgement.conformal if record.judgement else None
    if band is not None:
        lower = [end - band.half_width for end in ends]
        upper = [end + band.half_width for end in ends]
        label = f"±{band.half_width:.1f}: 90 % band"
        ax.fill_between(ends, lower, upper, color=_SOFT, alpha=0.18, linewidth=0, label=label)
        ax.legend(frameon=False, fontsize=9, loc="upper left")
    title = f"Predicted against actual, {scored['split'].iloc[0]} rows"
    _title(ax, title, _with_unit("actual", record), _with_unit("predicted", record))


def _residuals(ax: Axes, record: RunRecord, scored: pd.DataFrame) -> None:
    """Draw how often which error occurs, and the mean error."""
    error = scored["predicted"] - scored["actual"]
    n_bars = min(60, max(10, len(error) // 20))
    ax.hist(error, bins=n_bars, color=_ACCENT, alpha=0.85)
    ax.axvline(0, color=_INK, linewidth=1)
    bias = float(error.mean())
    ax.axvline(bias, color=_SECOND, linewidth=1.5, linestyle="--", label=f"bias {bias:+.2f}")
    ax.legend(frameon=False, fontsize=9)
    _title(ax, "Residuals", _with_unit("predicted minus actual", record), "rows")


def _slices(ax: Axes, record: RunRecord) -> None:
    """Draw the mean absolute error of each slice, with its interval."""
    if record.judgement is None:
        return
    slices = record.judgement.slices[:_N_SLICES]
    places = range(len(slices), 0, -1)
    for place, part in zip(places, slices, strict=True):
        ends = [part.mae.low, part.mae.high]
        ax.plot(ends, [place, place], color=_ACCENT, linewidth=2, solid_capstyle="round")
        ax.plot(part.mae.value, place, "o", color=_ACCENT, markersize=5)
    overall = record.judgement.scores.mae.value
    ax.axvline(overall, color=_SECOND, linewidth=1.2, linestyle="--", label="all rows")
    names = [f"{part.column} = {part.level}  (n={part.n})" for part in slices]
    ax.set_yticks(list(places), names)
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    _title(ax, "Error by slice, with 95 % intervals", _with_unit("mean absolute error", record), "")
