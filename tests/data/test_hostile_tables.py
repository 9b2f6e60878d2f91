"""Hostile tables through the commands: every fault in words, none of them a traceback, nothing that hangs."""

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from kit.hostile_tables import Build, cases
from studperf.data.__main__ import main
from studperf.errors import StudperfError

LIMIT_S = 20
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
CASES = dict(cases())
BUSY = {
    "form: a bomb",
    "form: 5,000 columns",
    "form: 20,000 empty columns",
    "form: a name of 10 MB",
}
"""Cases that keep a machine busy for seconds: tried one by one."""


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> bool:
    """Whether the command did its work; any other error than one in words is a failure."""
    monkeypatch.setattr(sys, "argv", ["studperf.data", *words])
    try:
        with at_most(LIMIT_S):
            main()
    except StudperfError:
        return False
    return True


def try_all(
    build: Build, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Drafts a dataset from a table and holds the table against it; returns what was shown."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = build(folder, np.random.default_rng(7))
    if call(monkeypatch, "infer", str(path), "target=y", "out=conf/data/mine.yaml"):
        call(monkeypatch, "check", "data=mine")
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("group", sorted({name.split(":")[0] for name in CASES}))
def test_hostile_tables_are_answered_in_words(
    group: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    steering = []
    names = [name for name in CASES if name.startswith(f"{group}:") and name not in BUSY]
    for i, name in enumerate(names):
        shown = try_all(CASES[name], tmp_path / str(i), monkeypatch, capsys)
        if STEERING.search(shown):
            steering.append(name)
    assert names
    assert steering == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BUSY))
def test_large_hostile_table_is_answered_in_time(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "busy"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = CASES[name](folder, np.random.default_rng(7))
    call(monkeypatch, "infer", str(path), "target=y", "out=conf/data/mine.yaml")
    assert not STEERING.search(capsys.readouterr().out)


def test_column_named_as_markup_goes_through_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = try_all(CASES["name: markup"], tmp_path / "t[bold]", monkeypatch, capsys)
    assert "rate [/min]" in shown
    assert "no fault and no leak" in shown


def test_wide_table_is_drafted_with_a_word_about_what_was_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("studperf.data.infer._LEAK_TESTS_S", 0.0)
    monkeypatch.chdir(tmp_path)
    path = CASES["form: 600 columns"](tmp_path, np.random.default_rng(7))
    assert call(monkeypatch, "infer", str(path), "target=y", "out=mine.yaml")
    shown = capsys.readouterr().out
    assert "580 of 600 features were not tested for leaks" in shown
    assert "and 400 more columns, in the file" in shown
    assert Path("mine.yaml").stat().st_size > 600 * len("  c0: {kind: number}")
