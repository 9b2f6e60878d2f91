"""Keeps keys out of the configuration: it is recorded, logged and uploaded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from studperf.config.faults import Fault

_KEYS = ("WANDB_API_KEY",)
_ENVIRONMENT = "hydra.job.env_set"
_SOUNDS_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)$", re.IGNORECASE)
_SOUNDS_SECRET_INSIDE = re.compile(r"(\w*(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS))['\"]?\s*:", re.IGNORECASE)
_MIN_LENGTH = 8
"""Shorter values are no keys, and would be found everywhere."""


def secret_words(words: Sequence[str]) -> list[Fault]:
    """The words of a command line that hold a key: its value, or a name that hydra would set in the environment and write down."""
    faults = []
    for word in words:
        name, _, value = word.partition("=")
        name = name.lstrip("+~")
        variable = name.removeprefix(f"{_ENVIRONMENT}.")
        if name in (_ENVIRONMENT, "hydra.job", "hydra") and (secret := _SOUNDS_SECRET_INSIDE.search(value)):
            faults.append(Fault(name, f"hydra would write {secret[1]} down; set it before the command: {secret[1]}=... python -m ..."))
        elif name.startswith(_ENVIRONMENT) and _SOUNDS_SECRET.search(name):
            faults.append(Fault(name, f"hydra would write it down; set it before the command: {variable}=... python -m ..."))
        elif held := _key_in(value):
            faults.append(_told(name, held))
    return faults


def find_secrets(plain: Any, name: str = "") -> Iterator[Fault]:  # noqa: ANN401 - whatever YAML holds
    """The places of a composed configuration that hold a key."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from find_secrets(value, f"{name}.{key}" if name else str(key))
    elif isinstance(plain, list | tuple):
        for value in plain:
            yield from find_secrets(value, name)
    elif isinstance(plain, str) and (variable := _key_in(plain)):
        yield _told(name, variable)


def _key_in(text: str) -> str | None:
    values = {variable: os.environ.get(variable, "") for variable in _KEYS}
    return next((variable for variable, value in values.items() if len(value) >= _MIN_LENGTH and value in text), None)


def _told(name: str, variable: str) -> Fault:
    return Fault(name, f"holds the value of {variable}, and a run's configuration is written down; leave the key in the environment")
