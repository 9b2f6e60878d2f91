"""Requests that are made again, and never twice what is to be done once."""

import hashlib
from pathlib import Path
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


def test_a_file_goes_and_comes_back_whole(google: Google, tmp_path: Path) -> None:
    folder = Folder(google, "gs://my-bucket")
    content = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(content)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    folder.upload(tmp_path / "a", "deep/a?b#c%d", md5)
    folder.download("deep/a?b#c%d", tmp_path / "new" / "b", md5)
    assert (tmp_path / "new" / "b").read_bytes() == content
    assert folder.is_there("deep/a?b#c%d")
    assert not folder.is_there("deep/a")


def test_a_damaged_object_is_named_and_not_kept(google: Google, tmp_path: Path) -> None:
    folder = Folder(google, "gs://my-bucket/data")
    folder.write("table", b"changed")
    with pytest.raises(CloudError, match=r"gs://my-bucket/data/table: is damaged"):
        folder.download("table", tmp_path / "table.csv", "0" * 32)
    assert list(tmp_path.glob("*table*")) == []


@pytest.mark.parametrize("n_damaged", [1, 100])
def test_what_arrives_damaged_is_asked_for_again(
    google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_damaged: int
) -> None:
    folder = Folder(google, "gs://my-bucket")
    folder.write("a", b"content")
    answers = iter([b"cont"] * n_damaged + [b"content"])
    monkeypatch.setattr("requests.Response.iter_content", lambda *_: iter([next(answers)]))
    if n_damaged == 1:
        folder.download("a", tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == b"content"
        return
    with pytest.raises(CloudError, match="arrived damaged"):
        folder.download("a", tmp_path / "a")
    assert not list(tmp_path.glob("*a"))


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
