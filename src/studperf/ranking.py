"""Several runs held against each other: which differences are noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from studperf.errors import RunError
from studperf.metrics import Interval, paired_differences, unpaired_difference
from studperf.record import RECORD, Judgement, RunRecord, read_predictions


@dataclass(frozen=True)
class Standing:
    """A run's place among others. `difference` is its RMSE minus that of the best; on other rows than the best's it is not paired."""

    folder: Path
    record: RunRecord
    judgement: Judgement
    difference: Interval | None
    is_paired: bool
    place: Literal["best", "noise", "worse"]


def find_runs(paths: Sequence[Path]) -> list[tuple[Path, RunRecord]]:
    """The records of run folders, and of the runs directly below a folder that is no run itself.

    Raises:
        RunError: names every path that holds no run.
    """
    found, faults = [], []
    for path in paths:
        folders = (
            [path]
            if (path / RECORD).is_file()
            else sorted(p.parent for p in path.glob(f"*/{RECORD}"))
        )
        if not folders:
            why = (
                f"holds no run (no {RECORD} in it or directly below it)"
                if path.is_dir()
                else "there is no such folder"
            )
            faults.append(f"{path}: {why}")
        found += folders
    if faults:
        raise RunError("; ".join(faults))
    return [(folder, RunRecord.load(folder)) for folder in found]


def rank(runs: Sequence[tuple[Path, RunRecord]]) -> list[Standing]:
    """Best first. Runs scored on the rows of the best one are compared with it in pairs, others as independent samples.

    Raises:
        RunError: a run was not scored, its predictions can't be read, or the runs predict different targets.
    """
    for folder, record in runs:
        if record.judgement is None:
            raise RunError(
                f"{folder}: is {record.status} and was not scored; go on with it first: studperf.train resume={folder}"
            )
    if len({(record.data.target, record.data.unit) for _, record in runs}) > 1:
        raise RunError(
            "these runs predict different targets: "
            + ", ".join(sorted({r.data.target for _, r in runs}))
        )
    scored = [
        _Scored(folder, record, j, _scored_rows(folder, j))
        for folder, record in runs
        if (j := record.judgement) is not None
    ]
    scored.sort(key=lambda run: run.judgement.scores.rmse.value)
    best, *others = scored
    paired = [run for run in others if run.shares_rows_with(best)]
    intervals = paired_differences([run.predicted for run in paired], best.predicted, best.actual)
    by_run = {id(run): interval for run, interval in zip(paired, intervals, strict=True)}
    standings = [
        Standing(best.folder, best.record, best.judgement, None, is_paired=True, place="best")
    ]
    for run in others:
        difference = by_run.get(id(run)) or unpaired_difference(
            (run.predicted, run.actual), (best.predicted, best.actual)
        )
        place: Literal["noise", "worse"] = "worse" if difference.low > 0 else "noise"
        standings.append(
            Standing(
                run.folder,
                run.record,
                run.judgement,
                difference,
                is_paired=id(run) in by_run,
                place=place,
            )
        )
    return standings


@dataclass(frozen=True)
class _Scored:
    folder: Path
    record: RunRecord
    judgement: Judgement
    frame: pd.DataFrame

    @property
    def predicted(self) -> np.ndarray:
        return self.frame["predicted"].to_numpy()

    @property
    def actual(self) -> np.ndarray:
        return self.frame["actual"].to_numpy()

    def shares_rows_with(self, other: _Scored) -> bool:
        return (
            self.record.data.split_sha256 == other.record.data.split_sha256
            and self.record.data.md5 == other.record.data.md5
            and self.judgement.scored_on == other.judgement.scored_on
            and np.array_equal(self.actual, other.actual)
        )


def _scored_rows(folder: Path, judgement: Judgement) -> pd.DataFrame:
    frame = read_predictions(folder)
    return frame[frame["split"] == judgement.scored_on]
