"""Run models and peers over the suite of tables, each cell in a file of its own.

    python benchmarks/tables/run.py FOLDER --half A --models mlp,tabm --peers all --splits 3
    python benchmarks/tables/run.py FOLDER --summary

A cell is one model or peer, on one split of one table. What is there is not run again, so an
interrupted suite goes on where it stopped; delete FOLDER/cells/NAME to run a model anew. Extra
words behind `--` go to every run of ours, whose name then needs `--as`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables.build import SUITE, half_of
from tables.summary import print_summary

HERE = Path(__file__).parent
PEERS = ("ridge", "forest", "lightgbm", "xgboost", "catboost", "realmlp-td")
# A cell that takes longer is stopped and counts as not there.
TIMEOUT_S = 3600


def main() -> None:
    """Run the cells that are asked for, then print how the models stand."""
    ours = []
    words = sys.argv[1:]
    if "--" in words:
        ours = words[words.index("--") + 1 :]
        words = words[: words.index("--")]
    asked = _parse(words)
    folder = asked.folder.resolve()
    tables = [name for name in _tables() if asked.half in ("all", half_of(name))]
    if asked.tables:
        tables = [name for name in tables if name in asked.tables.split(",")]

    if not asked.summary:
        peers = list(PEERS) if asked.peers == "all" else _names(asked.peers)
        python = _peers_environment(folder) if peers else None
        cells: list[_Cell] = []
        for split in range(asked.splits):
            for name in tables:
                cells += [_Peer(python, folder, name, peer, split) for peer in peers]
                for model in _names(asked.models):
                    label = asked.label or model
                    cells.append(_Ours(folder, name, model, label, split, ours))
        _run_all(cells, asked.jobs)
    print_summary(folder, tables, PEERS)


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=["A", "B", "all"], default="A")
    parser.add_argument("--tables", default="", help="names, parted by commas")
    parser.add_argument("--models", default="", help="models of ours, parted by commas")
    parser.add_argument("--peers", default="", help="peers, parted by commas, or all")
    parser.add_argument("--splits", type=int, default=3, help="of five")
    parser.add_argument("--as", dest="label", default="", help="the name of the cells of ours")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="print what is there, run nothing")
    return parser.parse_args(words)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _tables() -> list[str]:
    return list(yaml.safe_load(SUITE.read_text(encoding="utf-8"))["tables"])


class _Cell:
    """One model or peer on one split of one table."""

    def __init__(self, folder: Path, table: str, label: str, split: int) -> None:
        self.place = folder / "tables" / table
        self.table = table
        self.label = label
        self.split = split
        self.out = folder / "cells" / label / f"{table}.{split}.json"

    def run(self) -> None:
        raise NotImplementedError


class _Peer(_Cell):
    def __init__(
        self, python: Path | None, folder: Path, table: str, peer: str, split: int
    ) -> None:
        super().__init__(folder, table, peer, split)
        self.python = python

    def run(self) -> None:
        command = [str(self.python), "-W", "ignore", str(HERE / "peers.py"), self.label]
        command += [str(self.place), str(self.split), str(self.out)]
        _call(command, self.place)


class _Ours(_Cell):
    """A run as a user would start it; its record says the scores."""

    def __init__(
        self, folder: Path, table: str, model: str, label: str, split: int, words: list[str]
    ) -> None:
        super().__init__(folder, table, label, split)
        self.model = model
        self.words = words

    def run(self) -> None:
        runs = self.out.parent / "runs" / f"{self.table}.{self.split}"
        command = [sys.executable, "-m", "studperf.train", f"data={self.table}"]
        command += [f"model={self.model}", f"seed={self.split}", f"data.split.seed={self.split}"]
        command += [f"runs={runs}", "tracking.wandb.mode=disabled", "export=false", "plots=false"]
        command += ["progress=false", "threads=1", *self.words]
        start = time.perf_counter()
        # Datasets lie in conf/data/ below the folder.
        _call(command, self.place.parents[1])
        seconds = time.perf_counter() - start

        records = list(runs.glob("*/record.json"))
        record = json.loads(records[-1].read_text(encoding="utf-8"))
        if record["status"] != "finished":
            raise RuntimeError(f"{record['status']}: {record.get('reason')}")
        judgement = record["judgement"]
        predictions = pd.read_parquet(records[-1].parent / "predictions.parquet")
        test = predictions.loc[predictions["split"] == "test", "predicted"]
        np.save(self.out.with_suffix(".npy"), test.to_numpy())
        result = {
            "val": record["best_value"],
            "test": judgement["scores"]["rmse"]["value"],
            "seconds": round(seconds, 2),
            "fit_s": record["timings_s"].get("fit"),
            "n_epochs": len(record["history"]),
            "verdict": judgement["verdict"]["line"],
        }
        self._write_baselines(judgement)
        _write(self.out, result)

    def _write_baselines(self, judgement: dict[str, Any]) -> None:
        """Write the baselines that the run was judged beside as cells of their own."""
        for name, standing in judgement["choice"]["standings"].items():
            out = self.out.parents[1] / f"baseline-{name}" / self.out.name
            out.parent.mkdir(parents=True, exist_ok=True)
            test = judgement["baselines"][name]["rmse"]["value"]
            # In place of val: their error by cross-validation on the training rows.
            _write(out, {"val": standing["rmse"]["value"], "test": test, "seconds": 0.0})


def _write(out: Path, result: dict[str, Any]) -> None:
    half_written = out.with_suffix(".part")
    half_written.write_text(json.dumps(result), encoding="utf-8")
    half_written.rename(out)


def _call(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(  # noqa: S603 - commands of ours
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"exit {done.returncode}: {(done.stderr or done.stdout)[-400:]}")


def _run_all(cells: list[_Cell], n_jobs: int) -> None:
    missing = [cell for cell in cells if not cell.out.exists()]
    _say(f"{len(cells) - len(missing)} cells are there, {len(missing)} to run")
    start = time.perf_counter()
    n_done = 0

    def run(cell: _Cell) -> None:
        nonlocal n_done
        cell.out.parent.mkdir(parents=True, exist_ok=True)
        try:
            cell.run()
            outcome = json.loads(cell.out.read_text(encoding="utf-8"))
            told = f"test {outcome['test']:.4g}, {outcome['seconds']:.0f} s"
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            told = f"FAILED: {str(error)[-300:]}"
            cell.out.with_suffix(".failed").write_text(str(error), encoding="utf-8")
        n_done += 1
        left_s = (time.perf_counter() - start) / n_done * (len(missing) - n_done)
        _say(
            f"[{n_done}/{len(missing)}, {left_s / 60:.0f} min left] "
            f"{cell.label} on {cell.table}, split {cell.split}: {told}"
        )

    with ThreadPoolExecutor(n_jobs) as pool:
        list(pool.map(run, missing))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _peers_environment(folder: Path) -> Path:
    place = folder / "peers"
    python = place / "bin" / "python"
    wanted = (HERE / "peers.txt").read_text(encoding="utf-8")
    stamp = place / "installed.txt"
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        venv.create(place, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "-r", str(HERE / "peers.txt")]
        subprocess.run(pip, check=True)  # noqa: S603 - pins of peers.txt
        stamp.write_text(wanted, encoding="utf-8")
    return python


if __name__ == "__main__":
    main()
