"""Measure a checkout's search for leaks, or its verdicts, on the pairs that tables.py builds.

    CHECKOUT/.venv/bin/python benchmarks/guard/run.py CHECKOUT OUT.tsv pairs=FOLDER [guard|verdicts] [half=A|B] [only=NAME,NAME]

Each pair becomes one line of OUT.tsv; pairs that stand there already are left out.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

_N_ROUNDS = 12
"""Rounds of advice that are followed at most."""
_TIMEOUT_S = 600
_MIN_SIGNAL = 0.02
_QUIET = ("plots=false", "export=false", "progress=false", "tracking.wandb.mode=disabled")
Line = dict[str, Any]


def main(arguments: list[str]) -> None:
    """Measure what the command line asks for."""
    plain = [word for word in arguments if "=" not in word]
    options = dict(word.split("=", 1) for word in arguments if "=" in word)
    checkout, out = Path(plain[0]).resolve(), Path(plain[1]).resolve()
    measure = {"guard": measure_guard, "verdicts": measure_verdict}[[*plain, "guard"][2]]
    folder = Path(options["pairs"])
    names = sorted(path.parent.name for path in folder.glob("*/labels.json"))
    if "only" in options:
        names = [name for name in names if name in options["only"].split(",")]
    run_pairs(names, folder, checkout, out, measure, halves=options.get("half", "AB"))


def run_pairs(
    names: list[str],
    folder: Path,
    checkout: Path,
    out: Path,
    measure: Callable[[Path, dict[str, Any], Path], Line],
    *,
    halves: str,
) -> None:
    """Append a line for each pair that has none yet."""
    seen = set()
    if out.is_file():
        seen = {line.split("\t", 1)[0] for line in out.read_text(encoding="utf-8").splitlines()}
    for name in names:
        if name in seen:
            continue
        pair = json.loads((folder / name / "labels.json").read_text(encoding="utf-8"))
        if pair["half"] not in halves:
            continue
        begun = time.perf_counter()
        try:
            line = measure(folder / name, pair, checkout)
        except Exception as error:  # noqa: BLE001 - whatever a checkout raises is a result
            line = {"fault": f"{type(error).__name__}: {error}"[:300].replace("\n", " | ")}
        found = {"pair": name, "half": pair["half"], **line}
        found["seconds"] = round(time.perf_counter() - begun, 2)
        with out.open("a", encoding="utf-8") as file:
            # One JSON object a line, after the name: columns differ between modes and checkouts.
            file.write(f"{name}\t{json.dumps(found)}\n")


def measure_guard(place: Path, pair: dict[str, Any], checkout: Path) -> Line:
    """Return what the guard refuses, warns of and misses while its advice is followed."""
    plain = yaml.safe_load((place / "data.yaml").read_text(encoding="utf-8"))
    line = follow_advice(plain, pair)
    try:
        inferred = infer(place, pair, checkout)
    except RuntimeError as error:
        return {**line, "infer": str(error)}
    columns = inferred["columns"]
    labels = pair["columns"]
    marked = [name for name in columns if columns[name]["kind"] == "leak"]
    line["inferred_leaks"] = marked
    line["inferred_false"] = [name for name in marked if labels[name][0] != "leak"]
    line["inferred_unused"] = [
        name
        for name in columns
        if columns[name]["kind"] in ("unused", "id") and labels[name][0] == "honest"
    ]
    return line


def follow_advice(plain: dict[str, Any], pair: dict[str, Any]) -> Line:
    """Mark what is refused as leak, until nothing is: then say what was wrong and what is missing."""
    labels = pair["columns"]
    leaks = {name for name in labels if labels[name][0] == "leak"}
    refused: list[list[str]] = []
    warned: dict[str, list[str]] = {}
    evidence: list[str] = []
    seconds = []
    for _ in range(_N_ROUNDS):
        begun = time.perf_counter()
        alarms, warnings, said = look(plain)
        seconds.append(round(time.perf_counter() - begun, 2))
        evidence += [text for text in said if text not in evidence]
        warned |= {" & ".join(names): names for names in warnings}
        refused += alarms
        culprits = {name for names in alarms for name in _culprits(names, leaks)}
        if not culprits:
            break
        for name in culprits:
            plain["columns"][name] = {"kind": "leak"}
        if not any(c["kind"] in ("number", "category", "flag") for c in plain["columns"].values()):
            break
    named = {name for names in refused for name in names}
    hinted = {name for names in warned.values() for name in names}
    return {
        "n_leaks": len(leaks),
        "refused": refused,
        "warned": list(warned.values()),
        "false_refused": [names for names in refused if not leaks & set(names)],
        "false_warned": [names for names in warned.values() if not leaks & set(names)],
        "missed": sorted(leaks - named - hinted),
        "only_warned": sorted((leaks - named) & hinted),
        "evidence": evidence,
        "guard_seconds": seconds,
    }


def _culprits(names: list[str], leaks: set[str]) -> list[str]:
    """Of columns that are refused together, those that a person would take away: leaks, if any is."""
    return [name for name in names if name in leaks] or names


def look(plain: dict[str, Any]) -> tuple[list[list[str]], list[list[str]], list[str]]:
    """Return what the guard refuses and warns of, each as a list of columns, and its words."""
    from studperf.config.dataset import Dataset
    from studperf.data.rows import open_good_rows

    with open_good_rows(Dataset.model_validate(plain)) as rows:
        table = rows.table(rows.sample)
    leaks: Any = importlib.import_module("studperf.data.guard.leaks")
    if hasattr(leaks, "examine"):
        found = leaks.examine(table)
        alarms = [list(leak.columns) for leak in found if leak.is_refused]
        warnings = [list(leak.columns) for leak in found if not leak.is_refused]
    else:
        found = leaks.find_leaks(table)
        found += leaks.find_pairs(table, {leak.column for leak in found})
        alarms, warnings = [[leak.column] for leak in found], []
    return alarms, warnings, [str(leak) for leak in found]


def infer(place: Path, pair: dict[str, Any], checkout: Path) -> dict[str, Any]:
    """Return the dataset that the checkout drafts from the table.

    Raises:
        RuntimeError: it drafts none.
    """
    out = place.parent / "inferred" / f"{checkout.name}_{place.name}.yaml"
    words = [str(place / "table.csv"), f"target={pair['target']}", f"name={place.name}"]
    command = [sys.executable, "-m", "studperf.data", "infer", *words, f"out={out}", "force=true"]
    done = subprocess.run(  # noqa: S603 - our own words
        command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip()[-300:])
    drafted: dict[str, Any] = yaml.safe_load(out.read_text(encoding="utf-8"))
    return drafted


def measure_verdict(place: Path, pair: dict[str, Any], checkout: Path) -> Line:
    """Return a default run's verdict beside the paired intervals of the scored rows."""
    plain = yaml.safe_load((place / "data.yaml").read_text(encoding="utf-8"))
    split = plain["split"]
    try:
        plain = infer(place, pair, checkout)
        line: Line = {"infer": "good"}
    except RuntimeError as error:
        line = {"infer": str(error)}
    plain["split"] = split
    for name, (label, _) in pair["columns"].items():
        if label == "leak":
            plain["columns"][name] = {"kind": "leak"}
    project = place.parent / "projects" / checkout.name
    (project / "conf" / "data").mkdir(parents=True, exist_ok=True)
    left_out = []
    for _ in range(_N_ROUNDS):
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        (project / "conf" / "data" / f"{place.name}.yaml").write_text(text, encoding="utf-8")
        done = train(place.name, project)
        refused = re.search(r"data\.allow_leaks=\[([^\]]*)\]", done.stdout + done.stderr)
        if done.returncode == 0 or refused is None:
            break
        for quoted in refused[1].split(","):
            name = quoted.strip().strip("'\"")
            left_out.append(name)
            plain["columns"][name] = {"kind": "leak"}
    line["refused"] = left_out
    if done.returncode:
        return {**line, "fault": (done.stderr or done.stdout).strip()[-300:]}
    return {**line, **read_run(_newest(project / "runs" / place.name), plain, pair)}


def train(name: str, project: Path) -> subprocess.CompletedProcess[str]:
    """Train the default model on a pair."""
    words = [f"data={name}", f"runs=runs/{name}", *_QUIET]
    return subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "studperf.train", *words],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )


def _newest(folder: Path) -> Path:
    return max(folder.glob("*/record.json"), key=lambda path: path.stat().st_mtime).parent


def read_run(folder: Path, plain: dict[str, Any], pair: dict[str, Any]) -> Line:
    """Return what a run says, and what its own predictions say of that."""
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    judgement = record["judgement"]
    predictions = pd.read_parquet(folder / "predictions.parquet")
    test = predictions[predictions["split"] == "test"]
    actual, predicted = test["actual"].to_numpy(), test["predicted"].to_numpy()
    error = (predicted - actual) ** 2
    gaps = {}
    baselines = [str(c) for c in test if c not in ("row", "split", "actual", "predicted")]
    for name in baselines:
        gaps[name] = paired_gap(error, (test[name].to_numpy() - actual) ** 2)
    conformal = judgement["conformal"]
    n_known = record["data"]["n_train"]
    kind = judgement["verdict"]["kind"]
    dropped = left_out_signal(plain, pair)
    said = record["data"]["left_out_signal"]
    return {
        "n_rows": [n_known, record["data"]["n_val"], record["data"]["n_test"]],
        "verdict": kind,
        "line": judgement["verdict"]["line"],
        "best": judgement["best_baseline"],
        "r2": judgement["scores"]["r2"]["value"],
        "gaps": gaps,
        "contradictions": contradictions(kind, gaps, judgement["best_baseline"]),
        "coverage": conformal["coverage"] if conformal else None,
        "dropped": dropped,
        "dropped_unsaid": [name for name in dropped if name not in said],
        "said_left_out": said,
    }


def paired_gap(error: np.ndarray, other: np.ndarray) -> list[float]:
    """Return RMSE less the other's as a share of the other's, with the ends of its 95 % interval."""
    draws = np.random.default_rng(0).integers(0, len(error), (2000, len(error)))
    ends = np.sqrt(error[draws].mean(axis=1)) - np.sqrt(other[draws].mean(axis=1))
    rmse = float(np.sqrt(other.mean()))
    value = float(np.sqrt(error.mean())) - rmse
    shares = [value, *np.quantile(ends, [0.025, 0.975])]
    return [round(float(share) / rmse, 4) for share in shares]


def contradictions(kind: str, gaps: dict[str, list[float]], best: str) -> list[str]:
    """Name what the scored rows' own intervals say against a verdict."""
    found = []
    worse = [name for name, (_, low, _) in gaps.items() if low > 0]
    if kind in ("beats", "matches", "suspicious"):
        found += [f"{kind} {best}, worse than {name}" for name in worse]
    if kind == "beats" and gaps[best][2] >= 0:
        found.append(f"beats {best}, within noise of it")
    if kind == "matches" and gaps[best][2] > 0.05:  # noqa: PLR2004 - the stated share
        found.append(f"matches {best}, up to {gaps[best][2]:.0%} behind")
    if kind.startswith("no better") and gaps["mean"][2] < 0:
        found.append("no better than the mean, better than it")
    return found


def left_out_signal(plain: dict[str, Any], pair: dict[str, Any]) -> dict[str, float]:
    """Return the honest columns that are no feature, with what each alone explains of unseen rows."""
    frame = pd.read_csv(_table_of(plain), low_memory=False)
    target = pd.to_numeric(frame[pair["target"]], errors="coerce")
    frame, target = frame[target.notna()], target[target.notna()]
    shares = {}
    for name, column in plain["columns"].items():
        is_feature = column["kind"] in ("number", "category", "flag")
        if is_feature or column["kind"] == "leak" or pair["columns"][name][0] != "honest":
            continue
        share = explained(frame[name], target.to_numpy())
        if share >= _MIN_SIGNAL:
            shares[name] = round(share, 3)
    return shares


def _table_of(plain: dict[str, Any]) -> str:
    return str(plain["source"]["path"])


def explained(values: pd.Series, target: np.ndarray) -> float:
    """Return the share of unseen rows' variance that boosted trees explain by one column alone."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import KFold, cross_val_predict

    numbers = pd.to_numeric(values, errors="coerce")
    is_number = numbers.notna().sum() >= 0.9 * values.notna().sum()
    dates = (
        pd.to_datetime(values, errors="coerce", format="mixed", utc=True) if not is_number else None
    )
    folds = KFold(5, shuffle=True, random_state=0)
    if dates is not None and dates.notna().sum() >= 0.9 * values.notna().sum():
        numbers, is_number = dates.astype("int64").astype(float), True
    if is_number:
        x = numbers.to_numpy(dtype=float)[:, None]
        trees = HistGradientBoostingRegressor(max_leaf_nodes=8, max_iter=60, random_state=0)
        guess = cross_val_predict(trees, x, target, cv=folds)
    else:
        guess = _guess_by_level(values.astype(str).to_numpy(), target, folds)
    rest = float(((target - guess) ** 2).sum())
    whole = float(((target - target.mean()) ** 2).sum())
    return 1 - rest / whole


def _guess_by_level(levels: np.ndarray, target: np.ndarray, folds: Any) -> np.ndarray:  # noqa: ANN401 - scikit-learn ships no types
    guess = np.empty(len(target))
    for train_rows, test_rows in folds.split(target):
        known = pd.Series(target[train_rows]).groupby(levels[train_rows]).agg(["sum", "count"])
        mean = target[train_rows].mean()
        means = (known["sum"] + 5 * mean) / (known["count"] + 5)
        guess[test_rows] = pd.Series(levels[test_rows]).map(means).fillna(mean)
    return guess


if __name__ == "__main__":
    main(sys.argv[1:])
