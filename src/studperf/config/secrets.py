"""Keeps keys out of the configuration: it is recorded, logged and uploaded."""

from __future__ import annotations

import functools
import netrc
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from studperf.config.faults import Fault

_KEYS = ("WANDB_API_KEY",)
_ENVIRONMENT = "hydra.job.env_set"
_STORAGE = "hydra.sweeper.storage"
_HAS_PASSWORD = re.compile(r"://[^\s:/@]*:[^\s/]+@")
_SOUNDS_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)$", re.IGNORECASE)
_SOUNDS_SECRET_INSIDE = re.compile(
    r"(\w*(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS))['\"]?\s*:", re.IGNORECASE
)
_MIN_LENGTH = 8
"""Shorter values are no keys, and would be found everywhere."""


def secret_words(words: Sequence[str]) -> list[Fault]:
    """The words of a command line that hold a key: its value, or a name that hydra would set in the environment and write down."""
    faults = []
    for word in words:
        name, _, value = word.partition("=")
        name = name.lstrip("+~")
        variable = name.removeprefix(f"{_ENVIRONMENT}.")
        if name in (_ENVIRONMENT, "hydra.job", "hydra") and (
            secret := _SOUNDS_SECRET_INSIDE.search(value)
        ):
            faults.append(
                Fault(
                    name,
                    f"hydra would write {secret[1]} down; set it before the command: {secret[1]}=... python -m ...",
                )
            )
        elif name.startswith(_ENVIRONMENT) and _SOUNDS_SECRET.search(name):
            faults.append(
                Fault(
                    name,
                    f"hydra would write it down; set it before the command: {variable}=... python -m ...",
                )
            )
        elif name == _STORAGE and _HAS_PASSWORD.search(value):
            faults.append(
                Fault(
                    name,
                    "the command line is no place for a password; set the address before the command: STUDPERF_STORAGE=...",
                )
            )
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
    return next(
        (name for name, value in _held().items() if len(value) >= _MIN_LENGTH and value in text),
        None,
    )


def _held() -> dict[str, str]:
    """Where a key is kept -> the key."""
    given = os.environ.get("NETRC")
    path = Path(given) if given else Path.home() / ".netrc"
    state = path.stat().st_mtime_ns if path.is_file() else 0
    return {
        **_netrc_keys(path, state),
        **{variable: os.environ.get(variable, "") for variable in _KEYS},
    }


@functools.lru_cache(maxsize=1)
def _netrc_keys(path: Path, state: int) -> dict[str, str]:
    if not state:
        return {}
    try:
        hosts = netrc.netrc(str(path)).hosts
    except (OSError, netrc.NetrcParseError):
        return {}
    return {
        f"the key for {host} in {path.name}": password or ""
        for host, (_, _, password) in hosts.items()
    }


def _told(name: str, variable: str) -> Fault:
    return Fault(
        name,
        f"holds the value of {variable}, and a run's configuration is written down; leave the key where it is",
    )
