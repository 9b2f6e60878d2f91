"""What the terminal shows of a study as it goes: a live table, or plain lines where there is no terminal."""

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
    """Shows a study while the block runs.

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
        self._told = {t.number for t in study.trials() if t.state.is_finished()}
        self._n_before = sum(is_done(t) for t in study.trials())

    def __enter__(self) -> Self:
        """Opens the table."""
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
        """Gives the terminal back, once all lines are out."""
        if self.live is not None:
            self.live.stop()
        self.poll()

    def show_start(self) -> None:
        """What the study is, and where it stands."""
        plan, done = self.study.plan, self.study.n_done()
        settings = plan.settings
        kinds = " and ".join(
            str(node["_target_"]).rsplit(".", 1)[-1] for node in (settings.sampler, settings.pruner)
        )
        aims = ", ".join(
            f"{'largest' if settings.maximised(name) else 'smallest'} {name}"
            for name in plan.objectives
        )
        stands = (
            f"goes on at {done} of {counted(self.study.total, 'trial')}"
            if done
            else counted(self.study.total, "trial")
        )
        self.console.print(
            f"Study {plan.name}: {stands}, {aims}, {kinds}; in {plan.folder}", soft_wrap=True
        )

    def show_end(self, reason: str) -> None:
        """How it ended."""
        trials = self.study.trials()
        states = Counter(t.state.name for t in trials)
        failed = sum(ERROR in t.user_attrs for t in trials if t.state.name == "FAIL")
        lost = states["FAIL"] - failed
        parts = [f"{states['COMPLETE']} complete", f"{states['PRUNED']} pruned", f"{failed} failed"]
        parts += [f"{lost} put back"] if lost else []
        self.console.print(
            f"{', '.join(parts)} of {self.study.total} in {time_span(time.monotonic() - self.started)}: {reason}.",
            soft_wrap=True,
        )

    def poll(self) -> None:
        """Prints a line for each trial that has ended since; the live table does so by itself."""
        with self._lock:
            trials = patiently(self.study.trials)
            news = [t for t in trials if t.state.is_finished() and t.number not in self._told]
            self._told |= {t.number for t in news}
            if self.live is None:
                for trial in sorted(news, key=lambda t: (t.datetime_complete, t.number)):
                    self.console.print(self.line(trial, trials), soft_wrap=True, markup=False)

    def line(self, trial: FrozenTrial, trials: list[FrozenTrial]) -> str:
        """A trial's end in a line."""
        done = sum(is_done(t) for t in trials)
        text = f"trial {trial.number} {trial.state.name.lower()}"
        if trial.state.name == "COMPLETE":
            text += " " + ", ".join(f"{value:.4g}" for value in trial.values)
        elif trial.state.name == "PRUNED" and trial.last_step is not None:
            text += (
                f" at epoch {trial.last_step + 1}, {trial.intermediate_values[trial.last_step]:.4g}"
            )
        elif ERROR in trial.user_attrs:
            text += f": {trial.user_attrs[ERROR].splitlines()[0]}"
        elif trial.state.name == "FAIL":
            text += ": stopped from outside, put back"
        best = best_first(trials, self.study.plan.directions)
        text += (
            f" | best {best[0].values[0]:.4g} (trial {best[0].number})"
            if best and len(self.study.plan.directions) == 1
            else ""
        )
        return f"{text} | {done}/{self.study.total} | {' '.join(map(short, trial.user_attrs.get('words', [])))}"

    def render(self) -> Group:
        """The live table."""
        trials = patiently(self.study.trials)
        done = sum(is_done(t) for t in trials)
        elapsed = time.monotonic() - self.started
        pace = (done - self._n_before) / elapsed if elapsed else 0.0
        left = f", about {time_span((self.study.total - done) / pace)} left" if pace else ""
        head = Text(
            f"{self.study.plan.name}: {done}/{counted(self.study.total, 'trial')}, {time_span(elapsed)}{left}",
            style="bold",
        )
        return Group(
            head, trial_table(trials, self.study.plan.objectives, self.study.plan.directions)
        )


def trial_table(
    trials: list[FrozenTrial],
    objectives: tuple[str, ...],
    directions: Sequence[str],
    *,
    n_shown: int | None = _N_SHOWN,
) -> Table:
    """Trials with state, values and parameters: those that run, the best ones, and the last ones; all of them if asked."""
    leading = (
        pareto(trials, directions) if len(directions) > 1 else best_first(trials, directions)[:1]
    )
    shown = _choose(trials, directions, n_shown)
    table = Table(pad_edge=False, box=None, header_style="bold")
    for name in ("trial", "state", *objectives, "epochs", "seconds"):
        table.add_column(name, justify="left" if name == "state" else "right")
    table.add_column("parameters", overflow="fold")
    for trial in shown:
        mark = " *" if trial in leading else ""
        cells = (
            [f"{value:.4g}" for value in trial.values]
            if trial.state.name == "COMPLETE"
            else _provisional(trial, len(objectives))
        )
        seconds = f"{trial.duration.total_seconds():.1f}" if trial.duration is not None else ""
        epochs = str(trial.last_step + 1) if trial.last_step is not None else ""
        style = _STYLES[trial.state.name]
        state = Text(trial.state.name.lower() + mark, style=f"bold {style}" if mark else style)
        table.add_row(
            str(trial.number), state, *cells, epochs, seconds, Text(as_shown(_about(trial)))
        )
    return table


def _choose(
    trials: list[FrozenTrial], directions: Sequence[str], n_shown: int | None
) -> list[FrozenTrial]:
    if n_shown is None or len(trials) <= n_shown:
        return trials
    running = [t for t in trials if t.state.name == "RUNNING"]
    best = best_first(trials, directions)[: n_shown // 3]
    kept = {t.number for t in (*running, *best)}
    last = [t for t in reversed(trials) if t.number not in kept][: max(0, n_shown - len(kept))]
    numbers = kept | {t.number for t in last}
    return [t for t in trials if t.number in numbers]


def _provisional(trial: FrozenTrial, n: int) -> list[str]:
    last = (
        f"({trial.intermediate_values[trial.last_step]:.4g})" if trial.last_step is not None else ""
    )
    return [last, *[""] * (n - 1)]


def _about(trial: FrozenTrial) -> str:
    if ERROR in trial.user_attrs:
        return str(trial.user_attrs[ERROR]).splitlines()[0][:_MAX_ERROR]
    words = trial.user_attrs.get("words") or [
        f"{name.split('@')[0]}={value}" for name, value in trial.params.items()
    ]
    again = f" (again trial {trial.user_attrs[RETRY_OF]})" if RETRY_OF in trial.user_attrs else ""
    return brief(words) + again


def brief(words: Sequence[str]) -> str:
    """Words for a narrow column: few digits, and of each key its last part, where no other key has the same."""
    last = Counter(word.partition("=")[0].rpartition(".")[2] for word in words)
    texts = []
    for word in words:
        key, _, value = short(word).partition("=")
        name = key.rpartition(".")[2]
        texts.append(f"{name if last[name] == 1 else key}={value}")
    return " ".join(texts)


def short(word: str) -> str:
    """A word with few digits, for the eye."""
    key, _, value = word.partition("=")
    try:
        number = float(value)
    except ValueError:
        return word
    return f"{key}={number:.4g}"


def time_span(seconds: float) -> str:
    """Seconds in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min"
        if hours
        else f"{minutes} min {rest:02d} s"
        if minutes
        else f"{rest} s"
    )
