"""Requests that are made again, and never twice what is to be done once."""

import time
from typing import Any

import pytest

from kit.google_standin import GoogleStandin, error
from studperf.cloud.google.bucket import Folder
from studperf.cloud.google.session import Google
from studperf.cloud.google.vertex import Vertex
from studperf.errors import CloudError

POOL = {
    "machineSpec": {"machineType": "n1-standard-4"},
    "replicaCount": "1",
    "containerSpec": {"imageUri": "image", "command": ["true"]},
}
BODY = {
    "displayName": "mine",
    "labels": {"app": "studperf", "request": "0123"},
    "jobSpec": {"workerPoolSpecs": [POOL]},
}


class Once:
    """The first n requests of a method end in a fault; with `too_late` what was asked for has been done all the same."""

    def __init__(
        self, standin: GoogleStandin, method: str, code: int, *, n: int = 1, too_late: bool = False
    ) -> None:
        self.standin, self.method, self.code, self.left, self.too_late = (
            standin,
            method,
            code,
            n,
            too_late,
        )

    def __call__(self, method: str, path: str) -> Any:
        if method != self.method or not self.left:
            return None
        self.left -= 1
        if self.too_late:
            self.standin.create("projects/my-project/locations/europe-west1", BODY)
        return error(self.code, "UNAVAILABLE", "try again")


@pytest.mark.parametrize("code", [429, 500, 503])
def test_what_may_pass_is_tried_again(standin: GoogleStandin, vertex: Vertex, code: int) -> None:
    standin.faults.append(Once(standin, "POST", code, n=2))
    assert vertex.submit(BODY).name == "mine"
    assert len(standin.jobs) == 1


def test_what_will_not_pass_is_not(standin: GoogleStandin, vertex: Vertex) -> None:
    with pytest.raises(CloudError, match="no field named"):
        vertex.submit(BODY | {"jobSpecs": {}})
    assert len(standin.seen) == 1


def test_a_job_whose_submission_was_not_answered_is_not_submitted_twice(
    standin: GoogleStandin, vertex: Vertex
) -> None:
    standin.faults.append(Once(standin, "POST", 503, too_late=True))
    job = vertex.submit(BODY)
    assert [job.resource] == list(standin.jobs)


def test_a_job_whose_answer_took_too_long_is_not_submitted_twice(
    standin: GoogleStandin, vertex: Vertex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is waited for in vain takes longer than all the waits between two tries."""
    monkeypatch.setattr("studperf.cloud.google.session.TIMEOUT_S", (1.0, 0.3))
    slow = Once(standin, "POST", 200, too_late=True)

    def answer(method: str, path: str) -> Any:
        found = slow(method, path)
        if found is not None:
            time.sleep(0.6)
        return found

    standin.faults.append(answer)
    job = vertex.submit(BODY)
    assert [job.resource] == list(standin.jobs)


def test_every_request_says_who_asks(standin: GoogleStandin, vertex: Vertex) -> None:
    list(vertex.jobs())
    assert {who for *_, who in standin.seen} == {"Bearer stand-in"}


def test_pages_are_read_to_the_last(standin: GoogleStandin, vertex: Vertex, google: Google) -> None:
    standin.page = 2
    folder = Folder(google, "gs://my-bucket/a b/ü")
    for i in range(5):
        folder.write(f"{i}.txt", b"x" * i)
        vertex.submit(BODY | {"displayName": f"job-{i}"})
    assert [(blob.name, blob.size) for blob in folder.blobs()] == [
        (f"{i}.txt", i) for i in range(5)
    ]
    assert [job.name for job in vertex.jobs()] == [f"job-{i}" for i in (4, 3, 2, 1, 0)]


def test_a_job_is_found_by_number_name_and_beginning(
    standin: GoogleStandin, vertex: Vertex
) -> None:
    jobs = [
        vertex.submit(BODY | {"displayName": name})
        for name in ("2026-11-01", "one", "one-more", "two")
    ]
    assert vertex.find("2026").id == jobs[0].id
    assert vertex.find(jobs[1].id).name == "one"
    assert vertex.find("one").id == jobs[1].id
    assert vertex.find("tw").name == "two"
    assert vertex.find(None).name == "two"
    with pytest.raises(CloudError, match="several jobs begin like that"):
        vertex.find("o")
    with pytest.raises(CloudError, match=r"python -m studperf\.cloud list"):
        vertex.find("three")
    with pytest.raises(CloudError, match="123: there is no such job"):
        vertex.find("123")
