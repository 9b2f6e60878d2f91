"""The best epoch of a run by the watched metric, and when training is to stop."""

from __future__ import annotations

import math
from collections.abc import Iterable

from studperf.config.run import Monitor
from studperf.record.run import Row


class Watch:
    """The best epoch so far, and early stopping.

    The rules are those of lightning's `ModelCheckpoint` and `EarlyStopping`: the best epoch is the
    first of the best and never one whose value is no number; patience is kept by gains of more than
    `min_delta` alone; a value that is no number ends training. All of it follows from the history,
    so that a resumed run has nothing else to read.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.best_epoch: int | None = None
        self.is_over = False
        """Training is to stop."""
        self._n_seen = 0
        self._n_waited = 0
        # Values have their sign turned where larger is better.
        self._best = math.inf
        self._last_gain = math.inf

    @classmethod
    def of(cls, history: Iterable[Row], monitor: Monitor) -> Watch:
        """Return the watch of a run that has had these epochs."""
        watch = cls(monitor)
        for row in history:
            watch.look(row)
        return watch

    @property
    def best_value(self) -> float | None:
        """Best value so far; None before the first finite one."""
        if self.best_epoch is None:
            return None
        return self._signed(self._best)

    @property
    def is_stopped_early(self) -> bool:
        """Return True if patience has ended training, rather than a first epoch that diverged."""
        return self.is_over and self._n_seen > 1

    def look(self, row: Row) -> bool:
        """Take an epoch into account, and return True if it is the best so far."""
        epoch = self._n_seen
        self._n_seen += 1
        value = self._signed(float(row[self.monitor.metric]))
        if not math.isfinite(value):
            self.is_over = True
            return False

        if value + self.monitor.min_delta < self._last_gain:
            self._last_gain = value
            self._n_waited = 0
        else:
            self._n_waited += 1
        self.is_over = self.is_over or self._n_waited >= self.monitor.patience

        is_best = value < self._best
        if is_best:
            self._best = value
            self.best_epoch = epoch
        return is_best

    def _signed(self, value: float) -> float:
        """Turn a value's sign where larger is better; turning it twice gives the value back."""
        return value if self.monitor.mode == "min" else -value
