"""The sentences on what a model is for and what it can't do, each with the number that says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from studperf.record.record import RunRecord
from studperf.record.shape import Conformal, Slice
from studperf.report.views.scores import MIN_SLICE, digits_of, published_slices
from studperf.scoring.metrics import Interval

_DOUBT = 0.05
_CLOSE_PROMISE = 0.06
"""Between its ends, a promise this close (of some 250 val rows and more) is as good as kept."""


def intended_use(record: RunRecord) -> list[str]:
    """Return sentences on what the model is for, and what it is not for."""
    data = record.data
    target = f"{data.target} ({data.unit})" if data.unit else data.target
    use = (
        f"For: an estimate of {target} for one row of a table like {data.name!r}, "
        f"from {len(data.features)} columns, "
        "read together with its interval by someone who can weigh it."
    )
    misuse = (
        "Not for: decisions about a person by the number alone, "
        "other populations than the table's, values outside of what training saw, "
        "or questions of cause: a column that predicts need not be one that changes anything."
    )
    return [use, misuse]


def limits(record: RunRecord) -> list[str]:
    """Return sentences on what the model can't do, each with the number that says so."""
    data, judgement, digits = record.data, record.judgement, digits_of(record)
    said = []
    if data.is_simulated:
        said.append(
            "The rows are SIMULATED: scores say that the machinery works, "
            "and nothing about real ones."
        )
    if judgement is None:
        return [*said, "The model was not scored, so nothing is known of its errors."]
    if judgement.verdict.kind in ("no better than the mean", "suspicious"):
        said.append(f"Not fit for use. {judgement.verdict.line}")
    said += _describe_band(record)
    if data.noise_floor is not None:
        floor = digits.with_unit(data.noise_floor)
        said.append(
            "The data hold noise that no model can predict: "
            f"an RMSE below about {floor} would be a sign of a leak, not of skill."
        )
    shown, n_hidden = published_slices(record)
    if shown:
        said.append(_compare_groups(record, shown))
    if n_hidden:
        said.append(
            f"{n_hidden} groups of fewer than {MIN_SLICE} rows are not shown; "
            "of them nothing can be said."
        )
    if record.cut_short is not None:
        said.append(record.cut_short.line)
    if judgement.scored_on == "val":
        said.append(
            "Scored on val, by which the best epoch was chosen: "
            "expect somewhat larger errors on new rows."
        )
    return said


def _describe_band(record: RunRecord) -> list[str]:
    band = record.judgement.conformal if record.judgement else None
    if band is None:
        return []
    line = band_line(record, band)
    if not math.isfinite(band.half_width):
        return [line]
    width = digits_of(record).with_unit(band.half_width)
    blur = f"It can't tell two rows apart whose predictions differ by less than {width}."
    return [blur, line]


def band_line(record: RunRecord, band: Conformal) -> str:
    """Return what the conformal band promises, and how many of the scored rows it held."""
    scored_on = record.judgement.scored_on if record.judgement else "test"
    if not math.isfinite(band.half_width):
        return (
            f"No {band.level:.0%} interval: "
            f"the {record.data.n_val} val rows are too few to promise one."
        )
    width = digits_of(record).with_unit(band.half_width)
    line = (
        f"{band.level * 100:.0f} % interval: prediction ± {width} "
        f"(calibrated on {record.data.n_val:,} val rows); "
        f"it covered {band.coverage * 100:.1f} % of {scored_on} rows."
    )
    if band.likely is None:
        return line
    low, high = band.likely
    if high - low <= _CLOSE_PROMISE:
        return line
    return (
        f"{line} So few val rows promise only that it covers "
        f"between {low * 100:.0f} and {high * 100:.0f} % of new rows."
    )


def differing_groups(record: RunRecord, groups: Sequence[Slice]) -> list[Slice]:
    """Return the groups whose errors surely differ from those of all rows.

    The intervals are widened by how many groups are looked at.
    """
    if record.judgement is None or not groups:
        return []
    overall = record.judgement.scores.mae.value
    # Bonferroni: each interval as wide as it must be for all of them to hold together.
    level = 1 - _DOUBT / (2 * len(groups))
    widened_by = NormalDist().inv_cdf(level) / NormalDist().inv_cdf(1 - _DOUBT / 2)
    return [part for part in groups if not _holds(part.mae, overall, widened_by)]


def _holds(value: Interval, number: float, widened_by: float) -> bool:
    low = value.value - widened_by * (value.value - value.low)
    high = value.value + widened_by * (value.high - value.value)
    # So written, an interval whose ends are no numbers claims no difference.
    return not (number < low or number > high)


def _compare_groups(record: RunRecord, groups: Sequence[Slice]) -> str:
    """Say whether errors differ among groups beyond noise, and where most."""
    differing = differing_groups(record, groups)
    if record.judgement is None or not differing:
        return f"Errors do not differ among the {len(groups)} groups by more than noise."
    digits = digits_of(record)
    overall = record.judgement.scores.mae.value
    above = [part for part in differing if part.mae.value > overall]
    if above:
        what = "largest"
        shown = max(above, key=lambda part: part.mae.value)
    else:
        what = "smallest"
        shown = max(differing, key=lambda part: abs(part.mae.value - overall))
    return (
        "Errors differ among groups: of those that differ beyond noise, "
        f"the {what} mean absolute error is {digits.interval_with_unit(shown.mae)} "
        f"at {shown.column} = {shown.level} (n = {shown.n}), "
        f"where all rows have {digits.number(overall)}."
    )
