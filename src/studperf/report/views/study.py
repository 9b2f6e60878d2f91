"""The view of a study: its trials, what mattered, and its winner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studperf.scoring.metrics import Interval
from studperf.scoring.numbers import Digits, short_number

DONE = ("complete", "pruned")
"""The states of trials that count towards the total."""
MIN_DRAWN = 2
"""Complete trials below which nothing is drawn."""
_FEW_TRIALS = 20
"""Complete trials below which the importance of parameters is called a first hint."""
_MAX_ERROR = 90
CANDIDATE_HEADER = (
    "trial",
    "mean",
    "sd",
    "against the best (95 %)",
    "",
    "parameters",
    "seconds",
    "settings",
)
TONES = {"best": "good", "tied": "level", "worse": "warn"}
"""A candidate's standing -> its tone."""


@dataclass(frozen=True)
class TrialView:
    """The view of one trial.

    Args:
        number: from 0.
        state: complete, pruned, fail, running or waiting.
        values: of the objectives; of a pruned trial the last one reported.
        last: the epoch, from 1, and the value reported last.
        settings: name of a parameter -> its value.
        words: of the command line that set it.
        start: of its run, in seconds since 1970; None before it began.
        end: likewise.
        worker: that ran it.
        error: by which it failed.
        retry_of: the trial that it does again.
    """

    number: int
    state: str
    values: tuple[float, ...]
    last: tuple[int, float] | None
    settings: Mapping[str, Any]
    words: tuple[str, ...]
    start: float | None
    end: float | None
    worker: str
    error: str
    retry_of: int | None

    @property
    def value(self) -> float:
        """The value of the first objective."""
        return self.values[0]

    @property
    def seconds(self) -> float | None:
        """The duration; None while it goes on."""
        if self.start is None or self.end is None:
            return None
        return self.end - self.start

    @property
    def told_settings(self) -> str:
        """The words that set it, with few digits."""
        return " ".join(map(short, self.words))

    @property
    def fault(self) -> str:
        """A line on why it gave no value."""
        if self.error:
            return self.error.splitlines()[0]
        return "stopped from outside, put back"

    @property
    def about(self) -> str:
        """Its error, or what set it, for a narrow column."""
        if self.error:
            return self.fault[:_MAX_ERROR]
        text = brief(self.words)
        if self.retry_of is not None:
            text += f" (again trial {self.retry_of})"
        return text


@dataclass(frozen=True)
class Trials:
    """The trials of a study.

    Args:
        objectives: their names.
        directions: `minimize` or `maximize` for each.
        trials: all of them, by number.
        ranked: the complete ones that keep the constraints, the best first.
        leading: the best one; of several objectives those that no other beats in all.
    """

    objectives: Sequence[str]
    directions: Sequence[str]
    trials: list[TrialView]
    ranked: list[TrialView]
    leading: list[TrialView]

    @property
    def is_max(self) -> bool:
        """True if the larger value of the first objective is the better one."""
        return self.directions[0] == "maximize"

    @property
    def best_so_far(self) -> list[tuple[TrialView, float]]:
        """The complete trials by number, each with the best value up to it."""
        better = max if self.is_max else min
        found: list[tuple[TrialView, float]] = []
        for trial in self.trials:
            if trial.state == "complete":
                before = found[-1][1] if found else trial.value
                found.append((trial, better(before, trial.value)))
        return found

    @property
    def aims(self) -> str:
        """The objectives, each with its direction."""
        return list_aims(self.objectives, self.directions)

    @property
    def header(self) -> tuple[str, ...]:
        """The heads of `row`."""
        return ("trial", "state", *self.objectives, "epochs", "seconds")

    def row(self, trial: TrialView) -> list[str]:
        """Return a trial as cells, without what set it; a value in brackets is not the last one."""
        state = f"{trial.state} *" if trial in self.leading else trial.state
        if trial.state == "complete":
            values = [short_number(value) for value in trial.values]
        else:
            last = "" if trial.last is None else f"({short_number(trial.last[1])})"
            values = [last, *[""] * (len(self.objectives) - 1)]
        epochs = "" if trial.last is None else str(trial.last[0])
        seconds = "" if trial.seconds is None else f"{trial.seconds:.1f}"
        return [str(trial.number), state, *values, epochs, seconds]

    def choose(self, n_shown: int) -> list[TrialView]:
        """Return up to so many trials by number: those that run, the best ones, and the last."""
        if len(self.trials) <= n_shown:
            return self.trials
        running = [trial for trial in self.trials if trial.state == "running"]
        kept = {trial.number for trial in (*running, *self.ranked[: n_shown // 3])}
        others = [trial for trial in reversed(self.trials) if trial.number not in kept]
        last = others[: max(0, n_shown - len(kept))]
        numbers = kept | {trial.number for trial in last}
        return [trial for trial in self.trials if trial.number in numbers]


@dataclass(frozen=True)
class CandidateView:
    """A trial that was trained again on fresh seeds."""

    cells: tuple[str, ...]
    """Without how it stands."""
    standing: str
    """best, tied or worse."""
    is_winner: bool
    words: tuple[str, ...]

    @property
    def tone(self) -> str:
        """The tone of its standing."""
        return TONES[self.standing]

    @property
    def settings(self) -> str:
        """The words that set it, with few digits."""
        return " ".join(map(short, self.words))


@dataclass(frozen=True)
class WinnerView:
    """A study's winner, beside the other candidates."""

    line: str
    verdict: str
    folder: str
    command: str
    candidates: list[CandidateView]


@dataclass(frozen=True)
class StudyView:
    """The view of a study.

    Args:
        name: of the study.
        total: the number of trials that it wants; `?` where that is not known.
        n_done: complete and pruned ones.
        counts: how trials ended -> their number.
        trials: of the study.
        shares: parameter -> its importance for good trials, as a share of 1.
        winner: None where none was chosen.
        command: repeats the winner, or the best trial; empty where there is none.
        space: key -> its domain, or the value that it was fixed to.
    """

    name: str
    total: int | str
    n_done: int
    counts: Mapping[str, int]
    trials: Trials
    shares: Mapping[str, float]
    winner: WinnerView | None
    command: str
    space: Mapping[str, str]

    @property
    def best(self) -> TrialView | None:
        """The best trial by the first objective; None if none is complete."""
        return self.trials.ranked[0] if self.trials.ranked else None

    @property
    def told_counts(self) -> list[str]:
        """The numbers of trials by how they ended."""
        return [f"{n} {kind}" for kind, n in self.counts.items() if n]

    @property
    def faults(self) -> list[str]:
        """A sentence for each trial that failed or was put back."""
        failed = [trial for trial in self.trials.trials if trial.state == "fail"]
        return [f"Trial {trial.number}: {trial.fault}" for trial in failed]

    @property
    def is_drawn(self) -> bool:
        """True if there are enough complete trials for charts."""
        return len(self.trials.ranked) >= MIN_DRAWN

    @property
    def hint(self) -> str:
        """A caution where the importances rest on few trials."""
        n_complete = len(self.trials.ranked)
        if n_complete >= _FEW_TRIALS:
            return ""
        return f" Of {n_complete} trials: a first hint, no more."

    @property
    def parameters(self) -> list[str]:
        """The parameters that were varied, the most important ones first."""
        varied = {name for trial in self.trials.ranked for name in trial.settings}
        # By name too, so that equal shares have one order in every process.
        return sorted(varied, key=lambda name: (-self.shares.get(name, 0.0), name))


def view_winner(found: Mapping[str, Any]) -> WinnerView:
    """Return the view of a winner, as the study keeps it."""
    digits = Digits.of(found["candidates"][0]["mean"])
    candidates = []
    for kept in found["candidates"]:
        difference = ""
        if kept["difference"]["value"]:
            difference = digits.signed_interval(Interval(**kept["difference"]))
        if kept["trial"] == found["best"]:
            standing = "best"
        else:
            standing = "tied" if kept["is_tied"] else "worse"
        cells = (
            str(kept["trial"]),
            digits.number(kept["mean"], more=1),
            digits.number(kept["sd"], more=1),
            difference,
            f"{kept['n_parameters']:,}",
            f"{kept['fit_seconds']:.1f}",
        )
        is_winner = kept["trial"] == found["trial"]
        candidates.append(CandidateView(cells, standing, is_winner, tuple(kept["words"])))
    return WinnerView(
        line=found["line"],
        verdict=found.get("verdict") or "",
        folder=found["folder"],
        command=found["command"],
        candidates=candidates,
    )


def list_aims(objectives: Sequence[str], directions: Sequence[str]) -> str:
    """Return what a study looks for, such as `smallest val/rmse, largest val/r2`."""
    aims = []
    for name, direction in zip(objectives, directions, strict=True):
        size = "largest" if direction == "maximize" else "smallest"
        aims.append(f"{size} {name}")
    return ", ".join(aims)


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
    """Return a word in which a number has four digits; a whole one keeps all of its own."""
    key, _, value = word.partition("=")
    try:
        number = float(value)
    except ValueError:
        return word
    if value.lstrip("-").isdecimal():
        return word
    return f"{key}={number:.4g}"
