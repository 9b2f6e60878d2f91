"""The model card of a run, in Markdown and from its record alone."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from studperf.record.record import RunRecord
from studperf.record.shape import BaselineChoice, Conformal, Scores, Slice
from studperf.scoring.metrics import Interval
from studperf.scoring.numbers import R2_DECIMALS, Digits, interval

MIN_SLICE = 20
"""Slices of fewer rows say little, and could be about persons one knows: they are not published."""
_DOUBT = 0.05
_CLOSE_PROMISE = 0.06
"""Between its ends, a promise this close (of some 250 val rows and more) is as good as kept."""
_WHY = {
    "id": "names a row and says nothing about others",
    "leak": "follows from the target",
    "unused": "left out by the dataset",
}


@dataclass(frozen=True)
class Exclusion:
    """A column that the model does not see, and the reason."""

    column: str
    kind: str
    why: str


def digits_of(record: RunRecord) -> Digits:
    """Return the unit and decimals of a run's errors; two decimals where it was not judged."""
    size = 1.0
    if record.judgement is not None:
        size = record.judgement.scores.rmse.value
    return Digits.of(size, record.data.unit)


def excluded_columns(record: RunRecord) -> list[Exclusion]:
    """Return every column of the dataset that is no feature, with the reason."""
    excluded = []
    for name, column in record.config["data"]["columns"].items():
        if name in record.data.features:
            continue
        kind = str(column["kind"])
        why = _WHY.get(kind, "left out by data.features")
        if column.get("why"):
            why = str(column["why"])
            if kind == "leak":
                why = f"follows from the target: {why}"
        share = record.data.left_out_signal.get(name)
        if share:
            why += f"; explains {share:.0%} of the target's variance alone"
        excluded.append(Exclusion(name, kind, why))
    return excluded


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
    data, judgement, figures = record.data, record.judgement, digits_of(record)
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
    said += _tell_band(record)
    if data.noise_floor is not None:
        floor = figures.with_unit(data.noise_floor)
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


def _tell_band(record: RunRecord) -> list[str]:
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


def choice_line(choice: BaselineChoice) -> str:
    """Return which baseline is the strongest, and how close the others came, in a line."""
    (strongest, first), *others = choice.standings.items()
    digits = Digits.of(first.rmse.value)
    parts = []
    for name, standing in others:
        part = f"{name} {digits.number(standing.rmse.value)}"
        parts.append(f"{part} (within noise)" if standing.is_tied else part)
    return (
        f"Strongest baseline by cross-validation on the training rows: {strongest}, "
        f"RMSE {digits.interval(first.rmse)}; then {', '.join(parts)}."
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
    return not (number < low or number > high)


def _compare_groups(record: RunRecord, groups: Sequence[Slice]) -> str:
    """Say whether errors differ among groups beyond noise, and where most."""
    differing = differing_groups(record, groups)
    if record.judgement is None or not differing:
        return f"Errors do not differ among the {len(groups)} groups by more than noise."
    figures = digits_of(record)
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
        f"the {what} mean absolute error is {figures.interval_with_unit(shown.mae)} "
        f"at {shown.column} = {shown.level} (n = {shown.n}), "
        f"where all rows have {figures.number(overall)}."
    )


def published_slices(record: RunRecord) -> tuple[list[Slice], int]:
    """Return the slices with enough rows to be shown, and how many others there are."""
    slices = record.judgement.slices if record.judgement else []
    shown = [part for part in slices if part.n >= MIN_SLICE]
    return shown, len(slices) - len(shown)


def predictors(record: RunRecord) -> list[tuple[str, Scores]]:
    """Return the model's scores by name, then those of the baselines on the same rows."""
    if record.judgement is None:
        return []
    rows = [(record.model, record.judgement.scores)]
    for name, scores in record.judgement.baselines.items():
        rows.append((f"{name} (baseline)", scores))
    return rows


def n_scored(record: RunRecord) -> int:
    """Return the number of rows of the scored split."""
    if record.judgement is not None and record.judgement.scored_on == "val":
        return record.data.n_val
    return record.data.n_test


def reproduce_commands(record: RunRecord) -> list[str]:
    """Return the command lines that train the same model again."""
    words = " ".join(_quoted(word) for word in record.overrides)
    checkout = [f"git checkout {record.git.commit}"] if record.git else []
    return [*checkout, "make setup", f"python -m studperf.train {words}".rstrip()]


def write_card(record: RunRecord) -> str:
    """Return the card of a run, as Markdown."""
    data, judgement = record.data, record.judgement
    lead = f"This run is {record.status}; it was not scored. {record.error or ''}".rstrip()
    if judgement is not None:
        lead = judgement.verdict.line
    # A fence in a word of the command line would end the block of code.
    commands = "\n".join(reproduce_commands(record)).replace("```", "'''")
    head = (
        f"Run `{_code(record.name)}`, {record.started[:10]}, "
        f"{record.n_parameters:,} parameters, seed {record.seed}."
    )
    simulated = "SIMULATED data. " if data.is_simulated else ""
    parts = [
        f"# Model card: {_text(record.model)} on {_text(data.name)}",
        f"**{simulated}{_text(lead)}**",
        head,
        _section("Intended use", _bullets(intended_use(record))),
        _section("Scores", _scores(record)),
        _section("Limits", _bullets(limits(record))),
        _section("Errors by group", _slices(record)),
        _section("Data", _data(record)),
        _section("Columns left out", _exclusions(record)),
        _section("Provenance", _provenance(record)),
        _section("Train it again", f"```\n{commands}\n```"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _scores(record: RunRecord) -> str:
    judgement = record.judgement
    if judgement is None:
        return ""
    show = digits_of(record)
    unit = show.in_unit
    header = ["", f"RMSE{unit}", f"MAE{unit}", "R2", f"bias{unit}"]
    rows = [
        [
            name,
            show.interval(s.rmse),
            show.interval(s.mae),
            interval(s.r2, R2_DECIMALS),
            show.interval(s.bias),
        ]
        for name, s in predictors(record)
    ]
    skill = f"Skill over the mean: {judgement.skill:.1%}."
    caption = f"{n_scored(record)} {judgement.scored_on} rows, with 95 % intervals. {skill}"
    parts = [_table(header, rows), caption]
    if judgement.choice is not None:
        parts.append(choice_line(judgement.choice))
    return "\n\n".join(parts)


def _slices(record: RunRecord) -> str:
    shown, _ = published_slices(record)
    show = digits_of(record)
    rows = [
        [
            f"{part.column} = {part.level}",
            str(part.n),
            show.interval(part.mae),
            show.interval(part.bias),
        ]
        for part in shown
    ]
    if not rows:
        return ""
    return _table(["group", "n", f"MAE{show.in_unit}", f"bias{show.in_unit}"], rows)


def _data(record: RunRecord) -> str:
    data = record.data
    source = "SIMULATED" if data.is_simulated else f"`{_code(str(data.path))}`, md5 `{data.md5}`"
    parts = f"{data.n_train} train, {data.n_val} val, {data.n_test} test"
    names = ", ".join(f"`{_code(name)}`" for name in data.features)
    lines = [
        f"- {_text(data.name)}: {source}",
        f"- {data.n_rows} rows: {parts}; split `{data.split_sha256[:16]}`",
        f"- {len(data.features)} columns used: {names}",
    ]
    lines += [
        f"- Allowed though it gives the target away: `{_code(name)}`, {_text(why)}"
        for name, why in data.allowed_leaks.items()
    ]
    return "\n".join([*lines, *(f"- {_text(warning)}" for warning in data.warnings)])


def _exclusions(record: RunRecord) -> str:
    rows = [[e.column, e.kind, e.why] for e in excluded_columns(record)]
    if not rows:
        return ""
    return _table(["column", "kind", "why"], rows)


def _provenance(record: RunRecord) -> str:
    git = "unknown"
    if record.git is not None:
        git = f"`{record.git.commit}`"
        if record.git.is_dirty:
            git += " with changes not committed"
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    lines = [
        f"- commit: {git}",
        f"- package lock: `{record.lock_sha256}`",
        f"- weights: `{record.weights_sha256}`",
        f"- {_text(versions)}",
    ]
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(_text(cell) if i != 1 else cell for cell in line) + " |"
        for i, line in enumerate(lines)
    )


def _text(text: str) -> str:
    """Escape what Markdown would read as markup.

    Markdown lets HTML through, and a bar or a line's end would break a table.
    """
    escaped = re.sub(r"([\\`*_\[\]|])", r"\\\1", html.escape(text, quote=False))
    return escaped.replace("\r", " ").replace("\n", " ")


def _code(text: str) -> str:
    """Return the text so that it can stand between backticks."""
    return text.replace("`", "'").replace("\n", " ").replace("\r", " ")


def _quoted(word: str) -> str:
    """Return a word as a shell reads it, quoted where it must be."""
    if re.fullmatch(r"[\w./=,:+@%-]+", word):
        return word
    inner = word.replace("'", "'\\''")
    return f"'{inner}'"
