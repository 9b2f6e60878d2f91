"""What W&B gets of a run, from its record alone."""

import shutil
from pathlib import Path

from studperf.record.record import RunRecord
from studperf.report.views.run import view_run
from studperf.scoring.metrics import Interval
from studperf.tracking import keys
from studperf.tracking.payload import tables_of


def test_slices_and_baselines_are_those_of_the_view(record: RunRecord, run_folder: Path) -> None:
    tables = tables_of(record, run_folder, n_predictions=0)
    view = view_run(record)
    told = [(row[0], row[1], row[2]) for row in tables[keys.SLICES]["data"]]
    assert told == [(part.column, part.level, part.n) for part in view.slices]
    names = [row[0] for row in tables[keys.BASELINES]["data"]]
    assert names == [predictor.name for predictor in view.predictors]


def test_predictions_of_small_targets_keep_their_digits(
    record: RunRecord, run_folder: Path, tmp_path: Path
) -> None:
    """They were rounded to four decimals whatever their size, so that small ones became 0."""
    shutil.copytree(run_folder, tmp_path / "run")
    assert record.judgement is not None
    record.judgement.scores.rmse = Interval(4.9e-5, 4.7e-5, 5.2e-5)
    table = tables_of(record, tmp_path / "run", n_predictions=5)[keys.PREDICTIONS]
    assert any(value != round(value, 5) for row in table["data"] for value in row)
