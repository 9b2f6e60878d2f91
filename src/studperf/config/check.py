"""Checks of a whole configuration: its shape, and the signatures that its nodes name."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from studperf.config.code.grown import find_growth_faults
from studperf.config.code.signature import check_node
from studperf.config.faults import Fault, explain_all
from studperf.config.naming import OUR_MODELS
from studperf.config.run import RunConfig
from studperf.config.study import MAX_WORKERS, SweepConfig

_TRAINER = "lightning.pytorch.Trainer"
# What train.run passes to the Trainer itself, so that a YAML can't.
_TRAINER_GIVEN = frozenset(
    {
        *(
            "callbacks",
            "logger",
            "default_root_dir",
            "enable_progress_bar",
            "enable_checkpointing",
            "enable_model_summary",
        ),
        *("check_val_every_n_epoch", "val_check_interval"),  # each epoch has its row in the history
    }
)


def check_run(plain: dict[str, Any]) -> tuple[list[Fault], RunConfig | None]:
    """Return all faults of a run's values, and the configuration if its shape has none.

    Args:
        plain: values as YAML holds them; `auto` of a signature's arguments is filled in.
    """
    faults: list[Fault] = []
    given_to = {"model": frozenset({"features"}), "trainer": _TRAINER_GIVEN}
    for name, given in given_to.items():
        node = plain.get(name)
        if isinstance(node, dict):
            plain[name], found = check_node(node, name, given=given)
            faults += found

    trainer = plain.get("trainer")
    if isinstance(trainer, dict):
        faults += _find_trainer_faults(trainer)
    faults += find_growth_faults(plain)
    try:
        return faults, RunConfig.model_validate(plain)
    except ValidationError as error:
        return [*explain_all(error.errors(), plain, RunConfig), *faults], None


def check_sweeper(settings: dict[str, Any]) -> tuple[list[Fault], SweepConfig | None]:
    """Return all faults of `hydra.sweeper`, and the settings of a study if there are none."""
    plain = {
        key: value
        for key, value in settings.items()
        if key not in ("_target_", "_recursive_", "_convert_")
    }
    faults: list[Fault] = []
    given = frozenset({"seed", "search_space"})
    for name in ("sampler", "pruner"):
        node = plain.get(name)
        if isinstance(node, dict):
            plain[name], found = check_node(node, name, given=given)
            faults += found

    try:
        config = SweepConfig.model_validate(plain)
    except ValidationError as error:
        faults += explain_all(error.errors(), plain, SweepConfig)
        config = None
    if config is not None and config.mode == "worker" and config.n_jobs > MAX_WORKERS:
        what = (
            f"{config.n_jobs} would start as many processes on this machine, at most {MAX_WORKERS} "
            "are started; hydra.sweeper.mode=batch sends trials to a launcher's machines"
        )
        faults.append(Fault("n_jobs", what))
    return [Fault(f"hydra.sweeper.{fault.where}", fault.what) for fault in faults], config


def _find_trainer_faults(trainer: dict[str, Any]) -> list[Fault]:
    """Return the values that Lightning's Trainer takes and a run can't be made with."""
    faults = []
    epochs = trainer.get("max_epochs")
    if isinstance(epochs, int) and epochs < 1:
        faults.append(Fault("trainer.max_epochs", f"must be at least 1, got {epochs}"))

    for key in ("limit_train_batches", "limit_val_batches", "accumulate_grad_batches"):
        value = trainer.get(key)
        if isinstance(value, int | float) and value <= 0:
            why = "each epoch trains and is scored on val"
            faults.append(Fault(f"trainer.{key}", f"must be greater than 0, got {value}: {why}"))

    precision = trainer.get("precision")
    if precision in ("16-true", "bf16-true"):
        mixed = str(precision).replace("true", "mixed")
        what = f"{precision} rounds the target itself, to two or three digits; take {mixed}"
        faults.append(Fault("trainer.precision", what))
    return faults


def find_foreign_targets(plain: dict[str, Any]) -> list[Fault]:
    """Return a fault for each node of a run folder that names code from outside of studperf.

    Reading a folder must not import what somebody has written into it.
    """
    what = "a run folder could name any code; only {} is taken from one, got {!r}"
    faults = []
    model = str(plain["model"].get("_target_"))
    if not model.startswith(OUR_MODELS):
        faults.append(Fault("model._target_", what.format(OUR_MODELS, model)))
    trainer = str(plain["trainer"].get("_target_"))
    if trainer != _TRAINER:
        faults.append(Fault("trainer._target_", what.format(_TRAINER, trainer)))
    return faults
