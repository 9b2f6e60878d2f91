"""Google Cloud's refusals in plain words, each with the command that mends it."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studperf.errors import CloudError

if TYPE_CHECKING:
    import requests

_BAD_REQUEST = 400
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_NOT_FOUND = 404
_TOO_MANY = 429

_ROLES = {
    "aiplatform": "roles/aiplatform.user",
    "storage": "roles/storage.objectAdmin",
    "secretmanager": "roles/secretmanager.secretAccessor",
    "logging": "roles/logging.viewer",
    "artifactregistry": "roles/artifactregistry.reader",
    "serviceusage": "roles/serviceusage.serviceUsageViewer",
}
# An answer that is no JSON may be a whole page of HTML.
_MAX_SHOWN = 600
# Phrases of Vertex AI's job errors that have a usual way out.
_NO_IMAGE = re.compile(
    r"image\b.*(not found|not exist|failed to pull|pull access)|manifest unknown", re.IGNORECASE
)
_OUT_OF_TIME = re.compile(r"exceeded|timed out|timeout", re.IGNORECASE)
_OUT_OF_STOCK = re.compile(r"quota|resources are insufficient|stockout|exhausted", re.IGNORECASE)
# The C library's words differ between systems.
_NO_ADDRESS = ("NameResolution", "Name or service not known", "getaddrinfo")


class NotFoundError(CloudError):
    """Raised for a thing that does not exist; the caller knows what that means."""


@dataclass(frozen=True)
class Asked:
    """A request's subject, for the words of its errors.

    Args:
        service: Google's name of the service, such as aiplatform.
        what: the thing that is asked for, in words.
        project: the project that it belongs to.
        region: the region that it belongs to.
        mend: advice that creates the thing where it is missing.
    """

    service: str
    what: str
    project: str = ""
    region: str = ""
    mend: str = ""


def from_response(response: requests.Response, asked: Asked) -> CloudError:
    """Return the error that a response stands for."""
    error = _error_of(response)
    code = response.status_code
    status = str(error.get("status", ""))
    message = " ".join(str(error.get("message", "")).split())[:_MAX_SHOWN]
    # Vertex AI fills `details`, Cloud Storage fills `errors`.
    details = [*error.get("details", []), *error.get("errors", [])]
    reasons = {str(detail.get("reason", "")) for detail in details}
    said = f"Google said: {message or response.reason} ({code})"

    is_off = bool(reasons & {"SERVICE_DISABLED", "accessNotConfigured"})
    if is_off or "has not been used in project" in message:
        return CloudError(
            f"{asked.what}: the API is not switched on. {said}\nSwitch it on: {enable(asked)}"
        )
    if code == _TOO_MANY or status == "RESOURCE_EXHAUSTED":
        return CloudError(
            f"{asked.what}: the quota is used up. {said}\n{mend_quota(asked.project)}"
        )
    if code in (_UNAUTHORIZED, _FORBIDDEN):
        return CloudError(
            f"{asked.what}: this account may not do that. {said}\n"
            f"Give it the right: {_grant(asked, message)}"
        )
    names_region = re.search(r"\b(location|region)\b", message, re.IGNORECASE)
    if names_region and code in (_BAD_REQUEST, _NOT_FOUND):
        return no_region(asked, said)
    if code == _NOT_FOUND:
        text = f"{asked.what}: there is none. {said}"
        if asked.mend:
            text += f"\n{asked.mend}"
        return NotFoundError(text)
    return CloudError(f"{asked.what}: {said}")


def from_exception(error: Exception, asked: Asked, host: str) -> CloudError:
    """Return the error behind a request that got no answer."""
    import requests
    from google.auth.exceptions import GoogleAuthError, TransportError

    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        return no_credentials(error)
    if isinstance(error, requests.Timeout):
        return CloudError(
            f"{asked.what}: {host} did not answer in time. "
            "Try again, and see https://status.cloud.google.com if it goes on so"
        )

    text = str(error)
    is_regional = bool(asked.region) and asked.region in host
    lacks_address = any(sign in text for sign in _NO_ADDRESS)
    # A name of Google's that has an address shows that it is not the network that has none.
    if is_regional and lacks_address and _has_address("oauth2.googleapis.com"):
        return no_region(asked, f"{host} has no address")
    return CloudError(
        f"{asked.what}: {host} can't be reached: {_reason_in(text) or type(error).__name__}\n"
        f"Is there a way out? curl -sSI https://{host}"
    )


def _reason_in(text: str) -> str:
    """Return what the system said, of an error's text that mostly names Python's objects."""
    reason = re.search(r"\[(?:Errno|WinError) -?\d+\] ([^'\")]+)", text)
    if reason:
        return reason[1]
    if text:
        return text.splitlines()[0][:_MAX_SHOWN]
    return ""


def _has_address(host: str) -> bool:
    """Return True if a host's name can be resolved."""
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False


def no_credentials(error: Exception) -> CloudError:
    """Return the error for nobody being logged in."""
    first = (str(error).splitlines() or [""])[0][:_MAX_SHOWN]
    return CloudError(
        f"Google Cloud does not know who asks: {first}\n"
        "Log in: gcloud auth application-default login"
    )


def no_region(asked: Asked, said: str) -> CloudError:
    """Return the error for a region that Google does not have."""
    return CloudError(
        f"cloud.region={asked.region}: is no region that does this. {said}\n"
        "Name one of https://cloud.google.com/vertex-ai/docs/general/locations, "
        "such as cloud.region=europe-west1"
    )


def enable(asked: Asked) -> str:
    """Return the command that switches an API on."""
    project = asked.project or "PROJECT"
    return f"gcloud services enable {asked.service}.googleapis.com --project={project}"


def mend_quota(project: str) -> str:
    """Return the ways out of a quota that is used up."""
    return (
        "Take another place or machine (cloud.region=..., cloud.machine=...), or ask for more: "
        f"https://console.cloud.google.com/iam-admin/quotas?project={project}"
    )


def _grant(asked: Asked, message: str) -> str:
    """Return the command that gives this account the right that it lacks."""
    if "iam.serviceAccounts.actAs" in message:
        account = re.search(r"[\w.-]+@[\w.-]+\.gserviceaccount\.com", message)
        name = account[0] if account else "ACCOUNT@PROJECT.iam.gserviceaccount.com"
        return (
            f"gcloud iam service-accounts add-iam-policy-binding {name} "
            '--role=roles/iam.serviceAccountUser --member="user:$(gcloud config get account)"'
        )

    role = _ROLES.get(asked.service, "ROLE")
    project = asked.project or "PROJECT"
    return (
        f"gcloud projects add-iam-policy-binding {project} --role={role} "
        '--member="user:$(gcloud config get account)"'
    )


def explain_job_error(message: str, *, image: str, project: str, timeout_s: str) -> str:
    """Return the error that a job ended with, and the way out where there is a usual one."""
    text = " ".join(message.split())
    if _NO_IMAGE.search(text):
        return f"{text}\nBuild and push the image: {push_image(image)}"
    if _OUT_OF_TIME.search(text):
        return f"{text}\nIt ran longer than {timeout_s}; give it more: cloud.timeout_s=SECONDS"
    if _OUT_OF_STOCK.search(text):
        return f"{text}\n{mend_quota(project)}"
    return text


def push_image(image: str) -> str:
    """Return the command that builds an image and pushes it to its registry."""
    host = image.partition("/")[0]
    return (
        f"gcloud auth configure-docker {host} && docker build -f docker/train.Dockerfile "
        f"--build-arg COMMIT=$(git rev-parse HEAD) -t {image} . && docker push {image}"
    )


def _error_of(response: requests.Response) -> dict[str, Any]:
    """Return a response's error as Google's services describe it, or its plain text as one."""
    try:
        body = response.json()
    except ValueError:
        return {"message": response.text[:_MAX_SHOWN]}
    if not isinstance(body, dict):
        return {}
    error = body.get("error", {})
    if isinstance(error, dict):
        return error
    # OAuth's errors are a word: {"error": "invalid_grant"}.
    return {"message": str(error)}
