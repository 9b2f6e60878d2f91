"""The ranking of several runs: which can be compared at all, and which differences are noise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Literal, Self, TypeVar

import numpy as np
import pandas as pd

from studperf.errors import RunError
from studperf.record.files import RECORD, STUDIES, read_predictions
from studperf.record.record import RunRecord
from studperf.record.shape import Judgement
from studperf.scoring.metrics import Interval, paired_differences

Run = tuple[Path, RunRecord]
_Item = TypeVar("_Item")
_N_DIGITS = 8  # of a hash that is shown


@dataclass(frozen=True)
class Ground:
    """The question and the rows that runs must share for their scores to be comparable.

    This is the one place that decides it: tables, pages and summaries rank, pool and call noise
    what has equal grounds, and nothing else.

    Args:
        target: the column that is predicted.
        unit: of the target.
        is_simulated: whether no real row was seen.
        data: the md5 of the table, or what the simulator was asked for.
        split_sha256: which rows fell into which part.
        scored_on: the part by which the run was, or is to be, scored.
        actual_sha256: a hash of the scored rows' targets, where it is known.
        n_rows: scored rows.
        source: the data in words.
    """

    target: str
    unit: str
    is_simulated: bool
    data: str
    split_sha256: str
    scored_on: str
    actual_sha256: str = ""
    n_rows: int = field(default=0, compare=False)
    source: str = field(default="", compare=False)

    @classmethod
    def of(cls, record: RunRecord) -> Self:
        """Return the ground of a run, scored or not."""
        facts = record.data
        scored_on = str(record.config.get("score_on", "test"))
        if record.judgement is not None:
            scored_on = record.judgement.scored_on
        asked_for = _simulation_of(record)
        data = facts.md5 or ""
        if facts.is_simulated:
            data = json.dumps([facts.name, asked_for], sort_keys=True)
        return cls(
            facts.target,
            facts.unit,
            facts.is_simulated,
            data,
            facts.split_sha256,
            scored_on,
            n_rows=facts.n_val if scored_on == "val" else facts.n_test,
            source=_source_of(record, asked_for),
        )

    @property
    def text(self) -> str:
        """Target, unit and scored rows in one line.

        For example `final_score (points), 100 test rows of students.csv (md5 0123abcd)`.
        """
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.target}{unit}, {self.n_rows:,} {self.scored_on} rows of {self.source}"

    def differences(self, other: Ground) -> list[str]:
        """Return in plain words why runs on this ground can't be compared with the other's.

        The list is empty for the same ground.
        """
        if self == other:
            return []
        found = []
        if self.target != other.target:
            found.append(f"they predict another target, not {other.target}")
        elif self.unit != other.unit:
            found.append(f"their target is in {self.unit or 'no unit'}, not {other.unit or 'none'}")
        if self.is_simulated != other.is_simulated:
            found.append(
                f"their data are {_REAL[self.is_simulated]}, not {_REAL[not self.is_simulated]}"
            )
        elif self.data != other.data:
            found.append("their data are others")
        elif self.split_sha256 != other.split_sha256:
            found.append("their rows are split otherwise")
        if self.scored_on != other.scored_on:
            found.append(f"they were scored on {self.scored_on}, not on {other.scored_on}")
        # Other parts and other data have other values anyway.
        if not found:
            found.append("their targets have other values in the same rows")
        return found


_REAL = {False: "real", True: "SIMULATED"}


def _simulation_of(record: RunRecord) -> object:
    """Return what the simulator was asked for; None for a real table."""
    data = record.config.get("data")
    if not isinstance(data, dict):
        return None
    source = data.get("source")
    if not isinstance(source, dict):
        return None
    return source.get("simulate")


def _source_of(record: RunRecord, asked_for: object) -> str:
    facts = record.data
    if not facts.is_simulated:
        name = Path(facts.path).name if facts.path else facts.name
        return f"{name} (md5 {str(facts.md5)[:_N_DIGITS]})"
    seed = ""
    if isinstance(asked_for, dict) and "seed" in asked_for:
        seed = f", seed {asked_for['seed']}"
    return f"SIMULATED data ({facts.n_rows:,} rows{seed})"


@dataclass(frozen=True)
class Group(Generic[_Item]):
    """Items of runs that can be compared with each other.

    Args:
        ground: that they share.
        why_apart: why they can't be compared with those of the first group; empty for the first
            one.
        items: one for each run.
    """

    ground: Ground
    why_apart: tuple[str, ...]
    items: list[_Item]

    @property
    def heading(self) -> str:
        """The group's ground, and the reasons that keep it apart from the first group."""
        if not self.why_apart:
            return self.ground.text
        return f"{self.ground.text}. Apart from the runs above: {', and '.join(self.why_apart)}"


def group_by_ground(items: Iterable[tuple[Ground, _Item]]) -> list[Group[_Item]]:
    """Return items in groups of equal grounds.

    Real data come before simulated, then the larger group first, then test before val.
    """
    found: dict[Ground, list[_Item]] = {}
    for ground, item in items:
        found.setdefault(ground, []).append(item)

    def place(ground: Ground) -> tuple[bool, int, bool]:
        return ground.is_simulated, -len(found[ground]), ground.scored_on == "val"

    grounds = sorted(found, key=place)
    groups = []
    for ground in grounds:
        why_apart = tuple(ground.differences(grounds[0]))
        groups.append(Group(ground, why_apart, found[ground]))
    return groups


@dataclass(frozen=True)
class Standing:
    """A run's place among those that it can be compared with.

    `difference` is its RMSE minus that of the best, paired; None for the best itself.
    """

    folder: Path
    record: RunRecord
    judgement: Judgement
    difference: Interval | None
    place: Literal["best", "noise", "worse"]


@dataclass(frozen=True)
class Found:
    """The runs found in folders that a user named.

    Args:
        runs: those whose record can be read.
        unreadable: the others, with the reason.
        left_out: folders that hold runs too deep below what was named; those of studies, for
            example.
    """

    runs: list[Run]
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)

    def explain_left_out(self) -> list[str]:
        """Return a sentence for each folder that was left out, with the way to see its runs."""
        said = []
        for folder in self.left_out:
            if folder.parent.name == STUDIES:
                command = f"python -m studperf.sweeps show {folder.name}"
                way = f"trials of a study; see them with: {command}"
            else:
                way = "runs that lie deeper; name this folder to take them in"
            said.append(f"{folder}: {way}")
        return said


def find_runs(paths: Sequence[Path]) -> Found:
    """Return the runs that are named, or lie in a folder that is named, or in a multirun's in it.

    Raises:
        RunError: names every path that holds no run.
    """
    # A dict for a set in order: a run named twice is one run.
    folders: dict[Path, None] = {}
    left_out: set[Path] = set()
    faults = []
    for path in paths:
        below = [path]
        if not (path / RECORD).is_file():
            below = _find_below(path)
        deeper = {record.parents[1] for record in path.glob(f"*/*/*/{RECORD}")}
        if not below and not deeper:
            why = f"holds no run (no {RECORD} in it, or one or two levels below it)"
            faults.append(f"{path}: {why if path.is_dir() else 'there is no such folder'}")
        folders |= dict.fromkeys(below)
        left_out |= deeper
    if faults:
        raise RunError("; ".join(faults))

    runs: list[Run] = []
    unreadable = []
    for folder in folders:
        try:
            runs.append((folder, RunRecord.load(folder)))
        except RunError as error:
            unreadable.append((folder, str(error)))
    named_too = left_out - {folder.parent for folder in folders}
    return Found(runs, unreadable, sorted(named_too))


def _find_below(path: Path) -> list[Path]:
    records = {*path.glob(f"*/{RECORD}"), *path.glob(f"*/*/{RECORD}")}
    return sorted(record.parent for record in records)


@dataclass(frozen=True)
class Ranking:
    """Runs ranked within their groups, beside those that have no score or can't be read.

    Args:
        groups: the ranked ones.
        unscored: those that have no score.
        unreadable: those that were scored, but whose record or predictions can't be read, with the
            reason.
    """

    groups: list[Group[Standing]]
    unscored: list[Run]
    unreadable: list[tuple[Path, str]]


def rank_apart(found: Found) -> Ranking:
    """Rank runs, each among those that it can be compared with."""
    unscored: list[Run] = []
    unreadable = list(found.unreadable)
    scored: list[tuple[Ground, _Scored]] = []
    for folder, record in found.runs:
        if record.judgement is None:
            unscored.append((folder, record))
            continue
        try:
            run = _Scored.read(folder, record, record.judgement)
        except RunError as error:
            unreadable.append((folder, str(error)))
        else:
            scored.append((run.ground, run))
    groups = [
        Group(group.ground, group.why_apart, _rank(group.items))
        for group in group_by_ground(scored)
    ]
    return Ranking(groups, unscored, unreadable)


@dataclass(frozen=True)
class _Scored:
    folder: Path
    record: RunRecord
    judgement: Judgement
    frame: pd.DataFrame

    @classmethod
    def read(cls, folder: Path, record: RunRecord, judgement: Judgement) -> Self:
        frame = read_predictions(folder)
        return cls(folder, record, judgement, frame[frame["split"] == judgement.scored_on])

    @property
    def ground(self) -> Ground:
        digest = hashlib.sha256(self.actual.tobytes()).hexdigest()
        return replace(Ground.of(self.record), actual_sha256=digest)

    @property
    def predicted(self) -> np.ndarray:
        return self.frame["predicted"].to_numpy()

    @property
    def actual(self) -> np.ndarray:
        return self.frame["actual"].to_numpy()


def _rank(runs: Sequence[_Scored]) -> list[Standing]:
    """Return the standings, the best first, each other one paired with the best row by row."""
    best, *others = sorted(runs, key=lambda run: run.judgement.scores.rmse.value)
    intervals = paired_differences([run.predicted for run in others], best.predicted, best.actual)
    standings = [Standing(best.folder, best.record, best.judgement, None, "best")]
    for run, interval in zip(others, intervals, strict=True):
        place: Literal["noise", "worse"] = "worse" if interval.low > 0 else "noise"
        standings.append(Standing(run.folder, run.record, run.judgement, interval, place))
    return standings
