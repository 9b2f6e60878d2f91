"""The live table of a study in a terminal, or plain lines where there is none."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from studperf.config.console import print_line
from studperf.errors import as_shown, counted
from studperf.sweeps.retry import patiently
from studperf.sweeps.study import ERROR, RETRY_OF, Study, best_first, is_done, pareto

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_STYLES = {
    "COMPLETE": "green",
    "PRUNED": "dim",
    "FAIL": "red",
    "RUNNING": "cyan",
    "WAITING": "yellow",
}
_N_SHOWN = 12
_MAX_ERROR = 90


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
            if self.live is None:
                for trial in sorted(news, key=lambda t: (t.datetime_complete, t.number)):
                    print_line(self.console, self.line(trial, trials))

    def line(self, trial: FrozenTrial, trials: list[FrozenTrial]) -> str:
        """Return a trial's end as a line."""
        done = sum(is_done(t) for t in trials)
        state = trial.state.name
        text = f"trial {trial.number} {state.lower()}"
        if state == "COMPLETE":
            text += " " + ", ".join(f"{value:.4g}" for value in trial.values)
        elif state == "PRUNED" and trial.last_step is not None:
            value = trial.intermediate_values[trial.last_step]
            text += f" at epoch {trial.last_step + 1}, {value:.4g}"
        elif ERROR in trial.user_attrs:
            text += f": {trial.user_attrs[ERROR].splitlines()[0]}"
        elif state == "FAIL":
            text += ": stopped from outside, put back"

        directions = self.study.plan.directions
        best = best_first(trials, directions)
        if best and len(directions) == 1:
            text += f" | best {best[0].values[0]:.4g} (trial {best[0].number})"
        words = " ".join(map(short, trial.user_attrs.get("words", [])))
        return f"{text} | {done}/{self.study.total} | {words}"

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
        return Group(head, trial_table(trials, plan.objectives, plan.directions))


def list_aims(objectives: Sequence[str], directions: Sequence[str]) -> str:
    """Return what a study looks for, such as `smallest val/rmse, largest val/r2`."""
    aims = []
    for name, direction in zip(objectives, directions, strict=True):
        size = "largest" if direction == "maximize" else "smallest"
        aims.append(f"{size} {name}")
    return ", ".join(aims)


def trial_table(
    trials: list[FrozenTrial],
    objectives: tuple[str, ...],
    directions: Sequence[str],
    *,
    n_shown: int | None = _N_SHOWN,
) -> Table:
    """Return a table of the running, the best and the last trials; with None of all of them."""
    if len(directions) > 1:
        leading = pareto(trials, directions)
    else:
        leading = best_first(trials, directions)[:1]
    shown = _choose(trials, directions, n_shown)
    table = Table(pad_edge=False, box=None, header_style="bold")
    for name in ("trial", "state", *objectives, "epochs", "seconds"):
        table.add_column(name, justify="left" if name == "state" else "right")
    table.add_column("parameters", overflow="fold")

    for trial in shown:
        name = trial.state.name
        if trial in leading:
            state = Text(f"{name.lower()} *", style=f"bold {_STYLES[name]}")
        else:
            state = Text(name.lower(), style=_STYLES[name])

        if name == "COMPLETE":
            cells = [f"{value:.4g}" for value in trial.values]
        else:
            cells = _provisional(trial, len(objectives))
        epochs = ""
        if trial.last_step is not None:
            epochs = str(trial.last_step + 1)
        seconds = ""
        if trial.duration is not None:
            seconds = f"{trial.duration.total_seconds():.1f}"
        about = Text(as_shown(_about(trial)))
        table.add_row(str(trial.number), state, *cells, epochs, seconds, about)
    return table


def _choose(
    trials: list[FrozenTrial], directions: Sequence[str], n_shown: int | None
) -> list[FrozenTrial]:
    """Return up to `n_shown` trials by number: those that run, the best ones, and the last ones."""
    if n_shown is None or len(trials) <= n_shown:
        return trials

    running = [t for t in trials if t.state.name == "RUNNING"]
    best = best_first(trials, directions)[: n_shown // 3]
    kept = {t.number for t in (*running, *best)}
    others = [t for t in reversed(trials) if t.number not in kept]
    last = others[: max(0, n_shown - len(kept))]
    numbers = kept | {t.number for t in last}
    return [t for t in trials if t.number in numbers]


def _provisional(trial: FrozenTrial, n: int) -> list[str]:
    """Return the cells of an unfinished trial's values: the last one reported, in brackets."""
    last = ""
    if trial.last_step is not None:
        last = f"({trial.intermediate_values[trial.last_step]:.4g})"
    return [last, *[""] * (n - 1)]


def _about(trial: FrozenTrial) -> str:
    """Return a trial's error, or its words."""
    if ERROR in trial.user_attrs:
        return str(trial.user_attrs[ERROR]).splitlines()[0][:_MAX_ERROR]
    words = trial.user_attrs.get("words")
    if not words:
        words = [f"{name.split('@')[0]}={value}" for name, value in trial.params.items()]
    text = brief(words)
    if RETRY_OF in trial.user_attrs:
        text += f" (again trial {trial.user_attrs[RETRY_OF]})"
    return text


def brief(words: Sequence[str]) -> str:
    """Return words for a narrow column: with few digits, and short keys.

    A key is its last part, unless another key ends with the same.
    """
    keys = [word.partition("=")[0] for word in words]
    n_with_name = Counter(key.rpartition(".")[2] for key in keys)
    texts = []
    for word in words:
        key, _, value = short(word).partition("=")
        name = key.rpartition(".")[2]
        shown = name if n_with_name[name] == 1 else key
        texts.append(f"{shown}={value}")
    return " ".join(texts)


def short(word: str) -> str:
    """Return a word in which a number has four digits."""
    key, _, value = word.partition("=")
    try:
        number = float(value)
    except ValueError:
        return word
    return f"{key}={number:.4g}"


def time_span(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    if minutes:
        return f"{minutes} min {rest:02d} s"
    return f"{rest} s"
