"""The plots of a run as PNG, for terminals, trackers and papers; pages draw their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.metrics import rmse

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from studperf.record import RunRecord

PLOTS = "plots"
_INK, _SOFT, _ACCENT, _SECOND = "#1f2933", "#9aa5b1", "#2563a8", "#c2570c"
_N_SLICES = 24
_MAX_POINTS = 4000


def draw_plots(record: RunRecord, folder: Path) -> None:
    """Learning curve, parity, residuals and error by slice, as PNG below `plots/`."""
    from studperf.record import read_predictions

    if record.judgement is None:
        return
    (folder / PLOTS).mkdir(exist_ok=True)
    predictions = read_predictions(folder)
    scored = predictions[predictions["split"] == record.judgement.scored_on]
    _draw(
        folder / PLOTS / "learning_curve.png", lambda ax: _learning_curve(ax, record, predictions)
    )
    _draw(folder / PLOTS / "parity.png", lambda ax: _parity(ax, record, scored), size=(5.4, 5.4))
    _draw(folder / PLOTS / "residuals.png", lambda ax: _residuals(ax, record, scored))
    if record.judgement.slices:
        n_shown = min(len(record.judgement.slices), _N_SLICES)
        _draw(
            folder / PLOTS / "slices.png",
            lambda ax: _slices(ax, record),
            size=(7.2, 1.2 + 0.28 * n_shown),
        )


def _draw(
    path: Path, paint: Callable[[Axes], None], *, size: tuple[float, float] = (7.2, 4.2)
) -> None:
    from matplotlib import rcParams
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
    ax.plot(
        best + 1,
        values[best],
        "o",
        color=_ACCENT,
        markersize=6,
        label=f"best: {values[best]:.3f}, epoch {best + 1}",
    )
    if record.judgement is not None and record.monitor == "val/rmse":
        val, name = predictions[predictions["split"] == "val"], record.judgement.best_baseline
        level = rmse(val[name].to_numpy(), val["actual"].to_numpy())
        ax.axhline(
            level, color=_SECOND, linewidth=1.2, linestyle="--", label=f"{name}: {level:.3f}"
        )
        # The first epochs are far off; the eye needs the range where the model settles.
        settled = values[len(values) // 10 :]
        low, high = min(level, *settled), max(level, *settled)
        ax.set_ylim(low - 0.1 * (high - low) - 1e-3, high + 0.15 * (high - low) + 1e-3)
    ax.set_xlim(0.5, max(len(values), 2) + 0.5)
    ax.legend(frameon=False, fontsize=9)
    _title(
        ax,
        "Learning curve",
        "epoch",
        record.monitor if record.monitor == "val/r2" else _with_unit(record.monitor, record),
    )


def _parity(ax: Axes, record: RunRecord, scored: pd.DataFrame) -> None:
    shown = scored.sample(min(len(scored), _MAX_POINTS), random_state=0)
    ax.scatter(shown["actual"], shown["predicted"], s=9, color=_ACCENT, alpha=0.35, linewidths=0)
    ends = [
        min(scored["actual"].min(), scored["predicted"].min()),
        max(scored["actual"].max(), scored["predicted"].max()),
    ]
    ax.plot(ends, ends, color=_INK, linewidth=1)
    ax.set_aspect("equal", adjustable="box")
    if record.judgement is not None and (band := record.judgement.conformal) is not None:
        lower, upper = [e - band.half_width for e in ends], [e + band.half_width for e in ends]
        ax.fill_between(
            ends,
            lower,
            upper,
            color=_SOFT,
            alpha=0.18,
            linewidth=0,
            label=f"±{band.half_width:.1f}: 90 % band",
        )
        ax.legend(frameon=False, fontsize=9, loc="upper left")
    _title(
        ax,
        f"Predicted against actual, {scored['split'].iloc[0]} rows",
        _with_unit("actual", record),
        _with_unit("predicted", record),
    )


def _residuals(ax: Axes, record: RunRecord, scored: pd.DataFrame) -> None:
    error = scored["predicted"] - scored["actual"]
    ax.hist(error, bins=min(60, max(10, len(error) // 20)), color=_ACCENT, alpha=0.85)
    ax.axvline(0, color=_INK, linewidth=1)
    ax.axvline(
        float(error.mean()),
        color=_SECOND,
        linewidth=1.5,
        linestyle="--",
        label=f"bias {error.mean():+.2f}",
    )
    ax.legend(frameon=False, fontsize=9)
    _title(ax, "Residuals", _with_unit("predicted minus actual", record), "rows")


def _slices(ax: Axes, record: RunRecord) -> None:
    if record.judgement is None:
        return
    slices = record.judgement.slices[:_N_SLICES]
    places = range(len(slices), 0, -1)
    for place, part in zip(places, slices, strict=True):
        ax.plot(
            [part.mae.low, part.mae.high],
            [place, place],
            color=_ACCENT,
            linewidth=2,
            solid_capstyle="round",
        )
        ax.plot(part.mae.value, place, "o", color=_ACCENT, markersize=5)
    ax.axvline(
        record.judgement.scores.mae.value,
        color=_SECOND,
        linewidth=1.2,
        linestyle="--",
        label="all rows",
    )
    ax.set_yticks(list(places), [f"{part.column} = {part.level}  (n={part.n})" for part in slices])
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    _title(ax, "Error by slice, with 95 % intervals", _with_unit("mean absolute error", record), "")
