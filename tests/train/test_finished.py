from pathlib import Path

import numpy as np
import pytest

from studperf.errors import RunError
from studperf.record.files import read_predictions
from studperf.train.finished import FinishedRun


def test_a_run_read_back_predicts_what_was_recorded(run_folder: Path) -> None:
    finished = FinishedRun.load(run_folder)
    recorded = read_predictions(run_folder).query("split == 'test'")
    _, part = finished.read_scored()
    assert np.array_equal(part.frame.index.to_numpy() + 1, recorded["row"].to_numpy())
    assert np.array_equal(finished.predict(part), recorded["predicted"].to_numpy())


def test_rows_that_split_differently_are_refused(run_folder: Path) -> None:
    finished = FinishedRun.load(run_folder)
    finished.record.data.split_sha256 = "0" * 64
    with pytest.raises(RunError, match="these rows split differently"):
        finished.read_scored()
