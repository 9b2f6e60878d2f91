"""What a run is worth: its errors beside those of baselines on the same rows, and a verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from studperf import baselines, metrics
from studperf.data.batches import Batch
from studperf.data.datamodule import TableDataModule
from studperf.data.encode import Encoded, Encoder, flatten
from studperf.data.encoded import gather
from studperf.data.rows import Rows
from studperf.data.schema import Table
from studperf.metrics import FloatArray, Interval
from studperf.module import ScoreModule
from studperf.record import (
    PREDICTIONS,
    Conformal,
    DataFacts,
    Judgement,
    RunRecord,
    Scores,
    Slice,
    Verdict,
)

COVERAGE = 0.9
_MIN_SKILL = 0.01
_TOO_GOOD_RATIO = 0.5
_TOO_GOOD_R2 = 0.995
_MIN_SLICE = 2
_MODEL = ""  # no baseline's name
# Rows predicted at a time: 60 MB of float64. A multiple of the batches in which the module predicts, so that they are cut alike.
BLOCK = 24 * 8192


Reference = dict[str, dict[str, FloatArray]]
"""Part -> baseline -> (N,) predictions."""


def judge_run(
    module: ScoreModule,
    data: TableDataModule,
    encoder: Encoder,
    rows: Rows,
    record: RunRecord,
    folder: Path,
    reference: Reference | None = None,
) -> Reference:
    """Opens the split to be scored, once, with the best weights; writes the judgement and `predictions.parquet`.

    Args:
        module: with its best weights.
        data: the encoded rows.
        encoder: of the run.
        rows: the checked rows and their split.
        record: of the run.
        folder: of the run.
        reference: the baselines' predictions, where an earlier run on the same rows made them.

    Returns:
        The baselines' predictions, for a next run on the same rows.
    """
    scored_on = str(record.config["score_on"])
    index = vars(rows.split)
    shown = ["val"] if scored_on == "val" else ["val", "test"]
    actual = {name: rows.target(index[name]) for name in shown}
    fitted = (
        {}
        if reference
        else baselines.fit(_flat(data.table.part("sample"), encoder), rows.target(rows.sample))
    )
    fresh, predicted = _predict_parts(module, data, encoder, fitted, shown)
    reference = reference or fresh
    record.judgement = judge(
        scored_on=scored_on,
        table=rows.table(index[scored_on], rows.dataset.of_kind("category", "flag")),
        predicted=predicted[scored_on],
        reference=reference[scored_on],
        best=baselines.best_baseline(reference["val"], actual["val"]),
        val=(predicted["val"], actual["val"]) if scored_on == "test" else None,
        data=record.data,
    )
    frames = []
    for name in shown:
        columns = {
            "row": index[name] + 1,
            "split": name,
            "actual": actual[name],
            "predicted": predicted[name],
        }
        frames.append(pd.DataFrame({**columns, **reference[name]}))
    pd.concat(frames).to_parquet(folder / PREDICTIONS, index=False)
    return reference


def _predict_parts(
    module: ScoreModule,
    data: TableDataModule,
    encoder: Encoder,
    predictors: Mapping[str, baselines.Predictor],
    parts: Sequence[str],
) -> tuple[Reference, dict[str, FloatArray]]:
    """Part -> baseline -> predictions, and part -> predictions of the model, block by block: a million rows need no room of their own."""
    table = data.table
    reference: Reference = {}
    predicted: dict[str, FloatArray] = {}
    for name in parts:
        found: dict[str, list[FloatArray]] = {baseline: [] for baseline in (_MODEL, *predictors)}
        index = table.rows[name]
        for start in range(0, len(index), BLOCK):
            block = gather(table.tensors, index[start : start + BLOCK])
            found[_MODEL].append(module.predict_rows(block))
            flat = _flat(block, encoder) if predictors else np.empty((0, 0))
            for baseline, predict in predictors.items():
                found[baseline].append(predict(flat))
        predictions = {baseline: np.concatenate(blocks) for baseline, blocks in found.items()}
        predicted[name] = predictions.pop(_MODEL)
        reference[name] = predictions
    return reference, predicted


def _flat(rows: Batch, encoder: Encoder) -> FloatArray:
    return flatten(Encoded(rows[0].numpy(), rows[1].numpy()), encoder.features)


def predict_val(
    module: ScoreModule, data: TableDataModule, encoder: Encoder, rows: Rows, folder: Path
) -> None:
    """Writes `predictions.parquet` with the val rows alone: all that one trial of many must leave."""
    _, predicted = _predict_parts(module, data, encoder, {}, ["val"])
    columns = {
        "row": rows.split.val + 1,
        "split": "val",
        "actual": rows.target(rows.split.val),
        "predicted": predicted["val"],
    }
    pd.DataFrame(columns).to_parquet(folder / PREDICTIONS, index=False)


def judge(
    *,
    scored_on: str,
    table: Table,
    predicted: FloatArray,
    reference: Mapping[str, FloatArray],
    best: str,
    val: tuple[FloatArray, FloatArray] | None,
    data: DataFacts,
) -> Judgement:
    """Scores predictions on the rows of `table`, beside the baselines' on the same rows.

    Args:
        scored_on: the split that `table` is.
        table: the scored rows.
        predicted: (N,) in the target's unit.
        reference: baseline -> (N,), `mean` among them.
        best: the baseline to be judged against, chosen on other rows.
        val: (predicted, actual) of the val rows, for the conformal width; None when they are the scored ones.
        data: unit, noise floor, columns left out and leaks allowed.
    """
    actual = table.target
    scores = score(predicted, actual)
    others = {name: score(values, actual) for name, values in reference.items()}
    against_best = metrics.paired_difference(predicted, reference[best], actual)
    against_mean = metrics.paired_difference(predicted, reference["mean"], actual)
    skill = 1 - scores.rmse.value / others["mean"].rmse.value
    return Judgement(
        scored_on="val" if scored_on == "val" else "test",
        scores=scores,
        baselines=others,
        best_baseline=best,
        against_best=against_best,
        against_mean=against_mean,
        skill=skill,
        conformal=None if val is None else conformal(*val, predicted, actual),
        slices=slice_errors(table, predicted),
        verdict=give_verdict(scores, best, others[best], against_best, against_mean, skill, data),
    )


def score(predicted: FloatArray, actual: FloatArray) -> Scores:
    """RMSE, MAE, R2 and bias with intervals."""
    return Scores(**metrics.scores(predicted, actual))


def conformal(
    val_predicted: FloatArray, val_actual: FloatArray, predicted: FloatArray, actual: FloatArray
) -> Conformal:
    """The 90 % half-width from val, and how many of the scored rows it holds."""
    half_width = metrics.conformal_half_width(val_predicted, val_actual, coverage=COVERAGE)
    return Conformal(
        level=COVERAGE,
        half_width=half_width,
        coverage=float(np.mean(np.abs(predicted - actual) <= half_width)),
    )


def slice_errors(table: Table, predicted: FloatArray) -> list[Slice]:
    """Errors by each level of each category and flag among the features."""
    slices = []
    for name in table.dataset.of_kind("category", "flag"):
        values = table.frame[name]
        for level in sorted(values.dropna().unique()):
            rows = (values == level).to_numpy()
            if rows.sum() < _MIN_SLICE:
                continue
            scores = metrics.scores(predicted[rows], table.target[rows])
            slices.append(
                Slice(
                    column=name,
                    level=str(level) if isinstance(level, str) else f"{level:g}",
                    n=int(rows.sum()),
                    rmse=scores["rmse"].value,
                    mae=scores["mae"],
                    bias=scores["bias"],
                )
            )
    return slices


def give_verdict(
    scores: Scores,
    best: str,
    best_scores: Scores,
    against_best: Interval,
    against_mean: Interval,
    skill: float,
    data: DataFacts,
) -> Verdict:
    """One line in words. A difference counts only if its paired interval excludes zero."""
    n = metrics.decimals(max(abs(against_best.low), abs(against_best.high)), 3)
    gap = (
        f"RMSE {against_best.value:+.{n}f} {data.unit}".rstrip()
        + f", 95 % interval {against_best.low:+.{n}f} to {against_best.high:+.{n}f}"
    )
    if suspicion := _suspicion(scores, best, best_scores, data):
        return Verdict(kind="suspicious", line=f"Suspiciously good, look for a leak: {suspicion}.")
    if against_mean.high >= 0 or skill < _MIN_SKILL:
        return Verdict(
            kind="no better than the mean",
            line=f"No better than the mean: skill {skill:+.1%}.{_left_out(data)}",
        )
    if against_best.low > 0:
        return Verdict(kind="worse", line=f"Worse than {best}: {gap}.{_left_out(data)}")
    if against_best.high < 0:
        return Verdict(kind="beats", line=f"Beats {best}: {gap}.{_left_out(data)}")
    return Verdict(
        kind="matches", line=f"Matches {best}: {gap}, so the difference is noise.{_left_out(data)}"
    )


def _suspicion(scores: Scores, best: str, best_scores: Scores, data: DataFacts) -> str | None:
    if data.allowed_leaks:
        names = ", ".join(data.allowed_leaks)
        return f"{names} {'gives' if len(data.allowed_leaks) == 1 else 'give'} the target away, allowed by data.allow_leaks"
    n = metrics.decimals(scores.rmse.value, 3)
    if data.noise_floor is not None and scores.rmse.high < data.noise_floor:
        return f"RMSE {scores.rmse.value:.{n}f} (at most {scores.rmse.high:.{n}f}) is below the noise floor of {data.noise_floor:g}"
    if scores.r2.value > _TOO_GOOD_R2:
        return f"R2 {scores.r2.value:.4f} is more than such data allow"
    if scores.rmse.value < _TOO_GOOD_RATIO * best_scores.rmse.value:
        return f"RMSE {scores.rmse.value:.{n}f} is less than half of {best}'s {best_scores.rmse.value:.{n}f}"
    return None


def _left_out(data: DataFacts) -> str:
    if not data.left_out_signal:
        return ""
    columns = list(data.left_out_signal.items())
    names = [f"{name} ({share:.0%} of the variance alone)" for name, share in columns[:3]]
    names += [name for name, _ in columns[3:10]]
    more = f" and {len(columns) - 10} more" if len(columns) > 10 else ""  # noqa: PLR2004 - those named
    return f" Left out though they carry signal: {', '.join(names)}{more}."
