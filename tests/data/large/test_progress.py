import io

import pytest
from rich.console import Console

from studperf.data.large import progress
from studperf.data.large.progress import reading


def read(*, is_terminal: bool, patience_s: float, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(progress, "_PATIENCE_S", patience_s)
    out = io.StringIO()
    with reading(Console(file=out, force_terminal=is_terminal, width=100)) as tick:
        tick(5000, 0.5)
        tick(10000, 1.0)
    return out.getvalue()


def test_small_file_is_read_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(is_terminal=True, patience_s=60, monkeypatch=monkeypatch).strip() == ""
    assert read(is_terminal=False, patience_s=60, monkeypatch=monkeypatch) == ""


def test_line_tells_the_rows_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        read(is_terminal=False, patience_s=0, monkeypatch=monkeypatch)
        == "Read 10,000 rows in 0.0 s\n"
    )


def test_bar_shows_the_rows_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = read(is_terminal=True, patience_s=0, monkeypatch=monkeypatch)
    assert "━" in shown
    assert "10,000 rows" in shown


def test_bar_goes_when_reading_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", 0)
    console = Console(file=io.StringIO(), force_terminal=True)

    def fail() -> None:
        with reading(console) as tick:
            tick(1, 0.1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with console.status("free again"):
        pass
