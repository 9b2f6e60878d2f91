"""Checks of what must be there before a job can run.

Each check returns a line about what it found, or raises with the command that mends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from studperf.cloud.google.bucket import Folder
from studperf.cloud.google.errors import push_image
from studperf.cloud.google.secrets import create_secret, name_of_secret
from studperf.errors import CloudError

if TYPE_CHECKING:
    from studperf.cloud.google.session import Google
    from studperf.config.cloud import Vertex as Cloud

SERVICES = ("aiplatform", "storage", "secretmanager", "logging", "artifactregistry")
# A registry answers with the form that is accepted; without these it sends an old one, or 404.
_DOCKER = "application/vnd.docker.distribution.manifest"
_OCI = "application/vnd.oci.image"
_MANIFESTS = (
    f"{_OCI}.index.v1+json, {_OCI}.manifest.v1+json, {_DOCKER}.list.v2+json, {_DOCKER}.v2+json"
)


def check_place(cloud: Cloud, *, needs_bucket: bool = True) -> None:
    """Check that a project and, where it is needed, a bucket are set.

    Raises:
        CloudError: lists what is not set.
    """
    missing = []
    if cloud.project is None:
        missing.append(
            "cloud.project: export GOOGLE_CLOUD_PROJECT=my-project, or cloud.project=my-project"
        )
    if cloud.bucket is None and needs_bucket:
        missing.append(
            "cloud.bucket: export STUDPERF_BUCKET=gs://my-bucket, or cloud.bucket=gs://my-bucket"
        )
    if missing:
        raise CloudError("\n  - ".join(["Set where the job should run:", *missing]))


def check_credentials(google: Google) -> str:
    """Check that somebody is logged in, and may list jobs."""
    google.json(
        "GET",
        f"v1/projects/{google.project}/locations/{google.region}/customJobs",
        google.asked("aiplatform", "jobs"),
        pageSize="1",
    )
    return f"logged in, and may see jobs in {google.region}"


def check_api(google: Google, service: str) -> str:
    """Check that a service is switched on for the project."""
    from studperf.cloud.google.errors import enable

    asked = google.asked("serviceusage", f"{service}.googleapis.com")
    path = f"v1/projects/{google.project}/services/{service}.googleapis.com"
    state = google.json("GET", path, asked).get("state")
    if state != "ENABLED":
        command = enable(google.asked(service, service))
        raise CloudError(f"{service}.googleapis.com is not switched on\nSwitch it on: {command}")
    return f"{service}.googleapis.com is on"


def check_bucket(google: Google, uri: str) -> str:
    """Check that the bucket can be read and written."""
    folder = Folder(google, uri)
    folder.write(".studperf-doctor", b"written by: python -m studperf.cloud doctor\n")
    if not folder.read(".studperf-doctor"):
        raise CloudError(f"{uri}: what was written there came back empty")
    return f"{uri} can be read and written"


def is_googles(image: str) -> bool:
    """Return True if an image's registry is one of Google's."""
    return image.partition("/")[0].endswith((".pkg.dev", "gcr.io"))


def check_image(google: Google, image: str) -> str:
    """Check that the image is in its registry, which must be one of Google's."""
    host, _, rest = image.partition("/")
    path, _, digest = rest.partition("@")
    path, _, tag = path.partition(":")
    mend = f"Build and push it: {push_image(image)}"
    asked = google.asked("artifactregistry", f"the image {image}", mend)
    manifest = f"v2/{path}/manifests/{digest or tag or 'latest'}"
    headers = {"Accept": _MANIFESTS}
    google.patiently(lambda: google.once("GET", manifest, asked, host=host, headers=headers))
    return f"{image} is there"


def check_secret(google: Google, version: str) -> str:
    """Check that a secret has a version, without reading its value."""
    name = name_of_secret(version)
    asked = google.asked("secretmanager", f"the secret {name}", create_secret(version))
    state = google.json("GET", f"v1/{version}", asked).get("state")
    if state not in (None, "ENABLED"):
        raise CloudError(
            f"the secret {name}: its version is {state}\n"
            f"Add one: printf %s VALUE | gcloud secrets versions add {name} --data-file=-"
        )
    return f"{name} is there (its value was not read)"
