"""W&B's view of a run: pure functions of its record and folder, in plain values for JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from studperf.config.paths import find_file
from studperf.record.files import PREDICTIONS, RECORD, read_predictions
from studperf.record.record import RunRecord
from studperf.record.shape import Judgement
from studperf.report.views.run import RunView, view_run
from studperf.tracking import keys

BUNDLE = "bundle"
PLOTS = "plots"

Table = dict[str, list[Any]]
"""A table for W&B: names under `columns`, rows under `data`."""


def config_of(record: RunRecord) -> dict[str, Any]:
    """Return the resolved configuration, with the run's facts below `record`.

    The facts are what is known beside the configuration: commit, lock, data, versions.
    """
    facts = record.model_dump(
        mode="json",
        include={
            "name",
            "overrides",
            "model",
            "git",
            "lock_sha256",
            "versions",
            "data",
            "n_parameters",
            "monitor",
            "started",
        },
    )
    # Each of two dozen columns has ten settings, most of them null: a table of runs is readable
    # without these.
    columns = {}
    for name, column in record.config["data"]["columns"].items():
        columns[name] = {key: value for key, value in column.items() if value is not None}
    return {
        **record.config,
        "data": {**record.config["data"], "columns": columns},
        keys.RECORD: facts,
    }


def row_of(row: dict[str, float | int], best: float | None) -> dict[str, float | int]:
    """Return an epoch's row for W&B, with the watched metric's best value so far."""
    wanted = (keys.EPOCH, *keys.CURVES)
    kept = {key: row[key] for key in wanted if key in row}
    if best is not None:
        kept[keys.BEST_VALUE] = best
    return kept


def summary_of(record: RunRecord) -> dict[str, Any]:
    """Return one value a key: scores with intervals, baselines, skill, verdict, timings."""
    values: dict[str, Any] = {keys.STATUS: record.status}
    for what, seconds in record.timings_s.items():
        values[keys.duration(what)] = seconds
    if record.best_epoch is not None:
        values[keys.BEST_EPOCH] = record.best_epoch
    if record.best_value is not None:
        values[keys.BEST_VALUE] = record.best_value
    if record.judgement is not None:
        values |= _scores_of(record.judgement)
    return values


def _scores_of(judgement: Judgement) -> dict[str, Any]:
    """Return the summary's values of a judgement."""
    values: dict[str, Any] = {}
    scored_on = judgement.scored_on
    for name in keys.SCORES:
        interval = getattr(judgement.scores, name)
        values[keys.score(scored_on, name)] = interval.value
        values[keys.score(scored_on, name, "low")] = interval.low
        values[keys.score(scored_on, name, "high")] = interval.high
    for name, scores in judgement.baselines.items():
        values[keys.baseline(name)] = scores.rmse.value

    values |= {
        keys.SKILL: judgement.skill,
        keys.AGAINST_BEST: judgement.against_best.value,
        f"{keys.AGAINST_BEST}_low": judgement.against_best.low,
        f"{keys.AGAINST_BEST}_high": judgement.against_best.high,
        keys.VERDICT: judgement.verdict.kind,
        keys.VERDICT_LINE: judgement.verdict.line,
    }
    band = judgement.conformal
    if band is not None:
        values[keys.CONFORMAL_WIDTH] = band.half_width
        values[keys.CONFORMAL_COVERAGE] = band.coverage
    return values


def tables_of(record: RunRecord, folder: Path, *, n_predictions: int) -> dict[str, Table]:
    """Return the tables of slices, baselines and predictions, by key.

    Predictions are a sample of the scored rows: the scores alone, nothing that tells who they
    belong to.
    """
    judgement = record.judgement
    if judgement is None:
        return {}
    view = view_run(record)
    tables = {keys.SLICES: _slices_table(view), keys.BASELINES: _baselines_table(view)}
    if n_predictions and (folder / PREDICTIONS).is_file():
        # Two digits beyond what is shown, for who computes on.
        n_decimals = view.digits.decimals + 2
        table = _predictions_table(folder, judgement, n_predictions, n_decimals)
        tables[keys.PREDICTIONS] = table
    return tables


def _slices_table(view: RunView) -> Table:
    """Return the errors of each group of rows that is large enough to say something."""
    rows = []
    for part in view.slices:
        mae = part.mae
        errors = [part.rmse, mae.value, mae.low, mae.high, part.bias.value]
        rows.append([part.column, part.level, part.n, *errors])
    columns = ["column", "level", "n", "rmse", "mae", "mae_low", "mae_high", "bias"]
    return {"columns": columns, "data": rows}


def _baselines_table(view: RunView) -> Table:
    """Return the scores of the model and of each baseline."""
    rows = []
    for predictor in view.predictors:
        values = [getattr(predictor.scores, metric).value for metric in keys.SCORES]
        rows.append([predictor.name, *values])
    return {"columns": ["predictor", *keys.SCORES], "data": rows}


def _predictions_table(folder: Path, judgement: Judgement, n: int, n_decimals: int) -> Table:
    """Return n of the scored rows, always the same ones, in the table's order."""
    frame = read_predictions(folder)
    frame = frame[frame["split"] == judgement.scored_on]
    frame = frame.sample(min(len(frame), n), random_state=0).sort_index()
    frame = frame.assign(error=frame["predicted"] - frame["actual"])
    columns = ["actual", "predicted", "error", *judgement.baselines]
    return {"columns": columns, "data": frame[columns].round(n_decimals).to_numpy().tolist()}


def images_of(folder: Path) -> dict[str, str]:
    """Return the paths of the run folder's plots, by key."""
    paths = sorted((folder / PLOTS).glob("*.png"))
    return {keys.plot(path.stem): str(path) for path in paths}


def dataset_artifact(record: RunRecord) -> dict[str, Any]:
    """Return the table that the run learnt from, by reference with its md5, never its rows.

    A simulated table has no file; its law stands in for one.
    """
    data = record.data
    facts = {
        "dataset": data.name,
        "md5": data.md5,
        "rows": data.n_rows,
        "target": data.target,
        "unit": data.unit,
    }
    if data.is_simulated:
        facts["simulate"] = record.config["data"]["source"]["simulate"]

    name = data.name
    if data.is_simulated and name != "simulated":
        name = f"{name}-simulated"
    reference = None
    if data.path is not None and not data.is_simulated:
        path = find_file(data.path).resolve()
        reference = {"uri": path.as_uri(), "md5": data.md5, "size": path.stat().st_size}
    return {
        "name": name,
        "type": "dataset",
        "metadata": facts,
        "reference": reference,
    }


def model_artifact(record: RunRecord, folder: Path) -> dict[str, Any] | None:
    """Return the run's bundle as its one model artifact; None if the run left none."""
    if not (folder / BUNDLE / "manifest.json").is_file():
        return None
    metadata: dict[str, Any] = {
        "run": record.name,
        "monitor": record.monitor,
        "best_value": record.best_value,
        "data_md5": record.data.md5,
        "split_sha256": record.data.split_sha256,
        "weights_sha256": record.weights_sha256,
        "commit": record.git.commit if record.git else None,
    }
    if record.judgement is not None:
        metadata |= {
            "scored_on": record.judgement.scored_on,
            "rmse": record.judgement.scores.rmse.value,
            "verdict": record.judgement.verdict.line,
        }
    # W&B takes no other letters in an artifact's name.
    model = re.sub(r"[^A-Za-z0-9_.-]", "-", record.model)

    aliases = ["latest"]
    if is_best_so_far(record, folder):
        aliases.append("best")
    return {
        "name": f"studperf-{model}",
        "type": "model",
        "metadata": metadata,
        "folder": str((folder / BUNDLE).resolve()),
        "aliases": aliases,
    }


def is_best_so_far(record: RunRecord, folder: Path) -> bool:
    """Return True if no peer beside this run has a better value of the watched metric.

    Peers are finished runs of the same model on the same rows.
    """
    if record.best_value is None:
        return False
    # All watched metrics but this one are errors, of which less is better.
    sign = -1 if record.monitor == "val/r2" else 1
    for path in folder.resolve().parent.glob(f"*/{RECORD}"):
        if path.parent == folder.resolve():
            continue
        # Not RunRecord.load: a study has hundreds of them, of which few values are wanted.
        other = json.loads(path.read_bytes())
        if not _is_peer(other, record):
            continue
        value = other.get("best_value")
        if isinstance(value, int | float) and sign * value < sign * record.best_value:
            return False
    return True


def _is_peer(other: dict[str, Any], record: RunRecord) -> bool:
    """Return True if another run's record is of a finished run of this model on these rows."""
    if other.get("status") != "finished":
        return False
    if other.get("model") != record.model or other.get("monitor") != record.monitor:
        return False
    data = other["data"]
    is_same_table = data["md5"] == record.data.md5
    return bool(is_same_table and data["split_sha256"] == record.data.split_sha256)
