"""The live table of a study in a terminal, or plain lines where there is none."""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from studperf.config.console import print_line
from studperf.errors import counted
from studperf.report.views.study import DONE, Trials, TrialView, list_aims
from studperf.scoring.numbers import short_number
from studperf.sweeps.retry import patiently
from studperf.sweeps.study import ERROR, Study, is_done
from studperf.sweeps.view.terminal import trial_table
from studperf.sweeps.view.trials import view_trials

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_N_SHOWN = 12


class Board:
    """A display of a study while the block runs.

    Args:
        study: read only.
        console: a terminal gets a live table.
    """

    def __init__(self, study: Study, console: Console) -> None:
        self.study = study
        self.console = console
        self.live: Live | None = None
        self.started = time.monotonic()
        self._lock = threading.Lock()
        self._reported = {t.number for t in study.trials() if t.state.is_finished()}
        self._n_before = sum(is_done(t) for t in study.trials())

    def __enter__(self) -> Self:
        """Open the table."""
        if self.console.is_terminal:
            self.live = Live(
                console=self.console,
                get_renderable=self.render,
                refresh_per_second=1,
                transient=True,
            )
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back, and print the lines that are left."""
        if self.live is not None:
            self.live.stop()
        self.poll()

    def show_start(self) -> None:
        """Print what the study is, and where it stands."""
        plan = self.study.plan
        settings = plan.settings
        targets = [str(node["_target_"]) for node in (settings.sampler, settings.pruner)]
        kinds = " and ".join(target.rsplit(".", 1)[-1] for target in targets)
        aims = list_aims(plan.objectives, plan.directions)
        stands = counted(self.study.total, "trial")
        done = self.study.n_done()
        if done:
            stands = f"goes on at {done} of {stands}"
        print_line(self.console, f"Study {plan.name}: {stands}, {aims}, {kinds}; in {plan.folder}")

    def show_end(self, reason: str) -> None:
        """Print how the study ended."""
        trials = self.study.trials()
        states = Counter(t.state.name for t in trials)
        failed = sum(ERROR in t.user_attrs for t in trials if t.state.name == "FAIL")
        lost = states["FAIL"] - failed
        parts = [f"{states['COMPLETE']} complete", f"{states['PRUNED']} pruned", f"{failed} failed"]
        if lost:
            parts.append(f"{lost} put back")
        elapsed = time_span(time.monotonic() - self.started)
        print_line(
            self.console, f"{', '.join(parts)} of {self.study.total} in {elapsed}: {reason}."
        )

    def poll(self) -> None:
        """Print a line for each trial that has ended since; the live table shows them by itself."""
        with self._lock:
            trials = patiently(self.study.trials)
            news = [t for t in trials if t.state.is_finished() and t.number not in self._reported]
            self._reported |= {t.number for t in news}
            if self.live is not None or not news:
                return
            view = self._view(trials)
            ended = {t.number for t in news}
            for trial in sorted(view.trials, key=lambda trial: (trial.end or 0, trial.number)):
                if trial.number in ended:
                    print_line(self.console, self.line(trial, view))

    def line(self, trial: TrialView, trials: Trials) -> str:
        """Return a trial's end as a line."""
        text = f"trial {trial.number} {trial.state}"
        if trial.state == "complete":
            text += " " + ", ".join(map(short_number, trial.values))
        elif trial.state == "pruned" and trial.last is not None:
            epoch, value = trial.last
            text += f" at epoch {epoch}, {short_number(value)}"
        elif trial.state == "fail":
            text += f": {trial.fault}"

        if trials.ranked and len(trials.objectives) == 1:
            best = trials.ranked[0]
            text += f" | best {short_number(best.value)} (trial {best.number})"
        n_done = sum(other.state in DONE for other in trials.trials)
        return f"{text} | {n_done}/{self.study.total} | {trial.told_settings}"

    def render(self) -> Group:
        """Return the live table with its headline."""
        plan = self.study.plan
        trials = patiently(self.study.trials)
        done = sum(is_done(t) for t in trials)
        elapsed = time.monotonic() - self.started
        pace = (done - self._n_before) / elapsed if elapsed else 0.0
        left = ""
        if pace:
            left = f", about {time_span((self.study.total - done) / pace)} left"
        total = counted(self.study.total, "trial")
        head = Text(f"{plan.name}: {done}/{total}, {time_span(elapsed)}{left}", style="bold")
        view = self._view(trials)
        return Group(head, trial_table(view, view.choose(_N_SHOWN)))

    def _view(self, trials: list[FrozenTrial]) -> Trials:
        plan = self.study.plan
        return view_trials(trials, plan.objectives, plan.directions)


def time_span(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    if minutes:
        return f"{minutes} min {rest:02d} s"
    return f"{rest} s"
