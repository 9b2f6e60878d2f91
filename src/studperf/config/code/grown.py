"""Models that are grown in rounds: which they are, and the keys that mean nothing to them.

It is told from the source of a model's class, before anything heavy is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from studperf.config.code.signature import TargetNotFoundError, is_derived, read_signature
from studperf.config.faults import Fault

_BASE = "studperf.models.trees.TreeModel"
_NOT_BATCHES = "each round reads all training rows at once"
# Beginning of a key -> the key of the model that does it, or why there is none.
_IDLE: Mapping[str, str] = {
    "optimizer.lr": "model.learning_rate",
    "optimizer.weight_decay": "model.l2",
    "optimizer": "trees are grown, not trained by gradient descent",
    "scheduler": "its learning rate stays as it is",
    "batch_size": _NOT_BATCHES,
    "monitor.patience": "model.patience",
}
# Arguments of the Trainer that change nothing if they have one of these values.
_TRAINER: Mapping[str, tuple[Any, ...]] = {
    "_target_": ("lightning.pytorch.Trainer",),
    "accelerator": (None, "auto", "cpu"),
    "devices": (None, 1, "auto"),
    "num_nodes": (None, 1),
    "precision": (None, "32-true", "32", 32),
    "gradient_clip_val": (None,),
    "accumulate_grad_batches": (None, 1),
    "deterministic": (None, True),
}
# Arguments that growing follows whatever their value.
_FOLLOWED = ("max_epochs", "max_time")


def is_grown(model: Mapping[str, Any]) -> bool:
    """Return True if the class that a node names is grown in rounds, and not a network."""
    try:
        return is_derived(str(model.get("_target_")), _BASE)
    except TargetNotFoundError:
        return False


def find_idle_keys(keys: Iterable[str], models: Mapping[str, Mapping[str, Any]]) -> list[Fault]:
    """Find the keys of a command line that mean nothing to any of its models.

    Args:
        keys: of its words.
        models: the name and the node of each model that is asked for.
    """
    nodes = list(models.values())
    if not nodes or not all(map(is_grown, nodes)):
        return []
    said = f"means nothing to model={','.join(models)}"
    faults = []
    for key in keys:
        way_out = next((_IDLE[idle] for idle in _IDLE if f"{key}.".startswith(f"{idle}.")), None)
        if way_out is not None:
            faults.append(Fault(key, f"{said}: {_name_way_out(way_out, nodes)}"))
    return faults


def _name_way_out(way_out: str, models: Sequence[Mapping[str, Any]]) -> str:
    block, _, name = way_out.partition(".")
    if block != "model":
        return way_out
    signatures = [read_signature(str(model["_target_"])) for model in models]
    if all(name in signature.annotations for signature in signatures):
        return f"{way_out} does"
    return "its own keys are those of its YAML"


def find_growth_faults(plain: Mapping[str, Any]) -> list[Fault]:
    """Find what a run's values ask of a model that is grown and can't follow; none of a network."""
    model, trainer, loss = (plain.get(name) for name in ("model", "trainer", "loss"))
    if not isinstance(model, dict) or not is_grown(model):
        return []
    faults: list[Fault] = []
    if isinstance(trainer, dict):
        faults += _find_trainer_faults(trainer)
    if isinstance(loss, dict) and loss.get("name") == "gaussian_nll":
        what = "gaussian_nll learns a variance beside the model, which trees don't; take mse"
        faults.append(Fault("loss.name", what))
    return faults


def _find_trainer_faults(trainer: Mapping[str, Any]) -> list[Fault]:
    """Find what the Trainer is asked for and a model that is grown can't follow.

    A name that the Trainer does not know is another fault, and found elsewhere.
    """
    try:
        known = read_signature(str(trainer.get("_target_"))).annotations
    except TargetNotFoundError:
        return []
    faults = []
    for name, value in trainer.items():
        allowed = _TRAINER.get(name, ())
        if name in _FOLLOWED or is_one_of(value, allowed) or name not in ("_target_", *known):
            continue
        what = f"{value} means nothing to a model that is grown in rounds, on this machine's CPU"
        followed = " and ".join(f"trainer.{key}" for key in _FOLLOWED)
        faults.append(Fault(f"trainer.{name}", f"{what}: it follows {followed} alone"))
    return faults


def is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:  # noqa: ANN401 - an argument of the Trainer
    """Return True if a value is allowed, type and all: in Python, True equals 1."""
    return any(value == option and type(value) is type(option) for option in allowed)
