import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from studperf.data.__main__ import main
from studperf.errors import DataError

WORDS = ("data.source.path=data/t.csv", "data.source.otherwise=fail")


def git(*words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["studperf.data", *words])
        main()
        return capsys.readouterr().out

    return call


@pytest.fixture
def history(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., str],
    students: pd.DataFrame,
) -> list[str]:
    """A checkout with three commits: no data, 880 students, 900 students; all pushed, none in the cache. Gives the md5s."""
    work = tmp_path / "work"
    (work / "data").mkdir(parents=True)
    (work / ".dvc").mkdir()
    (work / ".dvc" / "config").write_text(
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = {tmp_path / 'store'}\n"
    )
    monkeypatch.chdir(work)
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "nothing")
    md5s = []
    for n_rows in (880, 900):
        students.iloc[:n_rows].to_csv("data/t.csv", index=False)
        md5s.append(hashlib.md5(Path("data/t.csv").read_bytes(), usedforsecurity=False).hexdigest())
        Path("data.dvc").write_text(f"outs:\n- md5: {md5s[-1]}\n  hash: md5\n  path: data/t.csv\n")
        command("push")
        git("add", "data.dvc")
        git("commit", "-q", "-m", f"{n_rows} students")
    return md5s


def test_a_revision_is_read_through_the_remote(
    history: list[str], command: Callable[..., str]
) -> None:
    shown = command("report", "--against", "HEAD~1", *WORDS, "out=page")
    assert f"students: md5 {history[0][:8]} (HEAD~1) to {history[1][:8]}" in shown
    assert "880 to 900 rows: 20 came, 0 went, 0 changed" in shown
    page = Path("page/changes.md").read_text()
    assert page.startswith(
        f"## students: md5 {history[0][:8]} (HEAD~1) to {history[1][:8]}\n\n880 to 900 rows"
    )
    assert "| ridge |" in page


def test_an_md5_and_a_file_will_do_as_well(
    history: list[str], command: Callable[..., str], students: pd.DataFrame
) -> None:
    assert "880 to 900 rows" in command("report", f"--against={history[0]}", *WORDS, "out=page")
    students.iloc[:890].to_csv("other.csv", index=False)
    assert "890 to 900 rows" in command("report", "--against", "other.csv", *WORDS, "out=page")


def test_a_version_that_is_here_needs_no_remote(
    history: list[str], command: Callable[..., str]
) -> None:
    Path(".dvc/config").write_text("")
    assert f"No change: both have md5 {history[1]}" in command(
        "report", "--against", "HEAD", *WORDS, "out=page"
    )


def test_a_change_is_seen_before_it_is_accepted(
    history: list[str], command: Callable[..., str], students: pd.DataFrame
) -> None:
    students.iloc[:895].to_csv("data/t.csv", index=False)
    assert "900 to 895 rows" in command("report", "--against", "HEAD", *WORDS, "out=page")


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("HEAD~2", r"there was no data\.dvc at that revision"),
        ("nowhere", "is no file, no md5 and no git revision here"),
        ("--output=x", "is no file, no md5 and no git revision here"),
        ("0" * 32, "there is no such object"),
    ],
)
def test_a_version_that_can_not_be_had_is_said(
    history: list[str], command: Callable[..., str], against: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        command("report", f"against={against}", *WORDS)
    assert not Path("x").exists()


def test_without_a_table_there_is_nothing_to_compare(command: Callable[..., str]) -> None:
    with pytest.raises(DataError, match="simulated rows have no versions"):
        command("report", "--against", "HEAD", "data=simulated")
