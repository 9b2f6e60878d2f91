"""Looks at everything that a job needs, and says for each thing that is missing how to bring it about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studperf.cloud.checks import (
    SERVICES,
    check_api,
    check_bucket,
    check_credentials,
    check_image,
    check_secret,
    is_googles,
    require,
)
from studperf.cloud.job import image_of, secret_version
from studperf.errors import StudperfError

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.cloud.wire import Google
    from studperf.config.cloud import Vertex as Cloud

_DATABASE = "STUDPERF_STORAGE"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    is_fine: bool | None
    """None where only the job itself can look."""
    text: str
    """What was found, or what is wrong and what mends it."""


def examine(cloud: Cloud, google: Google, commit: str | None) -> Iterator[Finding]:
    """Looks at one thing after another; without somebody who is logged in there is nothing more to see."""
    needs_bucket = _look("settings", lambda: _settings(cloud))
    yield needs_bucket
    if cloud.project is None:
        return
    login = _look("credentials", lambda: check_credentials(google))
    yield login
    if not login.is_fine:
        return
    for service in SERVICES:
        yield _look("API", lambda service=service: check_api(google, service))  # type: ignore[misc]
    if cloud.bucket is not None:
        uri = cloud.bucket
        yield _look("bucket", lambda: check_bucket(google, uri))
    image = image_of(cloud, commit)
    if is_googles(image):
        yield _look("image", lambda: check_image(google, image))
    else:
        yield Finding(
            "image",
            is_fine=None,
            text=f"{image} is in no registry of Google's, so it was not looked for",
        )
    for variable, name in cloud.secrets.items():
        yield _look(
            f"secret {variable}",
            lambda name=name: check_secret(google, secret_version(cloud, name)),  # type: ignore[misc]
        )
    yield _database(cloud)


def _settings(cloud: Cloud) -> str:
    require(cloud)
    return f"project {cloud.project}, region {cloud.region}, {cloud.bucket}"


def _database(cloud: Cloud) -> Finding:
    """Only machines in its network reach a database, so from here one can say no more than whether a job would be given one."""
    if cloud.has_database:
        where = (
            f"by the network {cloud.network}"
            if cloud.network
            else "by its public address, as no cloud.network is set"
        )
        return Finding(
            "database",
            is_fine=None,
            text=f"workers get {_DATABASE} from {cloud.secrets[_DATABASE]}, and reach it {where}",
        )
    text = f"none: the workers of a study share one machine. For several: cloud.secrets.{_DATABASE}=SECRET with postgresql+psycopg://..."
    return Finding("database", is_fine=True, text=text)


def _look(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, is_fine=True, text=check())
    except StudperfError as error:
        return Finding(name, is_fine=False, text=str(error))


def show(finding: Finding, console: Console) -> None:
    """A line, with the remedy below it."""
    word, style = {
        True: ("ok", "green"),
        False: ("MISSING", "bold red"),
        None: ("not seen", "yellow"),
    }[finding.is_fine]
    console.print(
        f"{word:10}{finding.name}: {finding.text}", style=style, soft_wrap=True, markup=False
    )
