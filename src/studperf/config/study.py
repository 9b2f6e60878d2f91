"""The shape of `hydra.sweeper`: the settings of a study.

Values live in `conf/hydra/sweeper/` and in `sweeps/`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from studperf.config.dataset import Block
from studperf.config.run import Node
from studperf.config.types import NonNegativeInt, Number, PositiveFloat, PositiveInt, of_form

# A trial's result that a study can optimise or bound: a metric of its best epoch, or a cost of its
# model.
Outcome = Literal[
    "val/loss", "val/rmse", "val/mae", "val/r2", "n_parameters", "fit_seconds", "latency_ms"
]
# Each worker on this machine is a process of its own that imports torch: some 300 MB.
MAX_WORKERS = 256
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
# The name of a study, and of its folder.
Name = Annotated[
    str,
    # 2026 is a name as good as any; a boolean is an `int` too, and none.
    BeforeValidator(lambda name: str(name) if type(name) is int else name),
    of_form(
        r"\w[\w.+-]*",
        "made of letters, digits and . _ + - alone, and begin with a letter, a digit or _",
    ),
]
# Hydra's sweep grammar, or a plain value.
Domain = str | int | float | bool | None


_MULTIRUN = "hydra_plugins.studperf_sweeper.MultirunSweeper"


def is_plain_multirun(target: object) -> bool:
    """Return True if a sweeper's `_target_` runs all values in order, without a study."""
    return str(target).startswith("hydra._internal") or str(target) == _MULTIRUN


class Conditional(Block):
    """Parameters that are varied only where the keys of `when` have these values."""

    when: dict[str, Domain] = Field(min_length=1)
    params: dict[str, Domain]


class Winner(Block):
    """Choice of a study's winner: `top` candidates are refitted on `seeds` fresh seeds each."""

    top: NonNegativeInt
    seeds: PositiveInt


class SweepConfig(Block):
    """A study: its search space, its number of trials, and the sampler that picks them."""

    study: Name | None
    storage: str | None
    n_trials: PositiveInt
    n_jobs: PositiveInt
    seed: NonNegativeInt
    repeat: PositiveInt
    objectives: Annotated[tuple[Outcome, ...], Field(min_length=1)] | None
    constraints: dict[Outcome, Number]
    patience: PositiveInt | None
    timeout_s: PositiveFloat | None
    max_failures: Share
    max_retries: NonNegativeInt
    heartbeat_s: PositiveInt
    grace_s: PositiveInt
    winner: Winner
    mode: Literal["worker", "batch"]
    dry_run: bool
    sampler: Node
    pruner: Node
    params: dict[str, Domain]
    conditional: tuple[Conditional, ...]

    def maximised(self, outcome: str) -> bool:
        """Return True if larger values of an outcome are better."""
        return outcome == "val/r2"
