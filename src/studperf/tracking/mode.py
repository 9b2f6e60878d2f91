"""The choice whether a run goes to W&B live, is recorded for later, or is not tracked.

wandb is not imported for it.
"""

from __future__ import annotations

import configparser
import netrc
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from studperf.errors import ConfigError

Mode = Literal["online", "offline", "disabled"]
_CLOUD = "https://api.wandb.ai"
# Set by the launchers of distributed training.
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK")
_WANDB_MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


def choose_mode(asked: str) -> Mode:
    """Return the mode of a run; `auto` reads WANDB_MODE, and goes online if there is a key.

    Of several processes that train one model, only the first is tracked.

    Raises:
        ConfigError: WANDB_MODE holds a word that is no mode.
    """
    if any(os.environ.get(rank, "0") != "0" for rank in _RANKS):
        return "disabled"
    if asked == "auto":
        asked = os.environ.get("WANDB_MODE", "").lower()
    if asked and asked not in _WANDB_MODES:
        raise ConfigError(f"WANDB_MODE={asked}: is no mode; valid: online, offline, disabled")
    if asked:
        return _WANDB_MODES[asked]
    # Without a key and a terminal to ask at, wandb itself would raise, and end the training.
    return "online" if has_key() else "offline"


def has_key() -> bool:
    """Return True if W&B would find a key in WANDB_API_KEY, or for its server in the netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True

    host = urlparse(server_url()).hostname or ""
    given = os.environ.get("NETRC")
    paths = [Path.home() / ".netrc", Path.home() / "_netrc"]
    if given:
        paths = [Path(given)]
    for path in paths:
        try:
            # Not authenticators(): its "default" entry is for other sites.
            if host in netrc.netrc(str(path.expanduser())).hosts:
                return True
        except (
            OSError,
            RuntimeError,
            netrc.NetrcParseError,
        ):  # RuntimeError: ~NAME of a user that is not there
            continue
    return False


def server_url() -> str:
    """Return the address of W&B's server.

    It is WANDB_BASE_URL, or what `wandb login --host` wrote, or W&B's cloud.
    """
    url = os.environ.get("WANDB_BASE_URL")
    if url:
        return url.rstrip("/")

    settings = configparser.ConfigParser(interpolation=None)
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb")
    try:
        settings.read(folder.expanduser() / "settings", encoding="utf-8")
    except (configparser.Error, OSError, RuntimeError, UnicodeDecodeError):
        return _CLOUD
    return settings.get("default", "base_url", fallback=_CLOUD).rstrip("/")
