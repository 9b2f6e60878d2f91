"""PNG plots, which go to W&B as well."""

import shutil
from pathlib import Path

import pytest

from studperf.record.files import PREDICTIONS
from studperf.record.record import RunRecord
from studperf.report.plots import PLOTS, draw_plots


@pytest.mark.parametrize(("n_rows", "is_drawn"), [(20, True), (19, False)])
def test_groups_of_few_rows_are_not_drawn(
    record: RunRecord, run_folder: Path, tmp_path: Path, *, n_rows: int, is_drawn: bool
) -> None:
    """They were, and went to W&B, while tables, page and card left them out."""
    assert record.judgement is not None
    slices = [part.model_copy(update={"n": n_rows}) for part in record.judgement.slices]
    record.judgement.slices = slices
    shutil.copy(run_folder / PREDICTIONS, tmp_path)
    draw_plots(record, tmp_path)
    assert (tmp_path / PLOTS / "slices.png").is_file() == is_drawn
    assert (tmp_path / PLOTS / "parity.png").is_file()


def test_a_run_that_was_not_judged_has_no_plots(record: RunRecord, tmp_path: Path) -> None:
    record.judgement = None
    draw_plots(record, tmp_path)
    assert not (tmp_path / PLOTS).exists()
