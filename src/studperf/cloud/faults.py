"""What Google Cloud refuses, in words, each with the command that mends it."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studperf.errors import CloudError

if TYPE_CHECKING:
    import requests

_FORBIDDEN, _NOT_FOUND, _TOO_MANY = 403, 404, 429
_ROLES = {
    "aiplatform": "roles/aiplatform.user",
    "storage": "roles/storage.objectAdmin",
    "secretmanager": "roles/secretmanager.secretAccessor",
    "logging": "roles/logging.viewer",
    "artifactregistry": "roles/artifactregistry.reader",
    "serviceusage": "roles/serviceusage.serviceUsageViewer",
}
_MAX_SHOWN = 600


class NotFoundError(CloudError):
    """There is no such thing; who asked knows what that means."""


@dataclass(frozen=True)
class Asked:
    """What a request was about.

    Args:
        service: of Google's, such as aiplatform.
        what: the thing, in words.
        project: its project.
        region: its region.
        mend: what brings a missing thing about.
    """

    service: str
    what: str
    project: str = ""
    region: str = ""
    mend: str = ""


def from_response(response: requests.Response, asked: Asked) -> CloudError:
    """The error that an answer is."""
    error = _error_of(response)
    status, message = (
        str(error.get("status", "")),
        " ".join(str(error.get("message", "")).split())[:_MAX_SHOWN],
    )
    reasons = {
        str(detail.get("reason", ""))
        for detail in [*error.get("details", []), *error.get("errors", [])]
    }
    said = f"Google said: {message or response.reason} ({response.status_code})"
    if (
        reasons & {"SERVICE_DISABLED", "accessNotConfigured"}
        or "has not been used in project" in message
    ):
        return CloudError(
            f"{asked.what}: the API is not switched on. {said}\nSwitch it on: {enable(asked)}"
        )
    if response.status_code == _TOO_MANY or status == "RESOURCE_EXHAUSTED":
        return CloudError(
            f"{asked.what}: the quota is used up. {said}\n{mend_quota(asked.project)}"
        )
    if response.status_code in (401, _FORBIDDEN):
        return CloudError(
            f"{asked.what}: this account may not do that. {said}\nGive it the right: {_grant(asked, message)}"
        )
    if re.search(r"\b(location|region)\b", message, re.IGNORECASE) and response.status_code in (
        400,
        _NOT_FOUND,
    ):
        return no_region(asked, said)
    if response.status_code == _NOT_FOUND:
        return NotFoundError(
            f"{asked.what}: there is none. {said}" + (f"\n{asked.mend}" if asked.mend else "")
        )
    return CloudError(f"{asked.what}: {said}")


def from_exception(error: Exception, asked: Asked, host: str) -> CloudError:
    """The error behind a request that got no answer."""
    import requests
    from google.auth.exceptions import DefaultCredentialsError, RefreshError

    if isinstance(error, DefaultCredentialsError | RefreshError):
        return no_credentials(error)
    if isinstance(error, requests.Timeout):
        return CloudError(
            f"{asked.what}: {host} did not answer in time. Try again, and see https://status.cloud.google.com if it goes on so"
        )
    text = str(error)
    if (
        asked.region
        and asked.region in host
        and any(
            sign in text for sign in ("NameResolution", "Name or service not known", "getaddrinfo")
        )
        and _has_address(
            "oauth2.googleapis.com"
        )  # else it is the network that has none for any host
    ):
        return no_region(asked, f"{host} has no address")
    reason = re.search(
        r"\[(?:Errno|WinError) -?\d+\] ([^'\")]+)", text
    )  # the rest names Python's objects
    first = (
        reason[1] if reason else text.splitlines()[0][:_MAX_SHOWN] if text else type(error).__name__
    )
    return CloudError(
        f"{asked.what}: {host} can't be reached: {first}\nIs there a way out? curl -sSI https://{host}"
    )


def _has_address(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False


def no_credentials(error: Exception) -> CloudError:
    """Nobody is logged in."""
    first = (str(error).splitlines() or [""])[0][:_MAX_SHOWN]
    return CloudError(
        f"Google Cloud does not know who asks: {first}\nLog in: gcloud auth application-default login"
    )


def no_region(asked: Asked, said: str) -> CloudError:
    """Not one of Google's."""
    return CloudError(
        f"cloud.region={asked.region}: is no region that does this. {said}\n"
        "Name one of https://cloud.google.com/vertex-ai/docs/general/locations, such as cloud.region=europe-west1"
    )


def enable(asked: Asked) -> str:
    """Switches an API on."""
    return f"gcloud services enable {asked.service}.googleapis.com --project={asked.project or 'PROJECT'}"


def mend_quota(project: str) -> str:
    """More of it, or less."""
    return (
        "Take another place or machine (cloud.region=..., cloud.machine=...), or ask for more: "
        f"https://console.cloud.google.com/iam-admin/quotas?project={project}"
    )


def _grant(asked: Asked, message: str) -> str:
    if "iam.serviceAccounts.actAs" in message:
        account = re.search(r"[\w.-]+@[\w.-]+\.gserviceaccount\.com", message)
        name = account[0] if account else "ACCOUNT@PROJECT.iam.gserviceaccount.com"
        return (
            f"gcloud iam service-accounts add-iam-policy-binding {name} --role=roles/iam.serviceAccountUser "
            '--member="user:$(gcloud config get account)"'
        )
    role = _ROLES.get(asked.service, "ROLE")
    return f'gcloud projects add-iam-policy-binding {asked.project or "PROJECT"} --role={role} --member="user:$(gcloud config get account)"'


def explain_job_error(message: str, *, image: str, project: str, timeout_s: str) -> str:
    """What a job ended with, and the way out where there is a usual one."""
    text = " ".join(message.split())
    if re.search(
        r"image\b.*(not found|not exist|failed to pull|pull access)|manifest unknown",
        text,
        re.IGNORECASE,
    ):
        return f"{text}\nBuild and push the image: {push_image(image)}"
    if re.search(r"exceeded|timed out|timeout", text, re.IGNORECASE):
        return f"{text}\nIt ran longer than {timeout_s}; give it more: cloud.timeout_s=SECONDS"
    if re.search(r"quota|resources are insufficient|stockout|exhausted", text, re.IGNORECASE):
        return f"{text}\n{mend_quota(project)}"
    return text


def push_image(image: str) -> str:
    """Makes an image and brings it where jobs find it."""
    host = image.partition("/")[0]
    return f"gcloud auth configure-docker {host} && docker build -f docker/train.Dockerfile --build-arg COMMIT=$(git rev-parse HEAD) -t {image} . && docker push {image}"


def _error_of(response: requests.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {"message": response.text[:_MAX_SHOWN]}
    error = body.get("error", {}) if isinstance(body, dict) else {}
    return error if isinstance(error, dict) else {"message": str(error)}
