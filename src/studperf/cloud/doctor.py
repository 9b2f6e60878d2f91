"""Checks of everything that a job needs, each with the way out where something is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from studperf.cloud.checks import (
    SERVICES,
    check_api,
    check_bucket,
    check_credentials,
    check_image,
    check_place,
    check_secret,
    is_googles,
)
from studperf.cloud.job import image_of, secret_version
from studperf.config.console import print_line
from studperf.config.secrets import STORAGE_VARIABLE
from studperf.errors import StudperfError

if TYPE_CHECKING:
    from rich.console import Console

    from studperf.cloud.google.session import Google
    from studperf.config.cloud import Vertex as Cloud


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    is_fine: bool | None
    """None where only the job itself can look."""
    text: str
    """What was found, or what is wrong and what mends it."""


def examine(cloud: Cloud, google: Google, commit: str | None) -> Iterator[Finding]:
    """Check one thing after another; stop early where nobody is logged in."""
    yield _run_check("settings", lambda: _check_settings(cloud))
    if cloud.project is None:
        return

    login = _run_check("credentials", lambda: check_credentials(google))
    yield login
    if not login.is_fine:
        return

    for service in SERVICES:
        yield _run_check("API", partial(check_api, google, service))
    if cloud.bucket is not None:
        yield _run_check("bucket", partial(check_bucket, google, cloud.bucket))

    image = image_of(cloud, commit)
    if is_googles(image):
        yield _run_check("image", partial(check_image, google, image))
    else:
        text = f"{image} is in no registry of Google's, so it was not looked for"
        yield Finding("image", is_fine=None, text=text)

    for variable, name in cloud.secrets.items():
        version = secret_version(cloud, name)
        yield _run_check(f"secret {variable}", partial(check_secret, google, version))
    yield _find_database(cloud)


def _check_settings(cloud: Cloud) -> str:
    """Check that project and bucket are set."""
    check_place(cloud)
    return f"project {cloud.project}, region {cloud.region}, {cloud.bucket}"


def _find_database(cloud: Cloud) -> Finding:
    """Return which database the workers of a study would be given.

    Only machines in its network reach a database, so it is not tried from here.
    """
    if not cloud.has_database:
        text = (
            "none: the workers of a study share one machine. For several: "
            f"cloud.secrets.{STORAGE_VARIABLE}=SECRET with postgresql+psycopg://..."
        )
        return Finding("database", is_fine=True, text=text)

    where = "by its public address, as no cloud.network is set"
    if cloud.network:
        where = f"by the network {cloud.network}"
    secret = cloud.secrets[STORAGE_VARIABLE]
    text = f"workers get {STORAGE_VARIABLE} from {secret}, and reach it {where}"
    return Finding("database", is_fine=None, text=text)


def _run_check(name: str, check: Callable[[], str]) -> Finding:
    """Run a check; return what it found, or its error as a finding."""
    try:
        return Finding(name, is_fine=True, text=check())
    except StudperfError as error:
        return Finding(name, is_fine=False, text=str(error))


def show(finding: Finding, console: Console) -> None:
    """Print a finding in a line, with the remedy below it."""
    marks = {
        True: ("ok", "green"),
        False: ("MISSING", "bold red"),
        None: ("not seen", "yellow"),
    }
    word, style = marks[finding.is_fine]
    line = f"{word:10}{finding.name}: {finding.text}"
    print_line(console, line, style=style)
