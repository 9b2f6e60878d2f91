"""Benchmarks run to their end with `--quick`, every contender in its row. How fast they are is no test."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from studperf.config.paths import project_root

BENCHMARKS = project_root() / "benchmarks"
SCRIPTS = sorted(
    path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in ("common", "run")
)
CONTENDERS = {
    "steps": {
        *("studperf", "raw torch loop", "original project's loop", "usual Lightning module"),
        *("usual, NVML check off", "scikit-learn MLPRegressor"),
    },
    "process": {"studperf", "Lightning-Hydra template", "floor"},
    "sweeps": {
        "studperf",
        "plain Optuna",
        "plain Optuna, composed once",
        "plain Optuna, whole runs",
    },
}
"""Script -> the rows that its first table must have."""


def run_quickly(name: str, folder: Path) -> dict[str, object]:
    file = folder / f"{name}.json"
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"stdout": done.stdout, **json.loads(file.read_text(encoding="utf-8"))}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_runs_and_shows_every_contender(name: str, tmp_path: Path) -> None:
    found = run_quickly(name, tmp_path)
    reports = found["reports"]
    assert isinstance(reports, list)
    assert reports
    assert set(reports[0]["rounds"]) >= CONTENDERS.get(name, set())
    for report in reports:
        assert report["rounds"][report["against"]]
        for contender, rounds in report["rounds"].items():
            assert contender in str(found["stdout"])
            assert all(value >= 0 for values in rounds for value in values.values()), contender


@pytest.mark.slow
def test_the_page_holds_every_table_that_was_asked_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    command = [
        sys.executable,
        str(BENCHMARKS / "run.py"),
        "--quick",
        "--only",
        "imports",
        "--write",
        str(page),
    ]
    subprocess.run(command, capture_output=True, check=True)
    text = page.read_text(encoding="utf-8")
    assert "## Which packages does a run import" in text
    assert "| all | 1.00 |" in text
    assert "these times mean nothing" in text
    assert "- Versions: Python" in text


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_opens_with_its_question(name: str) -> None:
    docstring = (
        ast.get_docstring(ast.parse((BENCHMARKS / f"{name}.py").read_text(encoding="utf-8"))) or ""
    )
    assert docstring.splitlines()[0].endswith("?")


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_stands_in_the_readme(name: str) -> None:
    assert f"| `{name}.py` |" in (BENCHMARKS / "README.md").read_text(encoding="utf-8")
