"""The time that a trained model takes to predict one row."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import torch

from studperf.config.load import load
from studperf.record.files import read_encoder
from studperf.record.record import RunRecord
from studperf.train.choice import read_model

# The first calls are slower, as torch makes ready for them; the median leaves them out.
_N_CALLS = 50


def measure_latency(folder: Path, record: RunRecord) -> float:
    """Return the milliseconds to predict one row with a run's best weights.

    It is the median of several calls.
    """
    config = load(record.config, is_trusted=False)
    features = read_encoder(folder).features
    model, _ = read_model(config, features, folder)

    x_num = torch.zeros(1, features.n_numbers)
    x_cat = torch.zeros(1, len(features.cardinalities), dtype=torch.int64)
    row = (x_num, x_cat, torch.zeros(1))
    seconds = []
    for _ in range(_N_CALLS):
        started = time.perf_counter()
        model.predict_rows(row)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)
