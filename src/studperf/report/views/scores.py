"""The scores of a run and of its baselines, as they are shown and published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from studperf.record.record import RunRecord
from studperf.record.shape import BaselineChoice, Scores, Slice
from studperf.scoring.numbers import R2_DECIMALS, Digits, interval

MIN_SLICE = 20
"""Slices of fewer rows say little, and could be about persons one knows: they are not published."""


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


def digits_of(record: RunRecord) -> Digits:
    """Return the unit and decimals of a run's errors; two decimals where it was not judged."""
    size = 1.0
    if record.judgement is not None:
        size = record.judgement.scores.rmse.value
    return Digits.of(size, record.data.unit)


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


def format_scores(scores: Mapping[str, Scores], digits: Digits) -> list[list[str]]:
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
