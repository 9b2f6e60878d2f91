import io
from pathlib import Path

import pytest
from rich.console import Console

from studperf.record.record import RunRecord
from studperf.record.shape import Scores
from studperf.report.pages.card import write_card
from studperf.report.pages.run import render_run
from studperf.report.terminal import score_table, show_end
from studperf.report.views.run import digits_of
from studperf.scoring.metrics import Interval

from .conftest import Page


def test_an_rmse_reads_the_same_in_the_terminal_and_on_the_page(record: RunRecord) -> None:
    """It was 0.49 in the one and 0.494 on the other."""
    assert record.judgement is not None
    record.judgement.scores.rmse = Interval(0.494, 0.4701, 0.5187)
    shown = digits_of(record).interval(record.judgement.scores.rmse)
    assert shown == "0.494 [0.470, 0.519]"
    file = io.StringIO()
    show_end(record, Path("run"), Console(file=file, width=200))
    assert shown in file.getvalue()
    assert shown in write_card(record).replace("\\", "")
    assert "0.494 0.470 to 0.519" in Page(render_run(record, Path("run"))).text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_digit_of_a_score_is_cut_off(width: int) -> None:
    wide = Interval(187_892.4, 163_011.2, 215_725.9)
    rows = {
        name: Scores(rmse=wide, mae=wide, r2=Interval(0.5, 0.4, 0.6), bias=wide)
        for name in ("mlp", "boosting (baseline)")
    }
    file = io.StringIO()
    Console(file=file, width=width).print(score_table(rows, title="", unit="EUR"))
    assert "…" not in file.getvalue()
    assert file.getvalue().count("215,726") == 6
