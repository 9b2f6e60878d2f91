"""The charts of one run's page."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from studperf.record.record import RunRecord
from studperf.report.charts.svg import Chart, Scale, at, cut, shorten
from studperf.report.views.run import RunView, ScoredRows
from studperf.scoring.metrics import Interval
from studperf.scoring.numbers import short_number

_MAX_POINTS = 1200
# Pixels.
_ROW = 30
_SLICE_ROW = 23
# A predictor this many times as wide off as the best is shown by an arrow, as the others would
# shrink to one spot.
_FAR = 2.0


def score_chart(view: RunView) -> Markup:
    """Draw the RMSE of the model and the baselines, with intervals, and the noise floor."""
    digits = view.digits
    rows = [(predictor, predictor.scores.rmse) for predictor in view.predictors]
    floor = view.record.data.noise_floor
    nearest = min(error.value for _, error in rows)
    ends = []
    for predictor, error in rows:
        # The model itself is always shown.
        if error.value <= _FAR * nearest or not predictor.is_baseline:
            ends += [error.low, error.high]
    if floor is not None and floor > nearest / _FAR:
        ends.append(floor)

    chart = Chart(height=78 + _ROW * len(rows), left=92, right=26, top=26)
    x = chart.scale_x(*_padded(min(ends), max(ends), 0.06))
    chart.axis_x(x, f"RMSE{digits.in_unit}", count=5)
    if floor is not None and x.low <= floor <= x.high:
        chart.rule(x(floor), "thin s")
        chart.text(x(floor), 14, "noise floor", "mid")

    for i, (predictor, error) in enumerate(rows):
        y = chart.top + _ROW * (i + 0.5)
        cls = "end" if predictor.is_baseline else "end strong"
        chart.text(chart.left - 10, y + 4, predictor.name, cls)
        if error.value > x.high:
            chart.text(chart.edge, y + 4, f"{digits.number(error.value)} →", "end")
        else:
            _whisker(chart, x, y, error, "s" if predictor.is_baseline else "a")
    said = "; ".join(f"{predictor.label} {digits.interval(error)}" for predictor, error in rows)
    return chart.render(f"RMSE with 95 % intervals: {said}.")


def learning_chart(view: RunView, rows: ScoredRows | None) -> Markup:
    """Draw the watched metric by epoch, its best, and the best baseline's on val."""
    record = view.record
    values = [float(row[record.monitor]) for row in record.history]
    best = record.best_epoch
    level = rows.level_on_val if rows is not None else None
    levels = [] if level is None else [level]
    chart = Chart(right=18)
    right = chart.edge
    x = chart.scale_x(1, max(2, len(values)))
    y = chart.scale_y(*_settled([values], levels))
    chart.axis_y(y, view.monitored)
    chart.axis_x(x, "epoch", ticks=_epochs(len(values)))
    if level is not None and record.judgement is not None:
        height = y(level)
        chart.line([(x(x.low), height), (x(x.high), height)], "line b dash")
        chart.text(right, 13, f"{record.judgement.best_baseline} {short_number(level)}", "b end")

    _curve(chart, x, y, values, "line a")
    said = f"{record.monitor} over {len(values)} epochs"
    if best is not None and math.isfinite(values[best]):
        chart.dot(x(best + 1), y(values[best]), 4.5)
        # Below the baseline's name, if that is there.
        place = 13 if level is None else chart.top + 4
        value = short_number(values[best])
        chart.text(right, place, f"best {value}, epoch {best + 1}", "a end")
        said += f"; best {value} at epoch {best + 1}"
    return chart.render(f"{said}.")


def loss_chart(record: RunRecord) -> Markup:
    """Draw training and validation loss by epoch."""
    chart = Chart(right=18)
    series = {}
    for name in ("train/loss", "val/loss"):
        series[name] = [float(row.get(name, math.nan)) for row in record.history]
    x = chart.scale_x(1, max(2, len(record.history)))
    y = chart.scale_y(*_settled(list(series.values()), []))
    chart.axis_y(y, "loss, on the standardised target")
    chart.axis_x(x, "epoch", ticks=_epochs(len(record.history)))
    for (name, values), cls in zip(series.items(), ("b", "a"), strict=True):
        _curve(chart, x, y, values, f"line {cls}")
        right = chart.edge
        if cls == "b":
            right -= 34  # beside the other name
        chart.text(right, 13, name.split("/")[0], f"{cls} end")
    last = ", ".join(f"{name} {short_number(values[-1])}" for name, values in series.items())
    return chart.render(f"Losses over {len(record.history)} epochs; at the end {last}.")


def parity_chart(view: RunView, rows: ScoredRows) -> Markup:
    """Draw predicted against actual, with the band that holds 90 % of them."""
    record = view.record
    actual, predicted = rows.actual, rows.predicted
    smallest = min(actual.min(), predicted.min())
    largest = max(actual.max(), predicted.max())
    low, high = _padded(smallest, largest, 0.03)
    chart = Chart(height=420)
    x = chart.scale_x(low, high)
    y = chart.scale_y(low, high)
    unit = view.digits.in_unit
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
        outline = "L".join(at(x(a), y(b)) for a, b in corners)
        chart.draw("path", cls="band a", d=f"M{outline}Z")
    chart.line([(x(low), y(low)), (x(high), y(high))], "rule")

    n_rows = len(actual)
    step = max(1, math.ceil(n_rows / _MAX_POINTS))
    pairs = list(zip(actual[::step], predicted[::step], strict=True))
    chart.dots((x(a), y(p)) for a, p in pairs)
    shown = f"{n_rows} rows"
    if step > 1:
        shown = f"{len(pairs)} of {n_rows} rows"
    return chart.render(
        f"Predicted against actual {record.data.target}, {shown}; "
        "the closer to the diagonal the better."
    )


def residual_chart(view: RunView, rows: ScoredRows) -> Markup:
    """Draw how often which error occurs."""
    record = view.record
    error = rows.predicted - rows.actual
    reach = float(np.abs(error).max()) or 1.0
    # An odd number, so that one bar stands on 0.
    n_bars = min(41, max(9, len(error) // 20 | 1))
    counts, edges = np.histogram(error, bins=n_bars, range=(-reach, reach))
    chart = Chart(height=420)
    x = chart.scale_x(-reach, reach)
    y = chart.scale_y(0, float(counts.max()) * 1.08)
    digits = view.digits
    chart.axis_y(y, "rows")
    chart.axis_x(x, f"predicted minus actual{digits.in_unit}")
    band = record.judgement.conformal if record.judgement else None
    floor = chart.floor
    if band is not None and band.half_width < reach:
        left = x(-band.half_width)
        right = x(band.half_width)
        outline = f"M{at(left, chart.top)}H{at(right)}V{at(floor)}H{at(left)}Z"
        chart.draw("path", cls="band a", d=outline)
        chart.text(right - 4, chart.top + 12, f"±{digits.number(band.half_width)}", "a end")

    for count, (start, end) in zip(counts, pairwise(edges), strict=True):
        if count:
            left = x(start) + 0.7
            right = x(end) - 0.7
            outline = f"M{at(left, floor)}V{at(y(count))}H{at(right)}V{at(floor)}Z"
            chart.draw("path", cls="bar a", d=outline)
    chart.rule(x(0))
    mean = digits.number(float(error.mean()))
    return chart.render(
        f"Errors of {len(error)} rows; mean {mean}, largest {digits.number(reach)}."
    )


def slice_chart(view: RunView) -> Markup:
    """Draw the mean absolute error by level of each category and flag, with intervals."""
    shown, groups, digits = view.slices, view.groups, view.digits
    overall = view.predictors[0].scores.mae

    # A line for each slice, and a heading for each column.
    n_lines = len(shown) + len(groups)
    chart = Chart(height=64 + _SLICE_ROW * n_lines, left=150, right=46, top=20)
    low = min(part.mae.low for part in shown)
    high = max(part.mae.high for part in shown)
    x = chart.scale_x(*_padded(low, high, 0.04))
    chart.axis_x(x, f"mean absolute error{digits.in_unit}")
    chart.rule(x(overall.value), "b dash")
    chart.text(x(overall.value), 13, f"all rows {digits.number(overall.value)}", "b mid")
    chart.text(chart.width - 2, 13, "rows", "end")

    y = chart.top + 0.5 * _SLICE_ROW
    for column, of_column in groups:
        chart.text(2, y + 5, shorten(column, 44), "strong")
        y += _SLICE_ROW
        for part in of_column:
            chart.text(chart.left - 12, y + 4, shorten(part.level, 20), "end ink")
            _whisker(chart, x, y, part.mae, "a")
            chart.text(chart.width - 2, y + 4, f"{part.n:,}", "end")
            y += _SLICE_ROW
    return chart.render(
        f"Mean absolute error with 95 % intervals in {len(shown)} groups; "
        "the table below holds the numbers."
    )


def _curve(chart: Chart, x: Scale, y: Scale, values: list[float], cls: str) -> None:
    """Draw values by epoch, cut off at the top of the chart."""
    points = cut(values, y.high)
    chart.line([(x(i), y(value)) for i, value in points], cls)


def _whisker(chart: Chart, x: Scale, y: float, value: Interval, cls: str) -> None:
    """Draw a value with its interval, as far as that lies within the chart."""
    if math.isfinite(value.low) and math.isfinite(value.high):
        left = x(max(value.low, x.low))
        right = x(min(value.high, x.high))
        chart.draw("path", cls=f"whisker {cls}", d=f"M{at(left, y)}H{at(right)}")
    chart.dot(x(value.value), y, 4.6, cls)


def _settled(series: list[list[float]], levels: list[float]) -> tuple[float, float]:
    """Return the range of values once the first tenth of the epochs, which is far off, is over."""
    kept = [*levels]
    for values in series:
        late = values[len(values) // 10 :]
        kept += [value for value in late if math.isfinite(value)]
    if not kept:
        return 0.0, 1.0
    return _padded(min(kept), max(kept), 0.12)


def _epochs(n_epochs: int) -> list[float]:
    """Return the epochs that the axis names: the first, and some six at round steps."""
    step = max(1, round(n_epochs / 6))
    later = [float(epoch) for epoch in range(step, n_epochs + 1, step) if epoch > 1]
    return [1.0, *later]


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    """Return a range with room at both ends, also for a single value."""
    pad = (high - low) * share or abs(high) * share or 1.0
    return float(low - pad), float(high + pad)
