"""The blocks of a run's record: data, hardware, scores, baselines, verdict."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from studperf.scoring.metrics import Interval

Status = Literal["running", "finished", "interrupted", "failed", "pruned"]

VerdictKind = Literal[
    "no better than the mean", "worse", "can't tell", "matches", "beats", "suspicious"
]


class Part(BaseModel):
    """A block of a run's record."""

    # JSON knows no NaN; as text it stays valid JSON and comes back as it was.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class Git(Part):
    """The commit that the code was at, and whether the checkout differed from it."""

    commit: str
    is_dirty: bool


class DataFacts(Part):
    """The rows that a run saw, and what was noticed about them."""

    name: str
    path: str | None
    md5: str | None
    is_simulated: bool
    n_rows: int
    n_train: int
    n_val: int
    n_test: int
    split_sha256: str
    target: str
    unit: str
    noise_floor: float | None
    features: list[str]
    left_out_signal: dict[str, float]
    """Columns that are no feature though they explain this share of the target's variance."""
    allowed_leaks: dict[str, str]
    """Features that give the target away and were allowed by name, with the evidence."""
    warnings: list[str]
    n_sampled: int | None = None
    """Training rows that leak tests and baselines saw of a large table; None: all of them."""


class Hardware(Part):
    """The machine that a run ran on."""

    platform: str
    cpu: str
    n_cores: int
    accelerator: str
    n_threads: int


class Process(Part):
    """The process of a run.

    With it a reader tells a run that goes on from one whose process was killed.
    """

    host: str
    pid: int
    started: str | None
    """The process's start as the system writes it; None where it can't be asked.

    A process number may come back, with another start.
    """

    @classmethod
    def this(cls) -> Self:
        """Return the current process."""
        pid = os.getpid()
        return cls(host=socket.gethostname(), pid=pid, started=_process_start(pid))

    @property
    def is_alive(self) -> bool | None:
        """True if the process still runs, or None if that can't be known.

        It is not known of another machine, nor where the system gives no start times.
        """
        if self.started is None or self.host != socket.gethostname():
            return None
        return _process_start(self.pid) == self.started


class Tracked(Part):
    """A run's address at W&B, never its key."""

    mode: Literal["online", "offline", "disabled"]
    """How the run was tracked in the end: a server that can't be reached makes it offline."""
    id: str
    project: str
    entity: str | None
    group: str | None
    url: str | None = None
    is_confirmed: bool = False
    """The server has taken all of it."""
    note: str | None = None


class Scores(Part):
    """Errors of one predictor on the scored split, with 95 % intervals."""

    rmse: Interval
    mae: Interval
    r2: Interval
    bias: Interval


class Slice(Part):
    """Errors over the rows with one level of one column."""

    column: str
    level: str
    n: int
    rmse: float
    mae: Interval
    bias: Interval


class Conformal(Part):
    """A band around predictions that covers the true value with probability `level`.

    It is calibrated on val and tried on the scored split.
    """

    level: float
    half_width: float
    coverage: float
    n_val: int | None = None
    likely: tuple[float, float] | None = None
    """Lowest and highest share of new rows that it likely covers, given so few val rows."""


class Verdict(Part):
    """The run's judgement as a sentence."""

    kind: VerdictKind
    line: str
    baseline: str | None = None
    """The baseline that the line speaks of; None where it speaks of none."""
    n_rows_needed: int | None = None
    """About how many scored rows would decide it, where these can't."""


class BaselineStanding(Part):
    """A baseline's error on training rows that were held out from its fit."""

    rmse: Interval
    behind: Interval | None
    """RMSE minus that of the strongest baseline, paired, or None for the strongest itself."""
    is_tied: bool
    """True if the held-out rows can't tell it apart from the strongest."""


class BaselineChoice(Part):
    """The choice of the strongest baseline by cross-validation on the training rows."""

    standings: dict[str, BaselineStanding]
    """Each baseline's standing, the strongest first."""
    n_fits: int
    n_rows: int


class CutShort(Part):
    """A training that ended while val was still getting better, without early stopping."""

    metric: str
    best_epoch: int
    """Counted from 1, as people read it."""
    n_epochs: int
    gain: float
    """Fall of the metric's error over the last epochs, as a share of what it was."""
    n_gained: int
    """Number of epochs over which the error fell by `gain`."""
    way_out: str

    @property
    def line(self) -> str:
        """The finding as a sentence."""
        return (
            f"Training was cut short: epoch {self.best_epoch} of {self.n_epochs} was the best, "
            f"and {self.metric} was still getting better, "
            f"by {100 * self.gain:.2g} % over the last {self.n_gained}; try {self.way_out}."
        )


class Judgement(Part):
    """The scores of a run, its baselines and the verdict."""

    scored_on: Literal["test", "val"]
    scores: Scores
    baselines: dict[str, Scores]
    best_baseline: str
    against_best: Interval
    """RMSE minus that of the best baseline, paired."""
    against_mean: Interval
    against: dict[str, Interval] = Field(default_factory=dict)
    """RMSE minus that of each baseline, paired."""
    choice: BaselineChoice | None = None
    """How the best baseline was chosen; None in records of versions that chose it on val."""
    skill: float
    """1 - RMSE / RMSE of the mean."""
    conformal: Conformal | None
    slices: list[Slice]
    verdict: Verdict


def _process_start(pid: int) -> str | None:
    """Return when a process began, as the system writes it.

    None if there is no such process, or no way to ask.
    """
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").is_file():
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        # The name in parentheses may hold spaces. The state comes first after it, the start time 19
        # fields later.
        fields = text.rpartition(")")[2].split()
        # A zombie (Z) or a dead one (X) has ended, and only its parent has not noticed.
        return None if fields[0] in "ZX" else fields[19]
    # macOS has no /proc; Windows has no ps either.
    try:
        asked = subprocess.run(  # noqa: S603 - a fixed command and a number
            ["ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return asked.stdout.strip() or None
