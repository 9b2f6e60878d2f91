"""Secrets on their way from Secret Manager into this process's environment. They are shown to nobody and written nowhere."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

from studperf.errors import CloudError

if TYPE_CHECKING:
    from studperf.cloud.wire import Google


def take_secrets(google: Google, versions: dict[str, str]) -> None:
    """Reads each secret into its environment variable.

    Raises:
        CloudError: one is not there, is empty, or may not be read by the job's account.
    """
    for variable, version in versions.items():
        name = version.split("/")[3]
        mend = f"Put it there: printf %s VALUE | gcloud secrets create {name} --project={version.split('/')[1]} --data-file=-"
        answer = google.json(
            "GET", f"v1/{version}:access", google.asked("secretmanager", f"the secret {name}", mend)
        )
        value = base64.b64decode(answer.get("payload", {}).get("data", "")).decode().strip()
        if not value:
            raise CloudError(f"the secret {name} is empty\n{mend}")
        os.environ[variable] = value
