"""W&B's names for what a run is, for the logging, the dashboard and the tests alike."""

from __future__ import annotations

EPOCH = "epoch"
CURVES = ("train/loss", "val/loss", "val/rmse", "val/mae", "val/r2", "lr", "seconds")
"""Values logged each epoch, beside `EPOCH`; `seconds` since the fit began."""
BEST_VALUE = "best/value"
"""Watched metric's best so far, each epoch: the last is the run's, also if it was killed."""
BEST_EPOCH = "best/epoch"

SCORES = ("rmse", "mae", "r2", "bias")
SKILL = "skill"
"""1 - RMSE / RMSE of the mean baseline."""
AGAINST_BEST = "against_best"
"""RMSE minus that of the best baseline, paired."""
VERDICT = "verdict"
VERDICT_LINE = "verdict_line"
CONFORMAL_WIDTH = "conformal/half_width"
CONFORMAL_COVERAGE = "conformal/coverage"
STATUS = "status"
TIME = "time"
"""Folder of `time/fit_s`, `time/judge_s` and so on."""

SLICES = "tables/slices"
PREDICTIONS = "tables/predictions"
BASELINES = "tables/baselines"
PLOTS = "plots"
"""Folder of the images: `plots/parity` for the run folder's plots/parity.png."""

RECORD = "record"
"""Block in W&B's configuration of what is known about the run beside its configuration."""
SYSTEM = ("system.proc.memory.rssMB", "system.cpu", "system.memory_percent")
"""W&B's own figures of the machine."""

TRIAL = "trial"
"""Axis of a study's own run, which has a row for each trial."""
TRIAL_VALUE = "trial/value"
STUDY_BEST = "study/best"
"""The best value so far, each trial."""
STUDY_COUNTS = "study"
"""Folder of `study/complete`, `study/pruned` and so on."""
AXES = {EPOCH: (*CURVES, BEST_VALUE), TRIAL: (TRIAL_VALUE, STUDY_BEST)}
"""Values by the axis that they are drawn over."""
TRIALS = "tables/trials"
CANDIDATES = "tables/candidates"


def score(scored_on: str, name: str, end: str = "") -> str:
    """Return the key of a score, or of an end of its 95 % interval: `test/rmse`, `test/rmse_low`.

    Scores on val are those of the best epoch.
    """
    place = "test" if scored_on == "test" else "val_best"
    if end:
        return f"{place}/{name}_{end}"
    return f"{place}/{name}"


def baseline(name: str, metric: str = "rmse") -> str:
    """Return the key of a baseline's score, such as `baseline/ridge_rmse`."""
    return f"baseline/{name}_{metric}"


def plot(stem: str) -> str:
    """Return the key of a plot, such as `plots/parity`."""
    return f"{PLOTS}/{stem}"


def duration(what: str) -> str:
    """Return the key of a duration, such as `time/fit_s`."""
    return f"{TIME}/{what}_s"
