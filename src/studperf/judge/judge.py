"""The judgement of one run: its errors beside the baselines' on the same rows, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from studperf.data.hashes import group_equal_rows
from studperf.data.preparation import Prepared
from studperf.data.rows import Rows
from studperf.data.schema import Table
from studperf.data.tensors import gather
from studperf.judge.verdict import Evidence, give_verdict
from studperf.record.files import PREDICTIONS
from studperf.record.run import Run
from studperf.record.shape import (
    BaselineChoice,
    BaselineStanding,
    Conformal,
    DataFacts,
    Judgement,
    Scores,
    Slice,
)
from studperf.scoring import metrics
from studperf.scoring.baselines.fit import Baselines, Choice, fit_baselines
from studperf.scoring.metrics import FloatArray
from studperf.train.learner import Model

if TYPE_CHECKING:
    from rich.console import Console

COVERAGE = 0.9
"""Share of new rows that the conformal band is to cover."""
_MIN_SLICE = 2
# Rows predicted at a time: 60 MB of float64. A multiple of `train.network.module.SCORING_BATCH_SIZE`, so
# that batches are cut alike.
BLOCK = 24 * 8192
_MANY_VALUES = 1_000_000
"""Cells above which the baselines take more than a few seconds."""


@dataclass(frozen=True)
class Reference:
    """The baselines' predictions, which later runs on the same rows use again.

    Args:
        predictions: part -> baseline -> (N,) predictions.
        choice: which baseline is the strongest.
    """

    predictions: dict[str, dict[str, FloatArray]]
    choice: Choice


def judge_run(
    run: Run, model: Model, ready: Prepared, reference: Reference | None = None
) -> Reference:
    """Score a run once with its best weights, and write its judgement and predictions.

    This is the only place that opens the split to be scored. The judgement goes into the record,
    the predictions into `predictions.parquet`.

    Args:
        run: to be judged.
        model: with its best weights.
        ready: the rows.
        reference: the baselines' predictions, where an earlier run on the same rows made them.

    Returns:
        The baselines' predictions, for a next run on the same rows.
    """
    scored_on = run.config.score_on
    rows = ready.rows
    index = vars(rows.split)
    # A run that is scored on val never opens the test split.
    shown = ["val"] if scored_on == "val" else ["val", "test"]
    actual = {name: rows.target(index[name]) for name in shown}
    reference = reference or _predict_by_baselines(rows, shown, run.console)
    predicted = {name: _predict_part(model, ready, name) for name in shown}
    val = None
    if scored_on == "test":
        val = (predicted["val"], actual["val"])
    sliced_by = rows.dataset.of_kind("category", "flag")
    run.record.judgement = judge(
        scored_on=scored_on,
        table=rows.table(index[scored_on], sliced_by),
        predicted=predicted[scored_on],
        reference=reference.predictions[scored_on],
        choice=reference.choice,
        val=val,
        data=run.record.data,
    )

    frames = []
    for name in shown:
        columns = _columns(ready, name, predicted[name])
        frames.append(pd.DataFrame({**columns, **reference.predictions[name]}))
    pd.concat(frames).to_parquet(run.folder / PREDICTIONS, index=False)
    return reference


def predict_val(run: Run, model: Model, ready: Prepared) -> None:
    """Write `predictions.parquet` with the val rows alone.

    Nothing else is needed of a trial: only the winner of a study opens the test split.
    """
    columns = _columns(ready, "val", _predict_part(model, ready, "val"))
    pd.DataFrame(columns).to_parquet(run.folder / PREDICTIONS, index=False)


def _predict_part(model: Model, ready: Prepared, name: str) -> FloatArray:
    """Return the model's predictions of a part, block by block."""
    table = ready.table
    index = table.rows[name]
    blocks = []
    for start in range(0, len(index), BLOCK):
        block = gather(table.tensors, index[start : start + BLOCK])
        blocks.append(model.predict_rows(block))
    return np.concatenate(blocks)


def _columns(ready: Prepared, name: str, predicted: FloatArray) -> dict[str, Any]:
    """Return a part's rows and the model's predictions, as columns of `predictions.parquet`."""
    rows = ready.rows
    index = vars(rows.split)[name]
    return {
        "row": rows.numbers(index),
        "split": name,
        "actual": rows.target(index),
        "predicted": predicted,
    }


def _predict_by_baselines(rows: Rows, parts: Sequence[str], console: Console) -> Reference:
    """Fit the baselines to the training rows, and let them predict the parts."""
    features = rows.dataset.feature_names
    if len(rows.sample) * len(features) > _MANY_VALUES:
        console.print(f"Fitting the baselines to {len(rows.sample):,} training rows ...")
    train = rows.table(rows.sample, features)
    # Equal rows are held out together, as in the split: a baseline must not have seen its test.
    fitted = fit_baselines(train, group_equal_rows(train))
    index = vars(rows.split)
    predictions = {name: _predict_baselines(fitted, rows, index[name]) for name in parts}
    return Reference(predictions, fitted.choice)


def _predict_baselines(fitted: Baselines, rows: Rows, index: np.ndarray) -> dict[str, FloatArray]:
    """Return each baseline's predictions, computed block by block to bound memory."""
    features = rows.dataset.feature_names
    blocks = []
    for start in range(0, len(index), BLOCK):
        table = rows.table(index[start : start + BLOCK], features)
        blocks.append(fitted.predict(table))
    predicted = {}
    for name in blocks[0]:
        predicted[name] = np.concatenate([block[name] for block in blocks])
    return predicted


def judge(
    *,
    scored_on: str,
    table: Table,
    predicted: FloatArray,
    reference: Mapping[str, FloatArray],
    choice: Choice,
    val: tuple[FloatArray, FloatArray] | None,
    data: DataFacts,
) -> Judgement:
    """Score predictions on the rows of `table`, beside the baselines' on the same rows.

    Args:
        scored_on: the split that `table` is.
        table: the scored rows.
        predicted: (N,) in the target's unit.
        reference: baseline -> (N,), `mean` among them.
        choice: the strongest baseline, chosen on the training rows, and those tied with it.
        val: (predicted, actual) of the val rows, for the conformal width; None when they are the
            scored ones.
        data: unit, noise floor, columns left out and leaks allowed.
    """
    actual = table.target
    scores = score(predicted, actual)
    others = {name: score(values, actual) for name, values in reference.items()}
    against = {
        name: metrics.paired_difference(predicted, values, actual)
        for name, values in reference.items()
    }
    skill = 1 - scores.rmse.value / others["mean"].rmse.value
    band = None
    if val is not None:
        band = conformal(*val, predicted, actual)
    evidence = Evidence(
        scores=scores,
        baselines=others,
        against=against,
        rivals=choice.tied,
        skill=skill,
        n_rows=len(actual),
        scored_on=scored_on,
        data=data,
    )
    return Judgement(
        scored_on="val" if scored_on == "val" else "test",
        scores=scores,
        baselines=others,
        best_baseline=choice.strongest,
        against_best=against[choice.strongest],
        against_mean=against["mean"],
        against=against,
        choice=_note_choice(choice),
        skill=skill,
        conformal=band,
        slices=slice_errors(table, predicted),
        verdict=give_verdict(evidence),
    )


def _note_choice(choice: Choice) -> BaselineChoice:
    """Return the choice of the baseline in the form that the record keeps."""
    standings = {
        name: BaselineStanding(rmse=found.rmse, behind=found.behind, is_tied=found.is_tied)
        for name, found in choice.standings.items()
    }
    return BaselineChoice(standings=standings, n_fits=choice.n_fits, n_rows=choice.n_rows)


def score(predicted: FloatArray, actual: FloatArray) -> Scores:
    """Return RMSE, MAE, R2 and bias with their intervals."""
    return Scores(**metrics.scores(predicted, actual))


def conformal(
    val_predicted: FloatArray, val_actual: FloatArray, predicted: FloatArray, actual: FloatArray
) -> Conformal:
    """Return the half-width of the 90 % interval, and the share of scored rows inside it."""
    half_width = metrics.conformal_half_width(val_predicted, val_actual, coverage=COVERAGE)
    return Conformal(
        level=COVERAGE,
        half_width=half_width,
        coverage=float(np.mean(np.abs(predicted - actual) <= half_width)),
        n_val=len(val_actual),
        likely=metrics.conformal_coverage(len(val_actual), coverage=COVERAGE),
    )


def slice_errors(table: Table, predicted: FloatArray) -> list[Slice]:
    """Return the errors by each level of each category and flag among the features."""
    slices = []
    for name in table.dataset.of_kind("category", "flag"):
        values = table.frame[name]
        for level in sorted(values.dropna().unique()):
            rows = (values == level).to_numpy()
            if rows.sum() < _MIN_SLICE:
                continue
            # A flag's levels are floats: 1.0 is shown as 1.
            text = level if isinstance(level, str) else f"{level:g}"
            scores = metrics.scores(predicted[rows], table.target[rows])
            slices.append(
                Slice(
                    column=name,
                    level=text,
                    n=int(rows.sum()),
                    rmse=scores["rmse"].value,
                    mae=scores["mae"],
                    bias=scores["bias"],
                )
            )
    return slices
