import sys
import webbrowser
from pathlib import Path

import pytest

from studperf.errors import ConfigError, RunError
from studperf.report.__main__ import main


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["report", *words])
    main()


def test_one_run_gets_its_page_and_card(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, f"run={run_folder}")
    assert (run_folder / "report.html").read_text().startswith("<!doctype html>")
    assert (run_folder / "card.md").read_text().startswith("# Model card: mlp")
    assert capsys.readouterr().out.count("Wrote ") == 2


def test_a_folder_of_runs_gets_one_page(
    runs_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(monkeypatch, f"runs={runs_folder}", f"out={tmp_path / 'all.html'}")
    assert "Leaderboard" in (tmp_path / "all.html").read_text()


def test_the_page_is_opened_when_asked(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    call(monkeypatch, f"run={run_folder}", "open=true")
    assert opened == [(run_folder / "report.html").resolve().as_uri()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name one run with run="),
        (["run=a", "runs=b"], "name one run with run="),
        (["rnu=a"], "nearest valid name is 'run'"),
        (["run=a", "open=maybe"], "open: must be true or false"),
        (["run=nowhere"], "there is no such folder"),
        (["runs=nowhere"], "nowhere: there is no such folder"),
        (["run=nowhere", "out=/"], "out=/: is a folder; name a file in it"),
    ],
)
def test_what_can_not_be_shown_is_refused(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((ConfigError, RunError), match=message):
        call(monkeypatch, *words)


def test_a_place_that_can_not_be_written_is_told(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="can't be written"):
        call(monkeypatch, f"run={run_folder}", "out=/nowhere/at/all.html")


def test_help_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    call(monkeypatch, "--help")
    assert "runs=runs/" in capsys.readouterr().out
