"""What W&B is told about a run: pure functions of its record and folder, in plain values that JSON can hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from studperf.config import find_file
from studperf.record import PREDICTIONS, RECORD, Judgement, RunRecord, read_predictions
from studperf.tracking import keys

BUNDLE = "bundle"
PLOTS = "plots"
MIN_SLICE = 20
"""Fewer rows than this say little about a group and much about its members."""

Table = dict[str, list[Any]]
"""`columns`: their names; `data`: the rows."""


def config_of(record: RunRecord) -> dict[str, Any]:
    """The resolved configuration, nested, and below `record` what is known beside it: commit, lock, data, versions."""
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
    # Each of two dozen columns has ten settings, most of them null: a table of runs is readable without these.
    columns = {
        name: {key: value for key, value in column.items() if value is not None}
        for name, column in record.config["data"]["columns"].items()
    }
    return {
        **record.config,
        "data": {**record.config["data"], "columns": columns},
        keys.RECORD: facts,
    }


def row_of(row: dict[str, float | int], best: float | None) -> dict[str, float | int]:
    """An epoch of the history, with the watched metric's best so far."""
    kept = {key: row[key] for key in (keys.EPOCH, *keys.CURVES) if key in row}
    return kept if best is None else {**kept, keys.BEST_VALUE: best}


def summary_of(record: RunRecord) -> dict[str, Any]:
    """One value for each key: scores with intervals, baselines, skill, verdict, timings."""
    values: dict[str, Any] = {keys.STATUS: record.status}
    values |= {keys.duration(what): seconds for what, seconds in record.timings_s.items()}
    if record.best_epoch is not None:
        values[keys.BEST_EPOCH] = record.best_epoch
    if record.best_value is not None:
        values[keys.BEST_VALUE] = record.best_value
    return values | (_scores_of(record.judgement) if record.judgement is not None else {})


def _scores_of(judgement: Judgement) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in keys.SCORES:
        interval = getattr(judgement.scores, name)
        values[keys.score(judgement.scored_on, name)] = interval.value
        values |= {
            keys.score(judgement.scored_on, name, end): getattr(interval, end)
            for end in ("low", "high")
        }
    values |= {
        keys.baseline(name): scores.rmse.value for name, scores in judgement.baselines.items()
    }
    values |= {
        keys.SKILL: judgement.skill,
        keys.AGAINST_BEST: judgement.against_best.value,
        f"{keys.AGAINST_BEST}_low": judgement.against_best.low,
        f"{keys.AGAINST_BEST}_high": judgement.against_best.high,
        keys.VERDICT: judgement.verdict.kind,
        keys.VERDICT_LINE: judgement.verdict.line,
    }
    if (band := judgement.conformal) is not None:
        values |= {keys.CONFORMAL_WIDTH: band.half_width, keys.CONFORMAL_COVERAGE: band.coverage}
    return values


def tables_of(record: RunRecord, folder: Path, *, n_predictions: int) -> dict[str, Table]:
    """Slices, baselines and a sample of the scored rows; of these the scores alone, nothing that tells who they belong to."""
    judgement = record.judgement
    if judgement is None:
        return {}
    slices = [
        [
            part.column,
            part.level,
            part.n,
            part.rmse,
            part.mae.value,
            part.mae.low,
            part.mae.high,
            part.bias.value,
        ]
        for part in judgement.slices
        if part.n >= MIN_SLICE
    ]
    others = {record.model: judgement.scores, **judgement.baselines}
    tables: dict[str, Table] = {
        keys.SLICES: {
            "columns": ["column", "level", "n", "rmse", "mae", "mae_low", "mae_high", "bias"],
            "data": slices,
        },
        keys.BASELINES: {
            "columns": ["predictor", *keys.SCORES],
            "data": [
                [name, *(getattr(scores, metric).value for metric in keys.SCORES)]
                for name, scores in others.items()
            ],
        },
    }
    if n_predictions and (folder / PREDICTIONS).is_file():
        frame = read_predictions(folder)
        frame = frame[frame["split"] == judgement.scored_on]
        frame = frame.sample(min(len(frame), n_predictions), random_state=0).sort_index()
        frame = frame.assign(error=frame["predicted"] - frame["actual"])
        columns = ["actual", "predicted", "error", *judgement.baselines]
        tables[keys.PREDICTIONS] = {
            "columns": columns,
            "data": frame[columns].round(4).to_numpy().tolist(),
        }
    return tables


def images_of(folder: Path) -> dict[str, str]:
    """The run folder's plots, by key."""
    return {keys.plot(path.stem): str(path) for path in sorted((folder / PLOTS).glob("*.png"))}


def dataset_artifact(record: RunRecord) -> dict[str, Any]:
    """The table that the run learnt from: by reference with its md5, never its rows.

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
    reference = (
        find_file(data.path).resolve() if data.path is not None and not data.is_simulated else None
    )
    return {
        "name": f"{data.name}-simulated"
        if data.is_simulated and data.name != "simulated"
        else data.name,
        "type": "dataset",
        "metadata": facts,
        "reference": {"uri": reference.as_uri(), "md5": data.md5, "size": reference.stat().st_size}
        if reference is not None
        else None,
    }


def model_artifact(record: RunRecord, folder: Path) -> dict[str, Any] | None:
    """The bundle, as the one model artifact of the run; None if the run left none."""
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
    is_best = is_best_so_far(record, folder)
    # W&B takes no other letters in an artifact's name.
    model = re.sub(r"[^A-Za-z0-9_.-]", "-", record.model)
    return {
        "name": f"studperf-{model}",
        "type": "model",
        "metadata": metadata,
        "folder": str((folder / BUNDLE).resolve()),
        "aliases": ["latest", "best"] if is_best else ["latest"],
    }


def is_best_so_far(record: RunRecord, folder: Path) -> bool:
    """Whether no finished run beside this one, of the same model on the same rows, has a better value of the watched metric."""
    if record.best_value is None:
        return False
    sign = -1 if record.monitor == "val/r2" else 1
    for path in folder.resolve().parent.glob(f"*/{RECORD}"):
        if path.parent != folder.resolve():
            # Not RunRecord.load: a study has hundreds of them, of which three values are wanted.
            other = json.loads(path.read_bytes())
            value = other.get("best_value")
            is_peer = (
                other.get("status") == "finished"
                and other.get("model") == record.model
                and other.get("monitor") == record.monitor
            )
            is_peer = (
                is_peer
                and other["data"]["md5"] == record.data.md5
                and other["data"]["split_sha256"] == record.data.split_sha256
            )
            if (
                is_peer
                and isinstance(value, int | float)
                and sign * value < sign * record.best_value
            ):
                return False
    return True
