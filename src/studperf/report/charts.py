"""The charts of one run."""

from __future__ import annotations

import math
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np

from studperf.card import predictors, published_slices
from studperf.figures import Figures
from studperf.metrics import FloatArray, Interval, rmse
from studperf.report.svg import Chart, Scale, at, cut

if TYPE_CHECKING:
    import pandas as pd

    from studperf.record import RunRecord

_MAX_POINTS = 1200
_ROW = 30
_FAR = 2.0
"""A predictor this many times as wide off as the best is shown by an arrow, as the others would shrink to one spot."""


def score_chart(record: RunRecord) -> str:
    """RMSE of the model and the baselines, with intervals, beside the noise floor."""
    figures, rows = Figures.of(record), predictors(record)
    nearest = min(scores.rmse.value for _, scores in rows)
    near = [
        scores.rmse
        for _, scores in rows
        if scores.rmse.value <= _FAR * nearest or scores is rows[0][1]
    ]
    floor = record.data.noise_floor
    ends = [v for i in near for v in (i.low, i.high)] + (
        [floor] if floor is not None and floor > nearest / _FAR else []
    )
    chart = Chart(height=78 + _ROW * len(rows), left=92, right=26, top=26)
    x = chart.scale_x(*_padded(min(ends), max(ends), 0.06))
    chart.axis_x(x, f"RMSE{figures.in_unit}", count=5)
    if floor is not None and x.low <= floor <= x.high:
        chart.add(
            f'<path class="rule thin s" d="M{at(x(floor), chart.top)}V{at(chart.height - chart.bottom)}"/>'
        )
        chart.text(x(floor), 14, "noise floor", "mid")
    for i, (name, scores) in enumerate(rows):
        y = chart.top + _ROW * (i + 0.5)
        chart.text(
            chart.left - 10,
            y + 4,
            name.removesuffix(" (baseline)"),
            "end strong" if i == 0 else "end",
        )
        if scores.rmse.value > x.high:
            chart.text(
                chart.width - chart.right, y + 4, f"{figures.number(scores.rmse.value)} →", "end"
            )
        else:
            _whisker(chart, x, y, scores.rmse, "a" if i == 0 else "s")
    said = "; ".join(f"{name} {figures.interval(scores.rmse)}" for name, scores in rows)
    return chart.render(f"RMSE with 95 % intervals: {said}.")


def learning_chart(record: RunRecord, predictions: pd.DataFrame | None) -> str:
    """The watched metric by epoch, its best, and the best baseline's on val."""
    values = [float(row[record.monitor]) for row in record.history]
    best, level = record.best_epoch, _baseline_on_val(record, predictions)
    chart = Chart(right=18)
    x = chart.scale_x(1, max(2, len(values)))
    y = chart.scale_y(*_settled([values], [] if level is None else [level]))
    chart.axis_y(y, _monitored(record))
    chart.axis_x(x, "epoch", ticks=_epochs(len(values)))
    if level is not None and record.judgement is not None:
        chart.line([(x(x.low), y(level)), (x(x.high), y(level))], "line b dash")
        chart.text(
            chart.width - chart.right, 13, f"{record.judgement.best_baseline} {level:.4g}", "b end"
        )
    chart.line([(x(i), y(v)) for i, v in cut(values, y.high)])
    said = f"{record.monitor} over {len(values)} epochs"
    if best is not None and math.isfinite(values[best]):
        chart.dot(x(best + 1), y(values[best]), 4.5)
        chart.text(
            chart.width - chart.right,
            13 if level is None else chart.top + 4,
            f"best {values[best]:.4g}, epoch {best + 1}",
            "a end",
        )
        said += f"; best {values[best]:.4g} at epoch {best + 1}"
    return chart.render(f"{said}.")


def loss_chart(record: RunRecord) -> str:
    """Training and validation loss by epoch."""
    chart = Chart(right=18)
    series = {
        name: [float(row.get(name, math.nan)) for row in record.history]
        for name in ("train/loss", "val/loss")
    }
    x = chart.scale_x(1, max(2, len(record.history)))
    y = chart.scale_y(*_settled(list(series.values()), []))
    chart.axis_y(y, "loss, on the standardised target")
    chart.axis_x(x, "epoch", ticks=_epochs(len(record.history)))
    for (name, values), cls in zip(series.items(), ("b", "a"), strict=True):
        chart.line([(x(i), y(v)) for i, v in cut(values, y.high)], f"line {cls}")
        chart.text(
            chart.width - chart.right - (0 if cls == "a" else 34),
            13,
            name.split("/")[0],
            f"{cls} end",
        )
    last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in series.items())
    return chart.render(f"Losses over {len(record.history)} epochs; at the end {last}.")


def parity_chart(record: RunRecord, scored: pd.DataFrame) -> str:
    """Predicted against actual, with the band that holds 90 % of them."""
    actual, predicted = (scored[name].to_numpy() for name in ("actual", "predicted"))
    low, high = _padded(
        min(actual.min(), predicted.min()), max(actual.max(), predicted.max()), 0.03
    )
    chart = Chart(height=420)
    x, y = chart.scale_x(low, high), chart.scale_y(low, high)
    unit = Figures.of(record).in_unit
    chart.axis_y(y, f"predicted{unit}")
    chart.axis_x(x, f"actual{unit}")
    band = record.judgement.conformal if record.judgement else None
    if band is not None and math.isfinite(band.half_width):
        w = band.half_width
        corners = [
            (low, low + w),
            (high - w, high),
            (high, high),
            (high, high - w),
            (low + w, low),
            (low, low),
        ]
        chart.add(f'<path class="band a" d="M{"L".join(at(x(a), y(b)) for a, b in corners)}Z"/>')
    chart.line([(x(low), y(low)), (x(high), y(high))], "rule")
    step = max(1, -(-len(actual) // _MAX_POINTS))
    chart.dots((x(a), y(p)) for a, p in zip(actual[::step], predicted[::step], strict=True))
    shown = f"{len(actual[::step])} of {len(actual)} rows" if step > 1 else f"{len(actual)} rows"
    return chart.render(
        f"Predicted against actual {record.data.target}, {shown}; the closer to the diagonal the better."
    )


def residual_chart(record: RunRecord, scored: pd.DataFrame) -> str:
    """How often which error occurs."""
    error = (scored["predicted"] - scored["actual"]).to_numpy()
    reach = float(np.abs(error).max()) or 1.0
    counts, edges = np.histogram(
        error, bins=min(41, max(9, len(error) // 20 | 1)), range=(-reach, reach)
    )
    chart = Chart(height=420)
    x, y = chart.scale_x(-reach, reach), chart.scale_y(0, float(counts.max()) * 1.08)
    figures = Figures.of(record)
    chart.axis_y(y, "rows")
    chart.axis_x(x, f"predicted minus actual{figures.in_unit}")
    band = record.judgement.conformal if record.judgement else None
    floor = chart.height - chart.bottom
    if band is not None and band.half_width < reach:
        left, right = x(-band.half_width), x(band.half_width)
        chart.add(
            f'<path class="band a" d="M{at(left, chart.top)}H{at(right)}V{at(floor)}H{at(left)}Z"/>'
        )
        chart.text(right - 4, chart.top + 12, f"±{figures.number(band.half_width)}", "a end")
    for count, (start, end) in zip(counts, pairwise(edges), strict=True):
        if count:
            chart.add(
                f'<path class="bar a" d="M{at(x(start) + 0.7, floor)}V{at(y(count))}H{at(x(end) - 0.7)}V{at(floor)}Z"/>'
            )
    chart.add(f'<path class="rule" d="M{at(x(0), chart.top)}V{at(floor)}"/>')
    return chart.render(
        f"Errors of {len(error)} rows; mean {figures.number(float(error.mean()))}, largest {figures.number(reach)}."
    )


def slice_chart(record: RunRecord) -> str:
    """Mean absolute error by level of each category and flag, with intervals."""
    shown, _ = published_slices(record)
    if not shown or record.judgement is None:
        return ""
    figures, overall = Figures.of(record), record.judgement.scores.mae
    groups = [
        (column, list(parts)) for column, parts in groupby(shown, key=lambda part: part.column)
    ]
    n_lines = len(shown) + len(groups)  # a heading for each column
    chart = Chart(height=64 + 23 * n_lines, left=150, right=46, top=20)
    ends = [v for part in shown for v in (part.mae.low, part.mae.high)]
    x = chart.scale_x(*_padded(min(ends), max(ends), 0.04))
    chart.axis_x(x, f"mean absolute error{figures.in_unit}")
    chart.add(
        f'<path class="rule b dash" d="M{at(x(overall.value), chart.top)}V{at(chart.height - chart.bottom)}"/>'
    )
    chart.text(x(overall.value), 13, f"all rows {figures.number(overall.value)}", "b mid")
    chart.text(chart.width - 2, 13, "rows", "end")
    line = 0
    for column, parts in groups:
        chart.text(2, chart.top + 23 * (line + 0.5) + 5, _short(column, 44), "strong")
        for k, part in enumerate(parts, start=1):
            place = chart.top + 23 * (line + k + 0.5)
            chart.text(chart.left - 12, place + 4, _short(part.level, 20), "end ink")
            _whisker(chart, x, place, part.mae, "a")
            chart.text(chart.width - 2, place + 4, f"{part.n:,}", "end")
        line += 1 + len(parts)
    return chart.render(
        f"Mean absolute error with 95 % intervals in {len(shown)} groups; the table below holds the numbers."
    )


def _whisker(chart: Chart, x: Scale, y: float, value: Interval, cls: str) -> None:
    if math.isfinite(value.low) and math.isfinite(value.high):
        chart.add(
            f'<path class="whisker {cls}" d="M{at(x(max(value.low, x.low)), y)}H{at(x(min(value.high, x.high)))}"/>'
        )
    chart.dot(x(value.value), y, 4.6, cls)


def _baseline_on_val(record: RunRecord, predictions: pd.DataFrame | None) -> float | None:
    if (
        predictions is None
        or record.judgement is None
        or record.monitor not in ("val/rmse", "val/mae")
    ):
        return None
    val = predictions[predictions["split"] == "val"]
    error: FloatArray = val[record.judgement.best_baseline].to_numpy() - val["actual"].to_numpy()
    return (
        rmse(error, np.zeros_like(error))
        if record.monitor == "val/rmse"
        else float(np.abs(error).mean())
    )


def _monitored(record: RunRecord) -> str:
    return record.monitor + (
        Figures.of(record).in_unit if record.monitor in ("val/rmse", "val/mae") else ""
    )


def _settled(series: list[list[float]], levels: list[float]) -> tuple[float, float]:
    """The range of values once the first tenth of the epochs, which is far off, is over."""
    kept = [
        v for values in series for v in values[len(values) // 10 :] if math.isfinite(v)
    ] + levels
    return _padded(min(kept), max(kept), 0.12) if kept else (0.0, 1.0)


def _epochs(n_epochs: int) -> list[float]:
    step = max(1, round(n_epochs / 6))
    return (
        [1.0, *(float(e) for e in range(step, n_epochs + 1, step) if e > 1)]
        if n_epochs > 1
        else [1.0]
    )


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    pad = (high - low) * share or abs(high) * share or 1.0
    return float(low - pad), float(high + pad)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
