"""Custom jobs of Vertex AI and their logs, over REST: submit once, find, cancel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from studperf.cloud.google.errors import Asked, NotFoundError, explain_job_error
from studperf.cloud.google.session import BusyError, Json
from studperf.cloud.job import APP, REQUEST
from studperf.errors import CloudError

if TYPE_CHECKING:
    from studperf.cloud.google.session import Google

ENDED = frozenset(("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED"))
_PAGE = 100


@dataclass(frozen=True)
class Job:
    """A custom job, as Vertex AI describes it."""

    body: Mapping[str, Any]

    @property
    def resource(self) -> str:
        """Full name: projects/P/locations/R/customJobs/ID."""
        return str(self.body["name"])

    @property
    def id(self) -> str:
        """Number at the end of the full name."""
        return self.resource.rpartition("/")[2]

    @property
    def name(self) -> str:
        """Display name of the job."""
        return str(self.body.get("displayName", ""))

    @property
    def state(self) -> str:
        """State, such as PENDING, RUNNING or SUCCEEDED."""
        return str(self.body.get("state", "JOB_STATE_UNSPECIFIED")).removeprefix("JOB_STATE_")

    @property
    def has_ended(self) -> bool:
        """True if the job will not go on."""
        return self.state in ENDED

    @property
    def labels(self) -> dict[str, str]:
        """Labels that were set at submission."""
        return dict(self.body.get("labels", {}))

    @property
    def folder(self) -> str:
        """Folder that the job writes to; empty for a job that studperf did not submit."""
        output = self.body["jobSpec"].get("baseOutputDirectory", {})
        return str(output.get("outputUriPrefix", "")).rstrip("/")

    @property
    def image(self) -> str:
        """Image of the job's container."""
        pool = self.body["jobSpec"]["workerPoolSpecs"][0]
        return str(pool["containerSpec"]["imageUri"])

    @property
    def n_machines(self) -> int:
        """Number of machines over all worker pools."""
        pools = self.body["jobSpec"]["workerPoolSpecs"]
        return sum(int(pool.get("replicaCount", 1)) for pool in pools)

    @property
    def created(self) -> datetime:
        """Time of submission."""
        return datetime.fromisoformat(str(self.body["createTime"]))

    @property
    def seconds(self) -> float | None:
        """Run time in seconds; None while the job runs."""
        if "startTime" not in self.body or "endTime" not in self.body:
            return None
        started = datetime.fromisoformat(self.body["startTime"])
        ended = datetime.fromisoformat(self.body["endTime"])
        return (ended - started).total_seconds()

    @property
    def error(self) -> str:
        """Reason of the failure, with its usual way out; empty if the job did not fail."""
        message = str(self.body.get("error", {}).get("message", ""))
        if not message:
            return ""
        project = self.resource.split("/")[1]
        scheduling = self.body["jobSpec"].get("scheduling", {})
        timeout_s = str(scheduling.get("timeout", "its time"))
        return explain_job_error(message, image=self.image, project=project, timeout_s=timeout_s)


@dataclass(frozen=True)
class Line:
    """A line of a job's log."""

    time: str
    id: str
    replica: str
    text: str


class Vertex:
    """The jobs of one project in one region."""

    def __init__(self, google: Google) -> None:
        self.google = google
        self.parent = f"projects/{google.project}/locations/{google.region}"

    def submit(self, body: Json) -> Job:
        """Create a job, exactly once.

        A request that got no answer may have arrived all the same, so the job is looked for before
        the request is repeated.

        Raises:
            CloudError: Vertex AI refused it, or can't be reached.
        """
        is_open = False

        def create() -> Job:
            nonlocal is_open
            if is_open:
                arrived = list(self.jobs(**{REQUEST: body["labels"][REQUEST]}))
                if arrived:
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
        """Yield studperf's jobs that have these labels, the newest first."""
        wanted = {**APP, **labels}
        terms = [f'labels.{key}="{value}"' for key, value in wanted.items()]
        params: Json = {"filter": " AND ".join(terms), "pageSize": _PAGE}
        asked = self._asked(f"jobs in {self.google.region}")
        pages = self.google.pages("GET", f"v1/{self.parent}/customJobs", asked, params)
        found: list[Job] = []
        for page in pages:
            found += [Job(body) for body in page.get("customJobs", [])]
        yield from sorted(found, key=lambda job: job.created, reverse=True)

    def find(self, asked: str | None) -> Job:
        """Return a job by its number, its name or the beginning of one; by default the newest.

        Raises:
            CloudError: there is none, or several begin like that.
        """
        if asked is None:
            jobs = list(self.jobs())
            if not jobs:
                raise CloudError(
                    f"there is no job of studperf in {self.google.region}, "
                    f"project {self.google.project}"
                )
            return jobs[0]

        number = asked.rpartition("/")[2]
        if number.isdigit():
            # Not found is no error yet: a name may begin with digits alone.
            with contextlib.suppress(NotFoundError):
                return self.get(f"{self.parent}/customJobs/{number}")

        jobs = list(self.jobs())
        found = [job for job in jobs if job.name == asked]
        if not found:
            found = [job for job in jobs if job.name.startswith(asked)]
        if not found:
            raise CloudError(f"{asked}: there is no such job; see: python -m studperf.cloud list")
        if len(found) > 1:
            names = ", ".join(job.name for job in found[:5])
            raise CloudError(f"{asked}: several jobs begin like that: {names}")
        return found[0]

    def get(self, resource: str) -> Job:
        """Return a job as it stands now."""
        asked = self._asked(f"the job {resource.rpartition('/')[2]}")
        return Job(self.google.json("GET", f"v1/{resource}", asked))

    def cancel(self, job: Job) -> None:
        """Request a job's end, which takes a while."""
        asked = self._asked(f"cancelling {job.name}")
        self.google.json("POST", f"v1/{job.resource}:cancel", asked, body={})

    def log(self, job: Job, since: str = "") -> Iterator[Line]:
        """Yield the lines of a job's log, the oldest first.

        Args:
            job: the job.
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
        asked = self.google.asked("logging", f"the log of {job.name}")
        for page in self.google.pages("POST", "v2/entries:list", asked, body):
            yield from map(_line, page.get("entries", []))

    def console_url(self, job: Job) -> str:
        """Return the address of the job's page in Google's console."""
        region = self.google.region
        return (
            f"https://console.cloud.google.com/vertex-ai/locations/{region}/training/{job.id}"
            f"?project={self.google.project}"
        )

    def _asked(self, what: str) -> Asked:
        return self.google.asked("aiplatform", what)


def _line(entry: Json) -> Line:
    """Return an entry of the log as a line; text is logged plainly, or as JSON's message."""
    payload = entry.get("jsonPayload", {})
    text = str(entry.get("textPayload") or payload.get("message") or "").rstrip("\n")
    labels = entry.get("resource", {}).get("labels", {})
    return Line(
        time=str(entry["timestamp"]),
        id=str(entry.get("insertId", "")),
        replica=str(labels.get("task_name", "")),
        text=text,
    )
