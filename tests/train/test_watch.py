"""The best epoch and early stopping against lightning's own callbacks, and by hand."""

import math
import random

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from studperf.config.load import load_overrides
from studperf.config.run import Monitor
from studperf.record.run import Row
from studperf.train.watch import Watch

METRIC = "val/rmse"


def monitor_of(*words: str) -> Monitor:
    return load_overrides([f"monitor.{word}" for word in words]).monitor


def history_of(values: list[float], metric: str = METRIC) -> list[Row]:
    return [{metric: value} for value in values]


def stop_by_lightning(values: list[float], monitor: Monitor) -> int | None:
    """The epoch after which lightning's callback ends training."""
    stopper = EarlyStopping(
        monitor.metric, patience=monitor.patience, min_delta=monitor.min_delta, mode=monitor.mode
    )
    for epoch, value in enumerate(values):
        must_stop, _ = stopper._evaluate_stopping_criteria(torch.tensor(value, dtype=torch.float64))
        if must_stop:
            return epoch
    return None


def stop_by_watch(values: list[float], monitor: Monitor) -> int | None:
    watch = Watch(monitor)
    for epoch, row in enumerate(history_of(values, monitor.metric)):
        watch.look(row)
        if watch.is_over:
            return epoch
    return None


@pytest.mark.parametrize("metric", ["val/rmse", "val/r2"])
@pytest.mark.parametrize("words", [["patience=3"], ["patience=2", "min_delta=0.05"]], ids=str)
def test_training_stops_where_lightning_would_stop_it(metric: str, words: list[str]) -> None:
    monitor = monitor_of(f"metric={metric}", *words)
    draw = random.Random(0)  # noqa: S311 - no secret
    stopped = set()
    for _ in range(200):
        values = [draw.random() for _ in range(12)]
        if draw.random() < 0.2:
            values[draw.randrange(12)] = math.nan
        expected = stop_by_lightning(values, monitor)
        assert stop_by_watch(values, monitor) == expected
        stopped.add(expected)
    assert len(stopped) > 5, "the sequences all stop alike, so that this test says nothing"


def test_the_first_of_equals_is_the_best() -> None:
    watch = Watch.of(history_of([3.0, 1.0, 1.0, 2.0]), monitor_of("patience=9"))
    assert (watch.best_epoch, watch.best_value, watch.is_over) == (1, 1.0, False)


def test_the_largest_r2_is_the_best() -> None:
    monitor = monitor_of("metric=val/r2", "patience=9")
    watch = Watch.of(history_of([0.1, 0.4, -2.0], "val/r2"), monitor)
    assert (watch.best_epoch, watch.best_value) == (1, 0.4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_ends_training_and_is_never_the_best(value: float) -> None:
    watch = Watch.of(history_of([2.0, value]), monitor_of("patience=9"))
    assert (watch.best_epoch, watch.is_over, watch.is_stopped_early) == (0, True, True)


def test_before_the_first_number_there_is_no_best_epoch() -> None:
    watch = Watch.of(history_of([math.nan]), monitor_of("patience=9"))
    assert (watch.best_epoch, watch.best_value) == (None, None)
    assert not watch.is_stopped_early, "a first epoch that diverged is no early stopping"


def test_a_small_gain_moves_the_best_epoch_and_keeps_no_patience() -> None:
    values = [5.0, 4.99, 4.98]
    watch = Watch.of(history_of(values), monitor_of("patience=2", "min_delta=0.5"))
    assert (watch.best_epoch, watch.is_over) == (2, True)
