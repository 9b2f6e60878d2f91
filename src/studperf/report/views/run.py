"""The view of one run: what terminal, page, card and W&B say of it, from its record and files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, ClassVar

import yaml

from studperf.errors import RunError
from studperf.record.files import ENCODER, read_predictions
from studperf.record.record import RunRecord
from studperf.record.shape import BaselineChoice, Conformal, Scores, Slice, VerdictKind
from studperf.scoring.metrics import FloatArray, Interval, mae, rmse
from studperf.scoring.numbers import R2_DECIMALS, Digits, interval

MIN_SLICE = 20
"""Slices of fewer rows say little, and could be about persons one knows: they are not published."""
TONES: dict[VerdictKind, str] = {
    "beats": "good",
    "matches": "level",
    "can't tell": "level",
    "worse": "warn",
    "suspicious": "bad",
    "no better than the mean": "bad",
}
"""What a verdict sounds like, for colours in terminal and pages."""
STATUS_TONES = {"running": "level", "interrupted": "warn", "failed": "bad", "finished": "good"}
_UNFINISHED = {
    "running": "Is running, or was killed: this is what it had recorded.",
    "interrupted": "Was interrupted before it was scored.",
    "failed": "Failed before it was scored.",
    "finished": "Finished without being scored.",
}
_DOUBT = 0.05
_CLOSE_PROMISE = 0.06
"""Between its ends, a promise this close (of some 250 val rows and more) is as good as kept."""
_ERRORS = {"val/rmse": rmse, "val/mae": mae}
"""Watched metrics that are errors in the target's unit."""
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


@dataclass(frozen=True)
class UsedColumn:
    """A column that the model sees, with what training saw of it."""

    name: str
    kind: str
    unit: str
    seen: str
    missing: str


@dataclass(frozen=True)
class Predictor:
    """The model or a baseline, with its scores on the same rows."""

    name: str
    is_baseline: bool
    scores: Scores

    @property
    def label(self) -> str:
        """The name, by which a baseline is told from the model."""
        return f"{self.name} (baseline)" if self.is_baseline else self.name


@dataclass(frozen=True)
class ScoredRows:
    """The predictions of the scored rows, and the best baseline's error on val.

    Args:
        actual: (B,)
        predicted: (B,)
        level_on_val: None where the watched metric is no error.
    """

    actual: FloatArray
    predicted: FloatArray
    level_on_val: float | None


@dataclass(frozen=True)
class RunView:
    """The view of a run: its record, and what is to be said beside it."""

    record: RunRecord
    digits: Digits
    predictors: list[Predictor]
    """The model first, then the baselines; empty where the run was not judged."""
    n_scored: int
    slices: list[Slice]
    """Those that are published, by column."""
    n_hidden: int
    """How many other slices there are."""
    band_line: str
    choice_line: str
    intended_use: list[str]
    limits: list[str]
    exclusions: list[Exclusion]
    commands: list[str]
    """Command lines that train the same model again."""

    MIN_SLICE: ClassVar[int] = MIN_SLICE

    @property
    def groups(self) -> list[tuple[str, list[Slice]]]:
        """The published slices of each column."""
        found: dict[str, list[Slice]] = {}
        for part in self.slices:
            found.setdefault(part.column, []).append(part)
        return list(found.items())

    @property
    def lead(self) -> str:
        """The verdict, or that there is none and why."""
        record = self.record
        if record.judgement is not None:
            return record.judgement.verdict.line
        return f"This run is {record.status}; it was not scored. {record.error or ''}".rstrip()

    @property
    def score_rows(self) -> list[list[str]]:
        """A row for each predictor: its name, RMSE, MAE, R2 and bias with their intervals."""
        scores = {predictor.label: predictor.scores for predictor in self.predictors}
        return tell_scores(scores, self.digits)

    @property
    def slice_rows(self) -> list[list[str]]:
        """A row for each published slice: its name, rows, MAE and bias with their intervals."""
        rows = []
        for part in self.slices:
            errors = (self.digits.interval(part.mae), self.digits.interval(part.bias))
            rows.append([f"{part.column} = {part.level}", str(part.n), *errors])
        return rows

    @property
    def exclusion_rows(self) -> list[list[str]]:
        """A row for each column that the model does not see."""
        return [[found.column, found.kind, found.why] for found in self.exclusions]

    @property
    def versions(self) -> str:
        """The versions of the packages that made the run."""
        return ", ".join(f"{name} {version}" for name, version in self.record.versions.items())

    @property
    def seconds(self) -> str:
        """The seconds that each part of the run took."""
        return ", ".join(f"{name} {took:.1f}" for name, took in self.record.timings_s.items())

    @property
    def config(self) -> str:
        """The run's configuration, as YAML."""
        return yaml.safe_dump(self.record.config, sort_keys=False, allow_unicode=True)

    @property
    def status_tone(self) -> str:
        """The tone of the run's status."""
        return STATUS_TONES[self.record.status]

    @property
    def tone(self) -> str:
        """The tone of the run's verdict, or of its status where there is none."""
        if self.record.judgement is None:
            return self.status_tone
        return TONES[self.record.judgement.verdict.kind]

    @property
    def verdict(self) -> tuple[str, str]:
        """The verdict's claim, and the numbers that bear it."""
        if self.record.judgement is None:
            return "", ""
        head, colon, rest = self.record.judgement.verdict.line.partition(":")
        return head, f"{colon}{rest}"

    @property
    def unfinished(self) -> str:
        """A sentence on why the run has no verdict."""
        return _UNFINISHED[self.record.status]

    @property
    def monitored(self) -> str:
        """The watched metric's name, with its unit."""
        if self.record.monitor not in _ERRORS:
            return self.record.monitor
        return self.record.monitor + self.digits.in_unit

    @property
    def how_trained(self) -> list[str]:
        """Sentences on the training; none before the first epoch's end."""
        record = self.record
        if not record.history:
            return []
        seconds = float(record.history[-1]["seconds"])
        said = [f"{len(record.history)} epochs in {seconds:.1f} s."]
        if record.is_stopped_early:
            said.append("Early stopping ended it.")
        if record.best_epoch is not None:
            said.append(f"The weights of epoch {record.best_epoch + 1} were kept.")
        said += [f"Went on after epoch {epoch}." for epoch in record.resumed_at]
        if record.cut_short is not None:
            said.append(record.cut_short.line)
        return said


def view_run(record: RunRecord) -> RunView:
    """Return the view of a run, finished or not."""
    slices, n_hidden = published_slices(record)
    judgement = record.judgement
    band = choice = ""
    if judgement is not None and judgement.conformal is not None:
        band = band_line(record, judgement.conformal)
    if judgement is not None and judgement.choice is not None:
        choice = choice_line(judgement.choice)
    return RunView(
        record=record,
        digits=digits_of(record),
        predictors=predictors(record),
        n_scored=n_scored(record),
        slices=slices,
        n_hidden=n_hidden,
        band_line=band,
        choice_line=choice,
        intended_use=intended_use(record),
        limits=limits(record),
        exclusions=excluded_columns(record),
        commands=reproduce_commands(record),
    )


def read_rows(record: RunRecord, folder: Path) -> ScoredRows | None:
    """Return the scored rows of a run; None where it was not judged or its file is gone."""
    if record.judgement is None:
        return None
    try:
        frame = read_predictions(folder)
    except RunError:
        return None
    scored = frame[frame["split"] == record.judgement.scored_on]
    level = None
    if record.monitor in _ERRORS:
        val = frame[frame["split"] == "val"]
        baseline = val[record.judgement.best_baseline]
        level = _ERRORS[record.monitor](baseline.to_numpy(), val["actual"].to_numpy())
    return ScoredRows(scored["actual"].to_numpy(), scored["predicted"].to_numpy(), level)


def read_columns(record: RunRecord, folder: Path) -> list[UsedColumn]:
    """Return the columns that the model sees, with what training saw of them."""
    learnt = _read_learnt(folder)
    columns = []
    for name in record.data.features:
        column = record.config["data"]["columns"][name]
        code = learnt.get(name, {})
        fill = code.get("fill")
        missing = "refused" if fill is None else f"read as {fill}"
        unit = column.get("unit") or ""
        columns.append(UsedColumn(name, str(column["kind"]), unit, _seen(code), missing))
    return columns


def _seen(code: dict[str, Any]) -> str:
    """Return the range or the levels that training saw; a flag's are always 0 and 1."""
    if not code:
        return ""
    if "low" in code:
        return f"{code['low']:g} to {code['high']:g}"
    return ", ".join(code.get("levels") or ["0", "1"])


def _read_learnt(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the training rows taught about each column, by name.

    It is empty where the encoder's file is gone.
    """
    codes = []
    try:
        plain = json.loads((folder / ENCODER).read_text(encoding="utf-8"))
        for kind in ("numbers", "flags", "categories"):
            codes += plain[kind]
        return {code["name"]: code for code in codes}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


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
    said += _tell_band(record)
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


def published_slices(record: RunRecord) -> tuple[list[Slice], int]:
    """Return the slices with enough rows to be shown, and how many others there are."""
    slices = record.judgement.slices if record.judgement else []
    shown = [part for part in slices if part.n >= MIN_SLICE]
    return shown, len(slices) - len(shown)


def predictors(record: RunRecord) -> list[Predictor]:
    """Return the model with its scores, then the baselines on the same rows."""
    if record.judgement is None:
        return []
    found = [Predictor(record.model, is_baseline=False, scores=record.judgement.scores)]
    for name, scores in record.judgement.baselines.items():
        found.append(Predictor(name, is_baseline=True, scores=scores))
    return found


def tell_scores(scores: Mapping[str, Scores], digits: Digits) -> list[list[str]]:
    """Return a row for each predictor: its name, RMSE, MAE, R2 and bias with their intervals."""
    rows = []
    for name, of_predictor in scores.items():
        row = [
            name,
            digits.interval(of_predictor.rmse),
            digits.interval(of_predictor.mae),
            interval(of_predictor.r2, R2_DECIMALS),
            digits.interval(of_predictor.bias),
        ]
        rows.append(row)
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


def _quoted(word: str) -> str:
    """Return a word as a shell reads it, quoted where it must be."""
    if re.fullmatch(r"[\w./=,:+@%-]+", word):
        return word
    inner = word.replace("'", "'\\''")
    return f"'{inner}'"
