"""Recognition of secrets, to keep them out of configurations, messages and logs.

All of these are recorded and uploaded.
"""

from __future__ import annotations

import functools
import netrc
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from studperf.config.faults import Fault
from studperf.config.interpolation import is_table_text, name_of, walk

STORAGE_VARIABLE = "STUDPERF_STORAGE"
"""The environment variable with the address of the database that studies are shared by."""
_KEYS = ("WANDB_API_KEY",)
_ENVIRONMENT = "hydra.job.env_set"
_STORAGE = "hydra.sweeper.storage"
# This block holds names of Secret Manager's, by which a job finds the secrets themselves.
_BY_NAME = "cloud.secrets"
_COLUMNS = "data.columns"
_HIDDEN = "***"
# Shorter values are no keys, and would be found everywhere.
_MIN_LENGTH = 8

_NAME = (
    r"(?:pass(?:word|wd|phrase)|secret|token|credentials?|authorization|signature"
    r"|(?:api|access|secret|account|private|shared|storage|signing|encryption|master|auth|ssh)"
    r"[-_]?(?:access[-_]?)?key(?:[-_]?id)?"
    r"|connection[-_]?string|database[-_]?url|(?<![a-z])(?:pwd|sas|sig|dsn))"
)
_SOUNDS_SECRET = re.compile(rf"{_NAME}$", re.IGNORECASE)
_VARIABLE_SOUNDS_SECRET = re.compile(
    rf"(?:{_NAME}|KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)$", re.IGNORECASE
)
_SOUNDS_SECRET_INSIDE = re.compile(
    r"(\w*(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS))['\"]?\s*:", re.IGNORECASE
)
# `password=...` in a query, a connection string or a block; the second group is the secret.
_NAMED_VALUE = re.compile(
    rf"(\w*{_NAME}['\"]?\s*(?:=|:(?!//))\s*['\"]?(?:bearer\s+|basic\s+)?)([^\s,;&#}}\]'\"]+)",
    re.IGNORECASE,
)
# fsspec's name of an access key, in a block; short names that mean a key in a query.
_SHORT_NAMED_VALUES = (
    re.compile(r"([{,]\s*['\"]?key['\"]?\s*:\s*['\"]?)([^\s,;&#}\]'\"]+)", re.IGNORECASE),
    re.compile(r"([?&](?:key|code|auth)=)([^\s&#'\"]+)", re.IGNORECASE),
)
# Secrets that are starred in a message. Fewer forms than are refused, as a column may be called
# `token`, and a message begin with `token: `.
_SHOWN = (
    re.compile(
        rf"(\w*{_NAME}['\"]?\s*=\s*['\"]?(?:bearer\s+|basic\s+)?)([^\s,;&#}}\]'\"]+)", re.IGNORECASE
    ),
    re.compile(rf"([{{,]\s*\w*{_NAME}\s*:\s*['\"]?)([^\s,;&#}}\]'\"]+)", re.IGNORECASE),
    re.compile(rf"(['\"]\w*{_NAME}['\"]\s*:\s*['\"])([^\s,;&#}}\]'\"]+)", re.IGNORECASE),
    re.compile(r"(authorization:\s*(?:bearer|basic)?\s*)(\S+)", re.IGNORECASE),
    _SHORT_NAMED_VALUES[1],
)
# The user in an address; its password may hold a slash, though it should not.
_USER = re.compile(r"([a-zA-Z][\w+.-]*)(://)([^\s/]*|[^\s/:@]+:(?!\d{1,5}/)[^\s@]*)@")
# Schemes in which a container's name stands where others have the user.
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs")
# Schemes in which a user without a password is a token; a database, or ssh, asks for the password
# elsewhere.
_SCHEMES_OF_TOKENS = ("http", "https", "ftp", "ftps", "s3", "gs", "gcs", "az", "git+https")
# Keys that are known by their form: of AWS, GitHub, GitLab, Slack, OpenAI, Hugging Face, Google;
# JSON web tokens; PEM.
_TOKEN = re.compile(
    r"\b(?:A[KS]IA[0-9A-Z]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|xox[abprs]-[\w-]{10,}|sk-[\w-]{20,}|hf_\w{20,}|AIza[\w-]{30,}|ya29\.[\w-]{20,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
# Values that are no secret whatever their name says: `model.d_token=choice(64,128)`.
_NO_SECRET = re.compile(
    r"(?:null|none|true|false|\*+|\.\.\.|<\w+>|(?:choice|range|interval|int|float|tag|log|shuffle|sort"
    r"|by|step|start|stop|[\d.,eE+\-()\[\] =])*)",
    re.IGNORECASE,
)
# A variable's value that is a word, a number or a path, and may stand anywhere.
_NO_KEY = re.compile(r"[a-z]+|[\d.]+|[./~].*", re.DOTALL)


def mask(text: str) -> str:
    """Return a text with every secret in it replaced by stars.

    Secrets are users in addresses, tokens in queries, and what follows `password=`.
    """
    text = _USER.sub(_star_user, text)
    for pattern in _SHOWN:
        text = pattern.sub(_star_value, text)
    return _TOKEN.sub(_HIDDEN, text)


def _star_user(found: re.Match[str]) -> str:
    scheme, mark, user = found.groups()
    if scheme.lower() in _CONTAINERS and ":" not in user:
        return found[0]
    return f"{scheme}{mark}{_HIDDEN}@"


def _star_value(found: re.Match[str]) -> str:
    if _NO_SECRET.fullmatch(found[2]):
        return found[0]
    return f"{found[1]}{_HIDDEN}"


def secret_words(words: Sequence[str]) -> list[Fault]:
    """Return a fault for each word of a command line that holds a secret.

    No fault repeats the secret.
    """
    held = _kept_keys()
    faults = []
    for word in words:
        name, is_given, value = word.partition("=")
        name = name.lstrip("+~")
        if what := _why_secret_word(name, value if is_given else name, held):
            faults.append(Fault(mask(name), what))
    return faults


def _why_secret_word(name: str, value: str, held: Mapping[str, str]) -> str | None:
    variable = name.removeprefix(f"{_ENVIRONMENT}.")
    if name in (_ENVIRONMENT, "hydra.job", "hydra") and (
        secret := _SOUNDS_SECRET_INSIDE.search(value)
    ):
        return (
            f"hydra would write {secret[1]} down; "
            f"set it before the command: {secret[1]}=... python -m ..."
        )
    if name.startswith(_ENVIRONMENT) and _VARIABLE_SOUNDS_SECRET.search(name):
        return f"hydra would write it down; set it before the command: {variable}=... python -m ..."
    if name == _STORAGE and _has_user_secret(value):
        return (
            "the command line is no place for a password; "
            f"set the address before the command: {STORAGE_VARIABLE}=..."
        )
    return _why_secret(name, value, held)


def find_secrets(plain: Any, name: str = "") -> Iterator[Fault]:  # noqa: ANN401 - any YAML
    """Return a fault for each place of a composed configuration that holds a secret.

    Args:
        plain: the values.
        name: where they stand.
    """
    held = _kept_keys()
    above = tuple(name.split(".")) if name else ()
    for path, text in walk(plain, above):
        if not isinstance(text, str):
            continue
        place = _without_places(name_of(path))
        # A table's text may look like anything; the value of a key that is kept here is a secret
        # nevertheless.
        what = _why_kept(text, held) if is_table_text(path) else _why_secret(place, text, held)
        if what is not None:
            yield Fault(place, what)


def _without_places(name: str) -> str:
    return re.sub(r"\[\d+\]$", "", name)


def _why_secret(name: str, value: str, held: Mapping[str, str]) -> str | None:
    """Return why a value is a secret, and the way out, or None if it is none."""
    if what := _why_kept(value, held):
        return what
    is_by_name = name == _BY_NAME or name.startswith(f"{_BY_NAME}.")
    is_column = name == _COLUMNS or name.startswith(f"{_COLUMNS}.")
    last = name.rpartition(".")[2]
    where = "" if is_by_name or is_column else last
    is_number = bool(_NO_SECRET.fullmatch(value.strip("'\" ")))
    if where and _SOUNDS_SECRET.search(where) and value and not is_number:
        return f"by its name it is a secret, {_way_out(name)}"
    if _has_user_secret(value):
        return f"holds an address with a password or a token in it, {_way_out(name)}"
    if _TOKEN.search(value):
        return f"holds an access key, {_way_out(name)}"
    if is_by_name or is_column:
        return None

    said: list[tuple[str, str]] = []
    for pattern in (_NAMED_VALUE, *_SHORT_NAMED_VALUES):
        said += pattern.findall(value)
    if any(not _NO_SECRET.fullmatch(secret) for _, secret in said):
        return f"holds a password, a token or a signature, {_way_out(name)}"
    return None


def _way_out(name: str) -> str:
    """Return why a secret can't stand at a key, and where it belongs."""
    why = "and a run's configuration is written down"
    if name.startswith("data."):
        return (
            f"{why}; bring the table to this machine first, "
            "with the credentials where that tool keeps them "
            "(environment, ~/.netrc, dvc remote modify --local)"
        )
    if name.startswith("cloud."):
        return f"{why}; put it into Secret Manager, and name it: cloud.secrets.VARIABLE=NAME"
    return (
        f"{why}; set it before the command, as a variable that the library itself reads, "
        "or leave it in a keyring; for a job: cloud.secrets.VARIABLE=NAME, "
        "its name in Secret Manager"
    )


def _has_user_secret(text: str) -> bool:
    """Return True if a text holds an address with a secret user part.

    That is one with a password, or a user that can only be a token.
    """
    for scheme, _, user in _USER.findall(text):
        if ":" in user:
            return True
        if user and scheme.lower() in _SCHEMES_OF_TOKENS:
            return True
    return False


def _why_kept(text: str, held: Mapping[str, str]) -> str | None:
    for name, value in held.items():
        if value in text:
            return (
                f"holds the value of {name}, and a run's configuration is written down; "
                "leave the key where it is"
            )
    return None


def _kept_keys() -> dict[str, str]:
    """Return the keys that this machine keeps, each under the place that it is kept in."""
    given = os.environ.get("NETRC")
    path = Path(given) if given else Path.home() / ".netrc"
    state = path.stat().st_mtime_ns if path.is_file() else 0
    held = {**_netrc_keys(path, state)}
    for variable, value in os.environ.items():
        is_key = _VARIABLE_SOUNDS_SECRET.search(variable) and not _NO_KEY.fullmatch(value)
        if variable in _KEYS or is_key:
            held[variable] = value
        if "://" in value and (password := _password_of(value)):
            held[f"the password in {variable}"] = password
    return {name: value for name, value in held.items() if len(value) >= _MIN_LENGTH}


def _password_of(address: str) -> str | None:
    try:
        password = urlsplit(address).password
    except ValueError:
        return None
    if password is None or _NO_KEY.fullmatch(password):
        return None
    return password


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
