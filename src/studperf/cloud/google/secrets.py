"""Secrets that a job reads from Secret Manager into its environment.

They are shown to nobody and written nowhere.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

from studperf.errors import CloudError

if TYPE_CHECKING:
    from studperf.cloud.google.session import Google


def name_of_secret(version: str) -> str:
    """Return NAME of projects/PROJECT/secrets/NAME/versions/VERSION."""
    return version.split("/")[3]


def create_secret(version: str) -> str:
    """Return the advice to create a secret that is not there."""
    project = version.split("/")[1]
    return (
        f"Put it there: printf %s VALUE | gcloud secrets create {name_of_secret(version)} "
        f"--project={project} --data-file=-"
    )


def take_secrets(google: Google, versions: dict[str, str]) -> None:
    """Read each secret into its environment variable.

    Raises:
        CloudError: one is not there, is empty, or may not be read by the job's account.
    """
    for variable, version in versions.items():
        name = name_of_secret(version)
        mend = create_secret(version)
        asked = google.asked("secretmanager", f"the secret {name}", mend)
        answer = google.json("GET", f"v1/{version}:access", asked)
        payload = answer.get("payload", {}).get("data", "")
        # `echo` instead of `printf` leaves a line break, which no key or address has.
        value = base64.b64decode(payload).decode().strip()
        if not value:
            raise CloudError(f"the secret {name} is empty\n{mend}")
        os.environ[variable] = value
