"""Plots as PNG, for terminals, trackers, Markdown and papers; pages of runs draw their own."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from studperf.report.views.run import RunView, ScoredRows, read_rows, view_run
from studperf.report.views.section import Matrix, Panel, Panels
from studperf.scoring.numbers import short_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    view = view_run(record)
    rows = read_rows(record, folder)
    if rows is None:
        return
    plots = folder / PLOTS
    plots.mkdir(exist_ok=True)
    _draw(plots / "learning_curve.png", lambda ax: _learning_curve(ax, view, rows))
    _draw(plots / "parity.png", lambda ax: _parity(ax, view, rows), size=(5.4, 5.4))
    _draw(plots / "residuals.png", lambda ax: _residuals(ax, view, rows))
    if view.slices:
        height = 1.2 + 0.28 * min(len(view.slices), _N_SLICES)
        _draw(plots / "slices.png", lambda ax: _slices(ax, view), size=(7.2, height))


def _draw(
    path: Path, paint: Callable[[Axes], None], *, size: tuple[float, float] = (7.2, 4.2)
) -> None:
    """Save what `paint` draws as a PNG."""
    figure = _new_figure(size, dpi=144)
    axes = _add_axes(figure)
    axes.tick_params(labelsize=9)
    axes.grid(visible=True, color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    paint(axes)
    figure.savefig(path)


def _new_figure(size: tuple[float, float], *, dpi: int) -> Figure:
    from matplotlib import rcParams

    # Not pyplot, which keeps its figures in the process and looks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rcParams["text.parse_math"] = False  # a level or a name with two `$` in it is no formula
    figure = Figure(figsize=size, dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _add_axes(figure: Figure, n_rows: int = 1, n_columns: int = 1, place: int = 1) -> Axes:
    """Return new axes, without a frame at the top and on the right."""
    axes = figure.add_subplot(n_rows, n_columns, place)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_SOFT)
    axes.tick_params(colors=_INK, labelsize=7)
    return axes


def draw_picture(picture: Panels | Matrix) -> bytes:
    """Return a picture of a section as a PNG."""
    if isinstance(picture, Matrix):
        figure = _new_figure((7.4, 6.6), dpi=130)
        _matrix(_add_axes(figure), picture)
    else:
        n_rows = -(-len(picture.panels) // picture.n_columns)
        size = (9.0, picture.height * n_rows)
        if picture.n_columns == 1:
            size = (7.4, 3.0)
        figure = _new_figure(size, dpi=130)
        for i, panel in enumerate(picture.panels):
            _panel(_add_axes(figure, n_rows, picture.n_columns, i + 1), panel)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _panel(ax: Axes, panel: Panel) -> None:
    """Draw counts as bars: upright ones in bins, lying ones by level."""
    ax.set_title(panel.title, fontsize=8.5, color=_INK, loc="left")
    if panel.edges:
        ax.stairs(panel.counts, panel.edges, fill=True, color=_ACCENT)
    else:
        ax.barh(panel.levels[::-1], panel.counts[::-1], color=_ACCENT)


def _matrix(ax: Axes, matrix: Matrix) -> None:
    """Draw correlations as colours."""
    image = ax.imshow(matrix.values, cmap="RdBu_r", vmin=-1, vmax=1)
    places = range(len(matrix.names))
    ax.set_xticks(places, matrix.names, rotation=90, fontsize=7)
    ax.set_yticks(places, matrix.names, fontsize=7)
    ax.figure.colorbar(image, ax=ax, shrink=0.7)


def _title(ax: Axes, text: str, x: str, y: str) -> None:
    """Write the title, and the names of both axes."""
    ax.set_title(text, loc="left", fontsize=11, color=_INK, fontweight="bold")
    ax.set_xlabel(x, fontsize=9.5, color=_INK)
    ax.set_ylabel(y, fontsize=9.5, color=_INK)


def _learning_curve(ax: Axes, view: RunView, rows: ScoredRows) -> None:
    """Draw the watched metric by epoch, beside the best baseline."""
    record = view.record
    values = [float(row[record.monitor]) for row in record.history]
    epochs = range(1, len(values) + 1)
    best = record.best_epoch or 0
    ax.plot(epochs, values, color=_ACCENT, linewidth=1.8, label=record.model)
    label = f"best: {short_number(values[best])}, epoch {best + 1}"
    ax.plot(best + 1, values[best], "o", color=_ACCENT, markersize=6, label=label)

    level = rows.level_on_val
    if level is not None and record.judgement is not None:
        label = f"{record.judgement.best_baseline}: {short_number(level)}"
        ax.axhline(level, color=_SECOND, linewidth=1.2, linestyle="--", label=label)
        # The first epochs are far off; the eye needs the range where the model settles.
        settled = values[len(values) // 10 :]
        low = min(level, *settled)
        high = max(level, *settled)
        reach = high - low
        ax.set_ylim(low - 0.1 * reach - 1e-3, high + 0.15 * reach + 1e-3)

    ax.set_xlim(0.5, max(len(values), 2) + 0.5)
    ax.legend(frameon=False, fontsize=9)
    _title(ax, "Learning curve", "epoch", view.monitored)


def _parity(ax: Axes, view: RunView, rows: ScoredRows) -> None:
    """Draw predicted against actual, with the band that holds 90 % of them."""
    step = -(-len(rows.actual) // _MAX_POINTS)
    shown = rows.actual[::step], rows.predicted[::step]
    ax.scatter(*shown, s=9, color=_ACCENT, alpha=0.35, linewidths=0)
    smallest = min(rows.actual.min(), rows.predicted.min())
    largest = max(rows.actual.max(), rows.predicted.max())
    ends = [smallest, largest]
    ax.plot(ends, ends, color=_INK, linewidth=1)
    ax.set_aspect("equal", adjustable="box")

    judgement = view.record.judgement
    if judgement is not None and judgement.conformal is not None:
        width = judgement.conformal.half_width
        lower = [end - width for end in ends]
        upper = [end + width for end in ends]
        label = f"±{view.digits.number(width)}: 90 % band"
        ax.fill_between(ends, lower, upper, color=_SOFT, alpha=0.18, linewidth=0, label=label)
        ax.legend(frameon=False, fontsize=9, loc="upper left")
    scored_on = judgement.scored_on if judgement is not None else ""
    in_unit = view.digits.in_unit
    title = f"Predicted against actual, {scored_on} rows"
    _title(ax, title, f"actual{in_unit}", f"predicted{in_unit}")


def _residuals(ax: Axes, view: RunView, rows: ScoredRows) -> None:
    """Draw how often which error occurs, and the mean error."""
    error = rows.predicted - rows.actual
    n_bars = min(60, max(10, len(error) // 20))
    ax.hist(error, bins=n_bars, color=_ACCENT, alpha=0.85)
    ax.axvline(0, color=_INK, linewidth=1)
    bias = float(error.mean())
    label = f"bias {view.digits.signed(bias, more=0)}"
    ax.axvline(bias, color=_SECOND, linewidth=1.5, linestyle="--", label=label)
    ax.legend(frameon=False, fontsize=9)
    _title(ax, "Residuals", f"predicted minus actual{view.digits.in_unit}", "rows")


def _slices(ax: Axes, view: RunView) -> None:
    """Draw the mean absolute error of each published slice, with its interval."""
    slices = view.slices[:_N_SLICES]
    places = range(len(slices), 0, -1)
    for place, part in zip(places, slices, strict=True):
        ends = [part.mae.low, part.mae.high]
        ax.plot(ends, [place, place], color=_ACCENT, linewidth=2, solid_capstyle="round")
        ax.plot(part.mae.value, place, "o", color=_ACCENT, markersize=5)
    overall = view.predictors[0].scores.mae.value
    ax.axvline(overall, color=_SECOND, linewidth=1.2, linestyle="--", label="all rows")
    names = [f"{part.column} = {part.level}  (n={part.n})" for part in slices]
    ax.set_yticks(list(places), names)
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    in_unit = view.digits.in_unit
    _title(ax, "Error by slice, with 95 % intervals", f"mean absolute error{in_unit}", "")
