"""Runs the benchmarks one after another and writes what they found as a page.

python benchmarks/run.py [--quick] [--rounds N] [--only NAME ...] [--write docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_NO_SCRIPTS = ("common", "run")
_PACKAGES = (
    "torch",
    "lightning",
    "torchmetrics",
    "scikit-learn",
    "hydra-core",
    "optuna",
    "pandas",
    "pyarrow",
    "numpy",
)


def names() -> list[str]:
    """Every script of this folder, the one that matters most first."""
    return sorted(
        (path.stem for path in HERE.glob("*.py") if path.stem not in _NO_SCRIPTS),
        key=lambda name: (name != "steps", name),
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Runs the benchmarks one after another.")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes: shows that they run; the times mean nothing",
    )
    parser.add_argument("--rounds", type=int, help="how often each contender is measured")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names(),
        default=names(),
        metavar="NAME",
        help=f"some of {', '.join(names())}",
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page to write")
    given = parser.parse_args()
    flags = [
        *(["--quick"] if given.quick else []),
        *(["--rounds", str(given.rounds)] if given.rounds else []),
    ]
    found: dict[str, dict[str, Any]] = {}
    for name in given.only:
        found[name] = run(name, flags)
        if (
            given.write is not None
        ):  # after each script: what was measured in half an hour is not lost with the next one
            given.write.write_text(page(found, machine()), encoding="utf-8")
            sys.stdout.write(f"\nWritten to {given.write}\n")


def run(name: str, flags: list[str]) -> dict[str, Any]:
    """One script in a process of its own; what it found."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        subprocess.run(  # noqa: S603 - our own
            [sys.executable, str(HERE / f"{name}.py"), *flags, "--json", str(file)], check=True
        )
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def machine() -> list[str]:
    """Where this was measured, as lines of Markdown."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    cpu = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return [
        f"- Machine: {cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}",
        f"- Versions: Python {platform.python_version()}, {versions}",
        f"- Measured on {datetime.now(UTC):%Y-%m-%d}, one thread, contenders by turns (A B A B ...)",
    ]


def page(found: dict[str, dict[str, Any]], where: list[str]) -> str:
    """The page: each question with its tables."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; what each contender is stands at the top of its script in `benchmarks/`.",
        "",
        *where,
        "- A ratio is by the contender whose ratio is 1.00: the median of the rounds' own ratios; other cells are medians, with the smallest and largest round",
    ]
    for name, script in found.items():
        lines += [
            "",
            f"## {script['question']}",
            "",
            f"`benchmarks/{name}.py`; load average {script['load']:.1f} at the start.",
        ]
        if script["quick"]:
            lines += ["", "**Run with `--quick`: these times mean nothing.**"]
        for report in script["reports"]:
            lines += [
                "",
                f"### {report['title'][0].upper()}{report['title'][1:]}",
                "",
                *table(report["header"], report["cells"]),
            ]
            lines += ["", *report["notes"]] if report["notes"] else []
            lines += ["", *(f"- {bar}" for bar in report["bars"])] if report["bars"] else []
    return "\n".join(lines) + "\n"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """As Markdown, numbers to the right."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return [
        f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in (header, rule, *rows)
    ]


if __name__ == "__main__":
    main()
