"""The ten usual failures: each is told in words, with the command that mends it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from kit.google_standin import GoogleStandin, error
from studperf.cloud.checks import check_api, check_bucket, check_image, check_place, check_secret
from studperf.cloud.doctor import examine
from studperf.cloud.google.bucket import Folder
from studperf.cloud.google.errors import Asked, explain_job_error, from_exception
from studperf.cloud.google.secrets import take_secrets
from studperf.cloud.google.session import Google, stand_in
from studperf.cloud.google.vertex import Vertex
from studperf.config.cloud import Vertex as Cloud
from studperf.config.load import load_overrides
from studperf.errors import CloudError, ConfigError

IMAGE = "europe-west1-docker.pkg.dev/my-project/studperf/train:abc"


def always(code: int, status: str, message: str, reason: str = "") -> Callable[[str, str], Any]:
    return lambda method, path: error(code, status, message, reason)


def refusal_of(vertex: Vertex) -> str:
    with pytest.raises(CloudError) as refused:
        vertex.submit({"displayName": "mine", "labels": {"request": "r"}, "jobSpec": {}})
    return str(refused.value)


def test_nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDPERF_GOOGLE_ENDPOINT")
    started = time.monotonic()
    with pytest.raises(CloudError, match="gcloud auth application-default login"):
        list(Folder(Google("p", "europe-west1"), "gs://b").blobs())
    assert time.monotonic() - started < 5


def test_a_key_file_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    info = {
        "type": "service_account",
        "client_email": "a@b",
        "token_uri": "https://localhost/token",
        "private_key": pem,
    }
    (tmp_path / "key.json").write_text(json.dumps(info))
    monkeypatch.delenv("STUDPERF_GOOGLE_ENDPOINT")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(
        CloudError,
        match="unset GOOGLE_APPLICATION_CREDENTIALS; gcloud auth application-default login",
    ):
        list(Folder(Google("p", "europe-west1"), "gs://b").blobs())


def test_the_api_is_off(standin: GoogleStandin, vertex: Vertex) -> None:
    standin.faults.append(
        always(
            403,
            "PERMISSION_DENIED",
            "Vertex AI API has not been used in project 1 before",
            "SERVICE_DISABLED",
        )
    )
    assert "gcloud services enable aiplatform.googleapis.com --project=my-project" in refusal_of(
        vertex
    )


def test_the_account_may_not(standin: GoogleStandin, vertex: Vertex) -> None:
    standin.faults.append(
        always(
            403, "PERMISSION_DENIED", "Permission 'aiplatform.customJobs.create' denied on resource"
        )
    )
    told = refusal_of(vertex)
    assert "'aiplatform.customJobs.create' denied" in told
    assert "gcloud projects add-iam-policy-binding my-project --role=roles/aiplatform.user" in told


def test_the_account_may_not_act_as_the_jobs_own(standin: GoogleStandin, vertex: Vertex) -> None:
    account = "jobs@my-project.iam.gserviceaccount.com"
    standin.faults.append(
        always(
            403,
            "PERMISSION_DENIED",
            f"You do not have permission to act as {account}: iam.serviceAccounts.actAs",
        )
    )
    assert f"gcloud iam service-accounts add-iam-policy-binding {account}" in refusal_of(vertex)


def test_the_quota_is_used_up(standin: GoogleStandin, vertex: Vertex) -> None:
    standin.faults.append(
        always(
            429,
            "RESOURCE_EXHAUSTED",
            "The following quota metrics exceed quota limits: custom_model_training_cpus",
        )
    )
    told = refusal_of(vertex)
    assert "custom_model_training_cpus" in told
    assert "https://console.cloud.google.com/iam-admin/quotas?project=my-project" in told
    assert len(standin.seen) >= vertex.google.tries  # it was tried again


def test_the_image_is_not_there(standin: GoogleStandin, google: Google) -> None:
    standin.images = {"my-project/studperf/train:other"}
    with pytest.raises(CloudError, match=f"docker push {IMAGE}"):
        check_image(google, IMAGE)
    standin.images = {"my-project/studperf/train:abc"}
    assert check_image(google, IMAGE) == f"{IMAGE} is there"


def test_an_image_elsewhere_is_not_called_fine(google: Google) -> None:
    cloud = load_overrides(
        [
            "cloud=vertex",
            "cloud.project=my-project",
            "cloud.bucket=gs://my-bucket",
            "cloud.image=ghcr.io/me/train:abc",
        ]
    ).cloud
    assert isinstance(cloud, Cloud)
    (image,) = [finding for finding in examine(cloud, google, None) if finding.name == "image"]
    assert image.is_fine is None
    assert "ghcr.io/me/train:abc" in image.text


def test_the_region_is_none(
    standin: GoogleStandin, vertex: Vertex, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.faults.append(
        always(400, "INVALID_ARGUMENT", "Unsupported region for Vertex AI, select from [...]")
    )
    assert "cloud.region=europe-west1: is no region that does this" in refusal_of(vertex)
    gone = requests.ConnectionError(
        "Failed to resolve 'mars-west1-aiplatform.googleapis.com' (NameResolutionError)"
    )
    asked = Asked("aiplatform", "jobs", "p", "mars-west1"), "mars-west1-aiplatform.googleapis.com"
    monkeypatch.setattr("studperf.cloud.google.errors._has_address", lambda _: True)
    assert "cloud.region=mars-west1: is no region" in str(from_exception(gone, *asked))
    monkeypatch.setattr("studperf.cloud.google.errors._has_address", lambda _: False)
    assert "mars-west1-aiplatform.googleapis.com can't be reached" in str(
        from_exception(gone, *asked)
    )


def test_why_a_host_can_not_be_reached_is_told_without_python_s_objects() -> None:
    text = (
        "HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: /x (Caused by NewConnectionError("
        "\"HTTPSConnection(host='h', port=443): Failed to establish a new connection: [Errno 111] Connection refused\"))"
    )
    told = str(from_exception(requests.ConnectionError(text), Asked("storage", "gs://mine"), "h"))
    assert told.splitlines()[0] == "gs://mine: h can't be reached: Connection refused"


def test_the_bucket_is_not_there(google: Google, standin: GoogleStandin) -> None:
    for ask in (
        lambda: check_bucket(google, "gs://other/x"),
        lambda: Folder(google, "gs://other").is_there("x"),
    ):
        with pytest.raises(
            CloudError,
            match="gcloud storage buckets create gs://other --project=my-project --location=europe-west1",
        ):
            ask()


def test_the_secret_is_not_there(google: Google, standin: GoogleStandin) -> None:
    version = "projects/my-project/secrets/wandb-key/versions/latest"
    for ask in (
        lambda: check_secret(google, version),
        lambda: take_secrets(google, {"WANDB_API_KEY": version}),
    ):
        with pytest.raises(
            CloudError, match="gcloud secrets create wandb-key --project=my-project --data-file=-"
        ):
            ask()


def test_the_network_is_down(
    google: Google, standin: GoogleStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDPERF_GOOGLE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CloudError, match=r"127\.0\.0\.1:9 can't be reached.*\n.*curl -sSI"):
        list(Folder(google, "gs://b").blobs())


def test_there_is_no_answer_in_time(
    google: Google, standin: GoogleStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studperf.cloud.google.bucket.TIMEOUT_S", (0.2, 0.05))
    google.patience_s = 0.01

    def hang(method: str, path: str) -> None:
        time.sleep(0.3)

    standin.faults.append(hang)
    with pytest.raises(CloudError, match=r"did not answer in time.*status\.cloud\.google\.com"):
        list(Folder(google, "gs://b").blobs())


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (
            "The image europe-docker.pkg.dev/x does not exist or access was denied",
            f"docker push {IMAGE}",
        ),
        ("CANCELED: the job exceeded its timeout.", "cloud.timeout_s=SECONDS"),
        (
            "Resources are insufficient in region: europe-west1",
            "cloud.region=..., cloud.machine=...",
        ),
        ("The replica workerpool0-0 exited with a non-zero status of 1.", ""),
    ],
)
def test_what_a_job_ended_with_names_the_way_out(message: str, remedy: str) -> None:
    told = explain_job_error(message, image=IMAGE, project="p", timeout_s="60s")
    assert told.startswith(message)
    assert remedy in told


def test_a_service_that_is_off_is_found(standin: GoogleStandin, google: Google) -> None:
    standin.disabled = {"logging"}
    assert check_api(google, "storage") == "storage.googleapis.com is on"
    with pytest.raises(CloudError, match=r"gcloud services enable logging\.googleapis\.com"):
        check_api(google, "logging")


def test_what_was_not_said_is_asked_for_at_once() -> None:
    cloud: Any = load_overrides(["cloud=vertex"]).cloud
    with pytest.raises(CloudError, match=r"GOOGLE_CLOUD_PROJECT=[\s\S]*STUDPERF_BUCKET="):
        check_place(cloud)


@pytest.mark.parametrize(
    "address", ["https://127.0.0.1:1", "http://example.com:80", "http://127.0.0.1:80@example.com"]
)
def test_a_stand_in_is_on_this_machine(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDPERF_GOOGLE_ENDPOINT", address)
    with pytest.raises(ConfigError, match="must be a stand-in on this machine"):
        stand_in()
