"""The view of one run for terminal, page, card and W&B, made from its record and files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from studperf.errors import RunError
from studperf.record.files import ENCODER, read_predictions
from studperf.record.record import RunRecord
from studperf.record.shape import Slice, VerdictKind
from studperf.report.views.limits import band_line, intended_use, limits
from studperf.report.views.scores import (
    MIN_SLICE,
    Predictor,
    choice_line,
    digits_of,
    format_scores,
    n_scored,
    predictors,
    published_slices,
)
from studperf.scoring.metrics import FloatArray, mae, rmse
from studperf.scoring.numbers import Digits

TONES: dict[VerdictKind, str] = {
    "beats": "good",
    "matches": "level",
    "can't tell": "level",
    "worse": "warn",
    "suspicious": "bad",
    "no better than the mean": "bad",
}
"""Each verdict's tone, for colours in terminal and pages."""
STATUS_TONES = {"running": "level", "interrupted": "warn", "failed": "bad", "finished": "good"}
_UNFINISHED = {
    "running": "Is running, or was killed: this is what it had recorded.",
    "interrupted": "Was interrupted before it was scored.",
    "failed": "Failed before it was scored.",
    "finished": "Finished without being scored.",
}
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
    """The view of a run: its record, and the sentences and rows that are made of it."""

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
        return format_scores(scores, self.digits)

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
        used = UsedColumn(
            name=name,
            kind=str(column["kind"]),
            unit=column.get("unit") or "",
            seen=_seen(code),
            missing="refused" if fill is None else f"read as {fill}",
        )
        columns.append(used)
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
