"""A model of the user's own: the README's example works as printed, and a fault in it is told by its file and line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kit.small_run import SMALL

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block_of(language: str, first_line: str) -> str:
    """A code block of the README, found by its first line."""
    (block,) = re.findall(rf"```{language}\n({re.escape(first_line)}\n.*?)```", README, re.DOTALL)
    return str(block)


def train_wide(
    folder: Path, *, instead: tuple[str, str] = ("", ""), flags: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Train the README's model from the current folder, after one piece of its text was replaced."""
    code = block_of("python", "# src/studperf/models/wide.py")
    node = block_of("yaml", "# conf/model/wide.yaml")
    assert instead[0] in code
    (folder / "wide.py").write_text(code.replace(*instead), encoding="utf-8")
    (folder / "conf" / "model").mkdir(parents=True)
    target = node.replace("studperf.models.wide.", "wide.")
    (folder / "conf" / "model" / "wide.yaml").write_text(target, encoding="utf-8")
    command = [sys.executable, "-m", "studperf.train", *flags, *SMALL, "model=wide"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_example_of_the_readme_trains(tmp_path: Path) -> None:
    done = train_wide(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Verdict: " in done.stdout


FAULTS = {
    "at import": (("class Wide", "WIDTH = widht\n\n\nclass Wide"), "WIDTH = widht", "NameError: "),
    "in the constructor": (
        ("self.hidden = nn.Linear(", "self.hidden = nn.Liner("),
        "self.hidden = nn.Liner(self.input.d_out, d_hidden)",
        "AttributeError: ",
    ),
    "in forward": (
        ("self.output(self.dropout(hidden))", "self.output(x_num.double())"),
        "return self.output(x_num.double()).squeeze(-1)",
        "RuntimeError: ",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("instead", "source", "kind"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_of_the_models_own_code_is_told_in_a_few_lines(
    tmp_path: Path, instead: tuple[str, str], source: str, kind: str
) -> None:
    done = train_wide(tmp_path, instead=instead)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) <= 10
    assert re.search(rf"{re.escape(str(tmp_path / 'wide.py'))}, line \d+", done.stderr)
    assert source in done.stderr
    assert kind in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_debug_shows_the_whole_traceback_of_the_models_code(tmp_path: Path) -> None:
    done = train_wide(tmp_path, instead=FAULTS["in the constructor"][0], flags=("--debug",))
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr


def test_a_model_file_that_is_no_python_is_told_by_its_line(tmp_path: Path) -> None:
    done = train_wide(tmp_path, instead=("class Wide", "class class Wide"))
    assert done.returncode == 2
    assert re.search(r"wide\.py, line \d+: is not valid Python", done.stderr)
    assert len(done.stderr.splitlines()) <= 10
