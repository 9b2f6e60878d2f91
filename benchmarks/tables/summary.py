"""Say how models stand beside peers: ratios of test errors, geometric means over tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

N_RESAMPLES = 2000


# What a cell says: test and val errors, seconds.
Cell = dict[str, float]
# The cells of a model, by table and split.
Cells = dict[tuple[str, int], Cell]


def read_cells(folder: Path, tables: list[str]) -> dict[str, Cells]:
    """Return each model's cells by table and split."""
    cells: dict[str, Cells] = {}
    for path in sorted((folder / "cells").glob("*/*.json")):
        table, split = path.stem.rsplit(".", 1)
        if table in tables:
            cell = json.loads(path.read_text(encoding="utf-8"))
            cells.setdefault(path.parent.name, {})[table, int(split)] = cell
    return cells


def best_on_val(cells: dict[str, Cells], members: tuple[str, ...]) -> Cells:
    """Return, for each split that all members ran on, the cell of the member best on val."""
    there = [cells[name] for name in members if name in cells]
    if not there:
        return {}
    common = set.intersection(*(set(member) for member in there))
    return {key: min((m[key] for m in there), key=lambda cell: cell["val"]) for key in common}


def ratios(ours: Cells, theirs: Cells) -> dict[str, float]:
    """Return for each table the geometric mean over splits of our test error over theirs."""
    logs: dict[str, list[float]] = {}
    for key in ours.keys() & theirs.keys():
        ratio = ours[key]["test"] / theirs[key]["test"]
        logs.setdefault(key[0], []).append(float(np.log(ratio)))
    return {table: float(np.exp(np.mean(values))) for table, values in logs.items()}


def interval(by_table: dict[str, float]) -> tuple[float, float, float]:
    """Return the geometric mean over tables with its 95 % interval, tables drawn anew."""
    logs = np.log(list(by_table.values()))
    rng = np.random.default_rng(0)
    draws = rng.choice(logs, (N_RESAMPLES, len(logs))).mean(1)
    low, high = np.exp(np.quantile(draws, [0.025, 0.975]))
    return float(np.exp(logs.mean())), float(low), float(high)


def print_summary(folder: Path, tables: list[str], peers: tuple[str, ...]) -> None:
    """Print each model against the peer that is best on val, and the tables where it is worst."""
    cells = read_cells(folder, tables)
    if not any(peer in cells for peer in peers):
        return
    reference = best_on_val(cells, peers)
    groups = dict(cells)
    both = best_on_val(cells, ("tabm", "realmlp")) if {"tabm", "realmlp"} <= set(cells) else {}
    if both:
        groups["best of tabm, realmlp"] = both

    table = Table(title="Test RMSE over that of the peer best on val, defaults")
    for heading in ("model", "tables", "mean ratio [95 %]", "seconds", "worst tables"):
        table.add_column(heading)
    for name, own in groups.items():
        by_table = ratios(own, reference)
        if not by_table:
            continue
        mean, low, high = interval(by_table)
        worst = sorted(by_table.items(), key=lambda pair: -pair[1])[:4]
        words = ", ".join(f"{label} {ratio:.2f}" for label, ratio in worst)
        seconds = np.mean([cell["seconds"] for cell in own.values()])
        told = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
        table.add_row(name, str(len(by_table)), told, f"{seconds:.0f}", words)
    Console(width=150).print(table)
