"""The name of a run's model: the name by which the configuration chose it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from studperf.config.interpolation import typed_words

if TYPE_CHECKING:
    from omegaconf import DictConfig

AUTO = "auto"
# As many characters as the key `model_name` takes.
_MAX_LENGTH = 64
OUR_MODELS = "studperf.models."


def name_of_choice(choice: str, target: str, words: Iterable[str]) -> str:
    """Return what to call the model of a composed configuration.

    Args:
        choice: NAME of `model=NAME`; of a file in a folder of its own, `folder/name`.
        target: the `_target_` that the configuration ended with.
        words: of the command line; one that sets `model._target_` leaves nothing of the choice but
            its hyperparameters.
    """
    keys = [word.partition("=")[0].lstrip("+") for word in words]
    if "model._target_" in keys and not target.startswith(OUR_MODELS):
        module, _, name = target.rpartition(".")
        choice = f"{module.rpartition('.')[2]}.{name}"
    elif "model._target_" in keys:
        choice = name_of_target(target)
    return re.sub(r"[^\w.+-]", "-", choice.replace("/", "."))[:_MAX_LENGTH]


def name_of_target(target: str) -> str:
    """Return the stem that a model's files share: `mlp` for `studperf.models.mlp.MLP`.

    Runs that were recorded without a name go by it.
    """
    parts = target.split(".")
    return parts[-2] if len(parts) > 1 else target


def put_name(cfg: DictConfig, hydra: Any) -> None:  # noqa: ANN401 - HydraConf or DictConfig
    """Put the model's name into a composed configuration that leaves it to the choice.

    Args:
        cfg: changed in place, where its `model_name` is `auto`.
        hydra: Hydra's own part of the same composition; it knows the choices.
    """
    from omegaconf import OmegaConf

    choice = hydra.runtime.choices.get("model")
    target = OmegaConf.select(cfg, "model._target_")
    if cfg.get("model_name") == AUTO and choice is not None and target is not None:
        cfg["model_name"] = name_of_choice(str(choice), str(target), typed_words(hydra))


def take_hydra_off(cfg: DictConfig) -> DictConfig:
    """Return a composed configuration without Hydra's own part.

    The model's name is put in.
    """
    from omegaconf import open_dict

    put_name(cfg, cfg.hydra)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg
