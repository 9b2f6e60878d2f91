"""What the benchmarks share: interleaved rounds, processes, tables."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
CSV = ROOT / "data" / "ai_impact_student_performance_dataset.csv"

Values = dict[str, float]
"""Column -> value, of one contender in one round."""
Rounds = dict[str, list[Values]]
"""Contender -> its rounds."""

_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "WANDB_MODE": "disabled",
}


@dataclass(frozen=True)
class Options:
    """How much to measure."""

    quick: bool
    rounds: int


@dataclass(frozen=True)
class Bar:
    """What must hold."""

    what: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether it holds."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    def __str__(self) -> str:
        """As a line below the table."""
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("at most", self.at_most), ("at least", self.at_least))
            if bound is not None
        ]
        return f"{self.what}: {self.value:.2f}, {' and '.join(bounds)} wanted: {'met' if self.is_met else 'MISSED'}"


@dataclass(frozen=True)
class Report:
    """One table.

    Args:
        title: what it is of.
        rounds: contender -> its rounds.
        columns: in order; ratios are shown of the first, and of those in `ratios`.
        against: the contender whose ratio is 1.
        bars: what must hold.
        notes: what a reader must know to judge the numbers.
        ratios: columns to be shown as ratios too.
    """

    title: str
    rounds: Rounds
    columns: tuple[str, ...]
    against: str
    bars: tuple[Bar, ...] = ()
    notes: tuple[str, ...] = ()
    ratios: tuple[str, ...] = ()

    def header(self) -> list[str]:
        """Names of the table's columns."""
        return ["", *(f"ratio of {column}" for column in self._ratio_columns), *self.columns]

    def cells(self) -> list[list[str]]:
        """The table's rows, as text."""
        return [
            [
                name,
                *(
                    _ratio_cell(self.rounds, name, self.against, column)
                    for column in self._ratio_columns
                ),
                *(
                    _cell([values[column] for values in rounds if column in values])
                    for column in self.columns
                ),
            ]
            for name, rounds in self.rounds.items()
        ]

    @property
    def _ratio_columns(self) -> tuple[str, ...]:
        return (self.columns[0], *self.ratios)


def ratio(rounds: Rounds, name: str, against: str, column: str) -> float:
    """Median over the rounds of one contender's value by another's in the same round."""
    pairs = zip(rounds[name], rounds[against], strict=True)
    return statistics.median(first[column] / second[column] for first, second in pairs)


def interleave(contenders: Mapping[str, Callable[[], Values]], n_rounds: int) -> Rounds:
    """Measures A B A B ...: what slows the machine for a while slows all of them."""
    rounds: Rounds = {name: [] for name in contenders}
    for i in range(n_rounds):
        for name, contender in contenders.items():
            sys.stderr.write(
                f"\r\033[Kround {i + 1}/{n_rounds}: {name}" if sys.stderr.isatty() else ""
            )
            rounds[name].append(contender())
    sys.stderr.write("\r\033[K" if sys.stderr.isatty() else "")
    return rounds


class Lane:
    """A process of its own that stays alive between rounds: no contender sees another's imports, threads or environment."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def run(self, work: Callable[..., Values], *arguments: Any) -> Values:  # noqa: ANN401 - handed on to `work`
        """What `work`, a function at the top of the script, returns there."""
        return self._pool.submit(work, *arguments).result()

    def close(self) -> None:
        """Ends the process."""
        self._pool.shutdown()


@contextmanager
def open_lanes(contenders: Iterable[str], options: Options) -> Iterator[dict[str, Lane]]:
    """A lane for each contender; with --quick, where nothing is compared, they share one and its imports."""
    names = list(contenders)
    lanes = dict.fromkeys(names, Lane()) if options.quick else {name: Lane() for name in names}
    try:
        yield lanes
    finally:
        for lane in set(lanes.values()):
            lane.close()


def timed_process(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    code: int = 0,
) -> Values:
    """Wall seconds, CPU seconds and peak memory (resident set, megabytes) of a command.

    Raises:
        RuntimeError: it did not end with this exit code; the message holds what it printed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own commands
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = process.stdout.read() if process.stdout is not None else ""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != code:
        raise RuntimeError(
            f"{' '.join(command)} ended with {process.returncode}, not {code}:\n{output}"
        )
    return {
        "wall s": wall,
        "CPU s": usage.ru_utime + usage.ru_stime,
        "peak MB": usage.ru_maxrss / 1024,
    }


def run_script(
    measure: Callable[[Options], list[Report]] | Mapping[str, Callable[[Options], list[Report]]],
) -> None:
    """A benchmark's command: parses its flags, measures, prints the tables, and writes them as JSON where asked.

    Args:
        measure: all of it, or its parts by name, of which `--only` takes some.
    """
    parts = measure if isinstance(measure, Mapping) else {"all": measure}
    question = (sys.modules["__main__"].__doc__ or "").strip().splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes: shows that it runs; the times mean nothing",
    )
    parser.add_argument(
        "--rounds", type=int, help="how often each contender is measured (5, or 1 with --quick)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the tables there too")
    if len(parts) > 1:
        parser.add_argument(
            "--only", nargs="+", choices=parts, metavar="PART", help=f"some of {', '.join(parts)}"
        )
    given = parser.parse_args()
    os.environ.update(_ENVIRONMENT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    load = os.getloadavg()[0]
    options = Options(given.quick, given.rounds or (1 if given.quick else 5))
    chosen = getattr(given, "only", None) or parts
    reports = [report for name, part in parts.items() if name in chosen for report in part(options)]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(f"\n{question} (load average {load:.1f} at the start)", style="bold")
    for report in reports:
        show(report, console)
    if given.json is not None:
        tables = [
            {
                **asdict(r),
                "header": r.header(),
                "cells": r.cells(),
                "bars": [str(bar) for bar in r.bars],
            }
            for r in reports
        ]
        content = {"question": question, "load": load, "quick": given.quick, "reports": tables}
        given.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


def show(report: Report, console: Console) -> None:
    """The table, and below it notes and bars."""
    table = Table(title=f"{report.title} (ratios: by {report.against})", title_justify="left")
    for i, name in enumerate(report.header()):
        table.add_column(name, justify="right" if i else "left", no_wrap=not i)
    for cells in report.cells():
        table.add_row(*cells)
    console.print(table)
    for note in report.notes:
        console.print(note, style="dim", soft_wrap=True, markup=False)
    for bar in report.bars:
        console.print(
            str(bar), style="green" if bar.is_met else "bold red", soft_wrap=True, markup=False
        )


def _ratio_cell(rounds: Rounds, name: str, against: str, column: str) -> str:
    has_both = all(column in values for values in (*rounds[name], *rounds[against]))
    return f"{ratio(rounds, name, against, column):.2f}" if has_both else "-"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle = statistics.median(values)
    return (
        _figure(middle)
        if len(values) == 1
        else f"{_figure(middle)} ({_figure(min(values))}-{_figure(max(values))})"
    )


def _figure(value: float) -> str:
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3  # noqa: PLR2004 - three figures
    return f"{value:,.{digits}f}"
