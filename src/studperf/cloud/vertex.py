"""Custom jobs of Vertex AI and their logs, over REST: submit once, look, cancel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from studperf.cloud.faults import Asked, NotFoundError, explain_job_error
from studperf.cloud.job import APP, REQUEST
from studperf.cloud.wire import BusyError, Json
from studperf.errors import CloudError

if TYPE_CHECKING:
    from studperf.cloud.wire import Google

ENDED = frozenset(("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED"))
_PAGE = 100


@dataclass(frozen=True)
class Job:
    """A custom job as Vertex AI tells of it."""

    body: Mapping[str, Any]

    @property
    def resource(self) -> str:
        """projects/P/locations/R/customJobs/ID."""
        return str(self.body["name"])

    @property
    def id(self) -> str:
        """The number at its end."""
        return self.resource.rpartition("/")[2]

    @property
    def name(self) -> str:
        """Ours."""
        return str(self.body.get("displayName", ""))

    @property
    def state(self) -> str:
        """PENDING, RUNNING, SUCCEEDED, ..."""
        return str(self.body.get("state", "JOB_STATE_UNSPECIFIED")).removeprefix("JOB_STATE_")

    @property
    def has_ended(self) -> bool:
        """Whether it goes on no more."""
        return self.state in ENDED

    @property
    def labels(self) -> dict[str, str]:
        """What we said of it."""
        return dict(self.body.get("labels", {}))

    @property
    def folder(self) -> str:
        """Where it writes; empty for a job that is not ours."""
        return str(
            self.body["jobSpec"].get("baseOutputDirectory", {}).get("outputUriPrefix", "")
        ).rstrip("/")

    @property
    def image(self) -> str:
        """What it runs."""
        return str(self.body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["imageUri"])

    @property
    def n_machines(self) -> int:
        """Of all pools."""
        return sum(
            int(pool.get("replicaCount", 1)) for pool in self.body["jobSpec"]["workerPoolSpecs"]
        )

    @property
    def created(self) -> datetime:
        """When it was submitted."""
        return datetime.fromisoformat(str(self.body["createTime"]))

    @property
    def seconds(self) -> float | None:
        """It ran, if it has ended."""
        if "startTime" not in self.body or "endTime" not in self.body:
            return None
        return (
            datetime.fromisoformat(self.body["endTime"])
            - datetime.fromisoformat(self.body["startTime"])
        ).total_seconds()

    @property
    def error(self) -> str:
        """Why it failed, with the way out where there is a usual one; empty if it did not."""
        message = str(self.body.get("error", {}).get("message", ""))
        project = self.resource.split("/")[1]
        timeout_s = str(self.body["jobSpec"].get("scheduling", {}).get("timeout", "its time"))
        return (
            explain_job_error(message, image=self.image, project=project, timeout_s=timeout_s)
            if message
            else ""
        )


@dataclass(frozen=True)
class Line:
    """A line of a job's log."""

    time: str
    id: str
    replica: str
    text: str


class Vertex:
    """Jobs of one project in one region."""

    def __init__(self, google: Google) -> None:
        self.google = google
        self.parent = f"projects/{google.project}/locations/{google.region}"

    def submit(self, body: Json) -> Job:
        """Creates a job, once: before a request is made again that got no answer, it is looked whether it arrived.

        Raises:
            CloudError: Vertex AI refused it, or can't be reached.
        """
        is_open = False

        def create() -> Job:
            nonlocal is_open
            if is_open and (arrived := list(self.jobs(**{REQUEST: body["labels"][REQUEST]}))):
                return arrived[0]
            try:
                response = self.google.once(
                    "POST",
                    f"v1/{self.parent}/customJobs",
                    self._asked(f"the job {body['displayName']}"),
                    json=body,
                )
            except BusyError:
                is_open = True
                raise
            return Job(response.json())

        return self.google.patiently(create)

    def jobs(self, **labels: str) -> Iterator[Job]:
        """Those of studperf, the newest first."""
        wanted = " AND ".join(f'labels.{key}="{value}"' for key, value in {**APP, **labels}.items())
        params: Json = {"filter": wanted, "pageSize": _PAGE}
        found: list[Job] = []
        while True:
            page = self.google.json(
                "GET",
                f"v1/{self.parent}/customJobs",
                self._asked(f"jobs in {self.google.region}"),
                **params,
            )
            found += [Job(body) for body in page.get("customJobs", [])]
            if not page.get("nextPageToken"):
                yield from sorted(found, key=lambda job: job.created, reverse=True)
                return
            params["pageToken"] = page["nextPageToken"]

    def find(self, asked: str | None) -> Job:
        """A job by its number, its name or the beginning of one; the newest one if none is named.

        Raises:
            CloudError: there is none, or several begin like that.
        """
        if asked is not None and asked.rpartition("/")[2].isdigit():
            with contextlib.suppress(NotFoundError):  # a name may begin with digits alone
                return self.get(f"{self.parent}/customJobs/{asked.rpartition('/')[2]}")
        jobs = list(self.jobs())
        if asked is None:
            if not jobs:
                raise CloudError(
                    f"there is no job of studperf in {self.google.region}, project {self.google.project}"
                )
            return jobs[0]
        found = [job for job in jobs if job.name == asked] or [
            job for job in jobs if job.name.startswith(asked)
        ]
        if len(found) != 1:
            names = ", ".join(job.name for job in found[:5])
            raise CloudError(
                f"{asked}: "
                + (
                    f"several jobs begin like that: {names}"
                    if found
                    else "there is no such job; see: python -m studperf.cloud list"
                )
            )
        return found[0]

    def get(self, resource: str) -> Job:
        """A job as it stands now."""
        return Job(
            self.google.json(
                "GET", f"v1/{resource}", self._asked(f"the job {resource.rpartition('/')[2]}")
            )
        )

    def cancel(self, job: Job) -> None:
        """Asks for its end; it takes a while."""
        self.google.json(
            "POST", f"v1/{job.resource}:cancel", self._asked(f"cancelling {job.name}"), body={}
        )

    def log(self, job: Job, since: str = "") -> Iterator[Line]:
        """Its log, the oldest line first.

        Args:
            job: whose log.
            since: the time of the last line that is known already.
        """
        terms = [
            'resource.type="ml_job"',
            f'resource.labels.job_id="{job.id}"',
            f'timestamp>="{since or job.body["createTime"]}"',
        ]
        body: Json = {
            "resourceNames": [f"projects/{self.google.project}"],
            "filter": " AND ".join(terms),
            "orderBy": "timestamp asc",
            "pageSize": 1000,
        }
        while True:
            page = self.google.json(
                "POST",
                "v2/entries:list",
                self.google.asked("logging", f"the log of {job.name}"),
                body=body,
            )
            yield from map(_line, page.get("entries", []))
            if not page.get("nextPageToken"):
                return
            body["pageToken"] = page["nextPageToken"]

    def console_url(self, job: Job) -> str:
        """Where a browser shows it."""
        region, project = self.google.region, self.google.project
        return f"https://console.cloud.google.com/vertex-ai/locations/{region}/training/{job.id}?project={project}"

    def _asked(self, what: str) -> Asked:
        return self.google.asked("aiplatform", what)


def _line(entry: Json) -> Line:
    payload = entry.get("jsonPayload", {})
    text = str(entry.get("textPayload") or payload.get("message") or "").rstrip("\n")
    replica = str(entry.get("resource", {}).get("labels", {}).get("task_name", ""))
    return Line(str(entry["timestamp"]), str(entry.get("insertId", "")), replica, text)
