"""The shape of a run's configuration: what each key may hold. Values live in `conf/`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from studperf.config.cloud import Cloud
from studperf.config.dataset import Block, Dataset
from studperf.config.types import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
    of_form,
)

Metric = Literal["val/loss", "val/rmse", "val/mae", "val/r2"]
# Runs of one multirun: more would take days, and the list of a mistyped range would fill the memory
# before anybody sees it.
MAX_RUNS = 10_000
# Each is a thread of the system, which are started at once; a million of them take minutes.
_MAX_THREADS = 1024
_N_SEEDS = 2**32
Seed = Annotated[int, Field(ge=0, lt=_N_SEEDS, strict=True)]
# A `_target_` and its arguments, checked against the signature of the target.
Node = dict[str, Any]


class Monitor(Block):
    """The one metric that early stopping, the best checkpoint and sweeps watch."""

    metric: Metric
    patience: PositiveInt
    min_delta: NonNegativeFloat

    @property
    def mode(self) -> Literal["min", "max"]:
        """Direction in which the metric improves."""
        return "max" if self.metric == "val/r2" else "min"


class Loss(Block):
    """The training loss.

    `delta` belongs to huber, in standard deviations of the target; `quantile` to quantile.
    """

    name: Literal["mse", "huber", "gaussian_nll", "quantile"]
    delta: PositiveFloat
    quantile: Fraction


class Optimizer(Block):
    """The optimizer of the model's parameters.

    `momentum` belongs to sgd alone.
    """

    name: Literal["adamw", "adam", "sgd"]
    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    momentum: Probability


class Scheduler(Block):
    """The learning rate over the run.

    It rises linearly over `warmup` of all steps, then stays, or falls along a cosine to zero.
    """

    name: Literal["none", "cosine"]
    warmup: Probability


class Encode(Block):
    """Encoding of columns as tensors."""

    numbers: Literal["standard", "quantile"]
    categories: Literal["codes", "onehot"]


class Wandb(Block):
    """Settings of Weights & Biases.

    The API key itself stays in the environment or in ~/.netrc, never here.
    """

    mode: Literal["auto", "online", "offline", "disabled"]
    # W&B itself takes no other names of projects, and no longer tags.
    project: Annotated[
        str, of_form(r"[^/\\#?%:]{1,128}", "1 to 128 characters, none of them / \\ # ? % :")
    ]
    entity: str | None
    group: str | None
    name: str | None
    tags: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...]
    init_timeout_s: PositiveFloat
    finish_timeout_s: PositiveFloat
    flush_s: PositiveFloat
    system_s: PositiveFloat
    predictions: NonNegativeInt


class Tracking(Block):
    """Trackers that a run is reported to, beside its own folder."""

    wandb: Wandb


class RunConfig(Block):
    """The checked configuration of a run, as `load` returns it."""

    seed: Seed
    model_name: Annotated[str, of_form(r"[\w.+-]{1,64}", "1 to 64 letters, digits or . + - _")]
    """The model's name in tables, pages and folders.

    `config.load` puts the name that was chosen in the place of `auto`.
    """
    runs: Annotated[str, Field(min_length=1)]
    resume: str | None
    repeat: Annotated[int, Field(gt=0, le=MAX_RUNS, strict=True)]
    engine: Literal["ordinary", "stacked"]
    score_on: Literal["test", "val"]
    batch_size: PositiveInt
    threads: Literal["auto"] | Annotated[int, Field(gt=0, le=_MAX_THREADS, strict=True)]
    progress: bool
    export: Literal["auto"] | bool
    plots: bool
    monitor: Monitor
    loss: Loss
    optimizer: Optimizer
    scheduler: Scheduler
    encode: Encode
    tracking: Tracking
    cloud: Cloud
    data: Dataset
    model: Node
    trainer: Node

    @model_validator(mode="after")
    def _check_last_seed(self) -> Self:
        if self.seed + self.repeat > _N_SEEDS:
            raise ValueError(
                f"seed + repeat must be at most {_N_SEEDS}: "
                f"the last run has the seed {self.seed + self.repeat - 1}"
            )
        return self
