"""A stand-in for the services of Google Cloud that studperf.cloud asks: Vertex AI's custom jobs, Cloud Storage, Secret Manager, Cloud Logging,
Service Usage and the image registry, over HTTP on this machine.

Jobs are parsed strictly with the official types, and each replica's command runs as a process with the environment that Vertex AI documents.
It is a reading of the documentation: it proves our side of the wire and our logic, not how Google behaves.

python tests/kit/google_standin.py FOLDER    runs one to play with
"""

import base64
import contextlib
import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlparse

import google_crc32c
from google.cloud.aiplatform_v1.types import CustomJob
from google.protobuf import json_format

Json = dict[str, Any]
Fault = Callable[[str, str], tuple[int, Json] | None]
"""From method and path to an answer that takes the place of the true one."""
Answer = tuple[int, Json | bytes] | tuple[int, Json | bytes, dict[str, str]]
"""Status and content of an answer, and headers if it has any of its own."""
ENDED = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}
IMAGE_PYTHON = "/app/.venv/bin/python"
"""As docker/train.Dockerfile lays it."""
_POLL_S = 0.03
_RESTARTS = 5
_PASSED_ON = re.compile(
    r"^(PATH|LANG|LC_.*|TMPDIR|COV.*|OMP_NUM_THREADS|MKL_NUM_THREADS|WANDB_MODE)$"
)


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def error(code: int, status: str, message: str, reason: str = "") -> tuple[int, Json]:
    details = (
        [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    )
    return code, {"error": {"code": code, "status": status, "message": message, "details": details}}


def crc32c_of(content: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def expand(text: str, environment: dict[str, str]) -> str:
    """$(NAME) in an argument, as Kubernetes does it: $$ is one $, and a name that is unknown stays."""
    return re.sub(
        r"\$\$|\$\(([^)]*)\)", lambda m: "$" if m[0] == "$$" else environment.get(m[1], m[0]), text
    )


@dataclass
class Blob:
    content: bytes
    updated: str

    def tell(self, name: str) -> Json:
        md5 = base64.b64encode(hashlib.md5(self.content, usedforsecurity=False).digest()).decode()
        return {
            "name": name,
            "size": str(len(self.content)),
            "md5Hash": md5,
            "crc32c": crc32c_of(self.content),
            "updated": self.updated,
        }


@dataclass
class Replica:
    """A machine: the process that runs on it, and how often it was replaced."""

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path
    tell: Callable[[str, str], None]
    restarts: int = 0
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.tell(self.name, line.rstrip("\n"))

    @property
    def code(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    def signal(self, number: int) -> None:
        """To all processes of the machine."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def join(self) -> None:
        """Its process has ended, and its log was read to the end."""
        if self.process is not None:
            self.process.wait()
            self._reader.join()

    def stop(self, patience_s: float = 30) -> None:
        self.signal(signal.SIGTERM)
        assert self.process is not None
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(
            sys.exception(), ConnectionError
        ):  # a machine that is lost hangs up amid a word
            super().handle_error(request, client_address)


@dataclass
class GoogleStandin:
    folder: Path
    buckets: dict[str, dict[str, Blob]] = field(default_factory=lambda: {"my-bucket": {}})
    secrets: dict[str, str] = field(default_factory=dict)
    images: set[str] | None = None
    """Those that there are; None: any."""
    disabled: set[str] = field(default_factory=set)
    jobs: dict[str, Json] = field(default_factory=dict)
    replicas: dict[str, list[Replica]] = field(default_factory=dict)
    logs: dict[str, list[Json]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str, bytes, str | None]] = field(default_factory=list)
    """Each request: method, path, body, and what it said of who asks."""
    environment: dict[str, str] = field(default_factory=dict)
    """What a machine has beside what Vertex AI gives it: the image's own."""
    page: int = 1000
    n_broken: int = 0
    """So many of the next contents break off in the midst."""
    n_damaged: int = 0
    """So many of the next contents arrive with another last byte."""
    pending_s: float = 0.1
    _cancelled: set[str] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)
    _uploads: dict[str, tuple[str, Json, bytearray]] = field(default_factory=dict)
    """Large objects that arrive in pieces: bucket, properties and what has come of each."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._server = Server(("127.0.0.1", 0), handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._cancelled |= set(self.jobs)
        for replicas in list(self.replicas.values()):
            for replica in replicas:
                replica.signal(signal.SIGKILL)
        for thread in self._threads:
            thread.join()
        for replica in [r for replicas in self.replicas.values() for r in replicas]:
            replica.join()
        self._server.shutdown()
        self._server.server_close()

    # What a test does or looks at

    def files(self, bucket: str = "my-bucket") -> dict[str, bytes]:
        return {name: blob.content for name, blob in sorted(self.buckets[bucket].items())}

    def job(self, number: int = -1) -> Json:
        return list(self.jobs.values())[number]

    def wait(self, job: Json, timeout_s: float = 120) -> Json:
        end = time.monotonic() + timeout_s
        while self.jobs[job["name"]]["state"] not in ENDED:
            assert time.monotonic() < end, "\n".join(self.log_of(job))
            time.sleep(_POLL_S)
        return self.jobs[job["name"]]

    def log_of(self, job: Json) -> list[str]:
        return [entry["textPayload"] for entry in self.logs.get(job["name"].rpartition("/")[2], [])]

    def take_away(self, job: Json, rank: int, number: int = signal.SIGKILL) -> None:
        """A machine is lost: by surprise, or, with SIGTERM, after half a minute's notice."""
        self.replicas[job["name"]][rank].signal(number)

    # Vertex AI

    def create(self, parent: str, body: Json) -> tuple[int, Json]:
        try:
            message = json_format.ParseDict(body, CustomJob.pb()())
        except json_format.ParseError as refused:
            return error(400, "INVALID_ARGUMENT", str(refused))
        told = json_format.MessageToDict(message)
        if fault := _wrong(told):
            return error(400, "INVALID_ARGUMENT", fault)
        name = f"{parent}/customJobs/{random.randrange(10**18, 10**19)}"  # noqa: S311
        self.jobs[name] = told | {
            "name": name,
            "state": "JOB_STATE_PENDING",
            "createTime": now(),
            "updateTime": now(),
        }
        self._threads.append(threading.Thread(target=self._run, args=(name,), daemon=True))
        self._threads[-1].start()
        return 200, dict(self.jobs[name])

    def cancel(self, name: str) -> tuple[int, Json]:
        if self.jobs[name]["state"] in ENDED:
            return error(400, "FAILED_PRECONDITION", "the job is in a terminal state")
        self._cancelled.add(name)
        self._set(name, state="JOB_STATE_CANCELLING")
        return 200, {}

    def _set(self, name: str, **changes: Any) -> None:
        self.jobs[name] = self.jobs[name] | changes | {"updateTime": now()}

    def _run(self, name: str) -> None:
        time.sleep(self.pending_s)
        spec = self.jobs[name]["jobSpec"]
        replicas = self.replicas[name] = list(self._machines(name, spec))
        for replica in replicas:
            replica.start()
        self._set(name, state="JOB_STATE_RUNNING", startTime=now())
        timeout = spec.get("scheduling", {}).get("timeout")
        deadline = time.monotonic() + (float(timeout.rstrip("s")) if timeout else 7 * 86400)
        state, reason = self._watch(name, spec, replicas, deadline)
        for replica in replicas:
            replica.stop()
            replica.join()
        self._set(
            name,
            state=state,
            endTime=now(),
            **({"error": {"code": 3, "message": reason}} if reason else {}),
        )

    def _watch(
        self, name: str, spec: Json, replicas: list[Replica], deadline: float
    ) -> tuple[str, str]:
        scheduling = spec.get("scheduling", {})
        while True:
            time.sleep(_POLL_S)
            if name in self._cancelled:
                return "JOB_STATE_CANCELLED", ""
            if time.monotonic() > deadline:
                return "JOB_STATE_CANCELLED", "CANCELED: the job exceeded its timeout."
            if replicas[0].code == 0:  # the primary's end is the job's
                return "JOB_STATE_SUCCEEDED", ""
            for replica in replicas:
                if replica.code in (None, 0):
                    continue
                is_lost = replica.code < 0 or replica.code > 127
                if not is_lost or scheduling.get("disableRetries") or replica.restarts >= _RESTARTS:
                    code = replica.code if replica.code > 0 else 128 - replica.code
                    return (
                        "JOB_STATE_FAILED",
                        f"The replica {replica.name} exited with a non-zero status of {code}.",
                    )
                for again in replicas if scheduling.get("restartJobOnWorkerRestart") else [replica]:
                    again.stop()
                    again.restarts += 1
                    again.start()
                break

    def _machines(self, name: str, spec: Json) -> Iterator[Replica]:
        number = name.rpartition("/")[2]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        pools = spec["workerPoolSpecs"]
        cluster = {
            f"workerpool{i}": [f"127.0.0.1:{port}"] * int(pool.get("replicaCount", 1))
            for i, pool in enumerate(pools)
        }
        out = spec.get("baseOutputDirectory", {}).get("outputUriPrefix", "").rstrip("/")
        for i, pool in enumerate(pools):
            for k in range(int(pool.get("replicaCount", 1))):
                task = {"type": f"workerpool{i}", "index": k}
                environment = {
                    key: value for key, value in os.environ.items() if _PASSED_ON.match(key)
                } | {
                    "HOME": str(self.folder),
                    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                    "STUDPERF_GOOGLE_ENDPOINT": self.url,
                    "CLOUD_ML_PROJECT_ID": "123456789012",
                    "CLOUD_ML_JOB_ID": number,
                    "CLUSTER_SPEC": json.dumps(
                        {"cluster": cluster, "environment": "cloud", "task": task, "job": "{}"}
                    ),
                    # as has been seen, though it is documented nowhere
                    "RANK": str(k + (i > 0)),
                    "WORLD_SIZE": str(sum(map(len, cluster.values()))),
                }
                environment |= self.environment
                if out:
                    environment |= {
                        "AIP_MODEL_DIR": f"{out}/model/",
                        "AIP_CHECKPOINT_DIR": f"{out}/checkpoints/",
                    }
                container = pool["containerSpec"]
                environment |= {
                    e["name"]: expand(e.get("value", ""), environment)
                    for e in container.get("env", [])
                }
                command = [
                    sys.executable if word == IMAGE_PYTHON else word
                    for word in container.get("command", [])
                ]  # the image is this environment
                command = [
                    expand(word, environment) for word in [*command, *container.get("args", [])]
                ]
                folder = self.folder / number / f"{i}-{k}"
                folder.mkdir(parents=True, exist_ok=True)
                yield Replica(
                    f"workerpool{i}-{k}", command, environment, folder, self._teller(number)
                )

    def _teller(self, number: str) -> Callable[[str, str], None]:
        entries = self.logs.setdefault(number, [])

        def tell(replica: str, text: str) -> None:
            labels = {"job_id": number, "task_name": replica}
            resource = {"type": "ml_job", "labels": labels}
            entries.append(
                {
                    "timestamp": now(),
                    "insertId": str(len(entries)),
                    "severity": "INFO",
                    "textPayload": text,
                    "resource": resource,
                }
            )

        return tell

    # All services, by their paths

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
        for fault in self.faults:
            if (found := fault(method, path)) is not None:
                return found
        for pattern, ask in self._routes():
            if match := re.fullmatch(pattern, f"{method} {path}"):
                return ask(*map(unquote, match.groups("")), query, body)
        return error(404, "NOT_FOUND", f"the stand-in knows no {method} {path}")

    def _routes(self) -> list[tuple[str, Callable[..., Answer]]]:
        place = r"(projects/[^/]+/locations/[^/]+)"
        return [
            (
                rf"POST /v1/{place}/customJobs",
                lambda parent, _, body: self.create(parent, json.loads(body)),
            ),
            (rf"GET /v1/{place}/customJobs", self._list_jobs),
            (
                rf"GET /v1/({place[1:-1]}/customJobs/\d+)",
                lambda name, *_: self._known(name, lambda: (200, dict(self.jobs[name]))),
            ),
            (
                rf"POST /v1/({place[1:-1]}/customJobs/\d+):cancel",
                lambda name, *_: self._known(name, lambda: self.cancel(name)),
            ),
            (r"GET /storage/v1/b/([^/]+)/o", self._list_blobs),
            (r"GET (?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)", self._get_blob),
            (r"PUT /upload/storage/v1/b/([^/]+)/o", self._put_piece),
            (r"POST /upload/storage/v1/b/([^/]+)/o", self._put_blob),
            (
                r"GET /v1/projects/[^/]+/secrets/([^/]+)/versions/([^/:]+)(:access)?",
                self._get_secret,
            ),
            (r"POST /v2/entries:list", self._list_entries),
            (r"GET /v1/projects/[^/]+/services/([a-z]+)\.googleapis\.com", self._get_service),
            (r"GET /v2/(.+)/manifests/([^/]+)", self._get_image),
        ]

    def _known(self, name: str, answer: Callable[[], tuple[int, Json]]) -> tuple[int, Json]:
        return (
            answer()
            if name in self.jobs
            else error(404, "NOT_FOUND", f"CustomJob {name} is not found.")
        )

    def _list_jobs(self, parent: str, query: dict[str, str], _: bytes) -> tuple[int, Json]:
        found = sorted(
            (job for name, job in self.jobs.items() if name.startswith(f"{parent}/")),
            key=lambda job: job["createTime"],
            reverse=True,
        )
        for term in query.get("filter", "").split(" AND ") if query.get("filter") else []:
            match = re.fullmatch(r'(labels\.)?([\w-]+)\s*=\s*"([^"]*)"', term.strip())
            if match is None:
                return error(400, "INVALID_ARGUMENT", f"bad filter {term}")
            key = {"display_name": "displayName"}.get(match[2], match[2])
            found = [
                job
                for job in found
                if (job.get("labels", {}) if match[1] else job).get(key) == match[3]
            ]
        return 200, self._page(
            "customJobs", found, query.get("pageToken"), int(query.get("pageSize", "50"))
        )

    def _page(self, key: str, found: list[Json], token: str | None, size: int) -> Json:
        start, size = int(token or 0), min(size, self.page)
        more = {"nextPageToken": str(start + size)} if start + size < len(found) else {}
        return ({key: found[start : start + size]} if found else {}) | more

    def _bucket(self, bucket: str) -> dict[str, Blob] | None:
        return self.buckets.get(bucket)

    def _list_blobs(self, bucket: str, query: dict[str, str], _: bytes) -> tuple[int, Json]:
        if (blobs := self._bucket(bucket)) is None:
            return 404, {"error": {"code": 404, "message": "The specified bucket does not exist."}}
        found = [
            blob.tell(name)
            for name, blob in sorted(blobs.items())
            if name.startswith(query.get("prefix", ""))
        ]
        return 200, self._page(
            "items", found, query.get("pageToken"), int(query.get("maxResults", "1000"))
        )

    def _get_blob(
        self, bucket: str, name: str, query: dict[str, str], _: bytes
    ) -> tuple[int, Json | bytes]:
        blob = (self._bucket(bucket) or {}).get(name)
        if blob is None:
            return 404, {"error": {"code": 404, "message": f"No such object: {bucket}/{name}"}}
        return 200, blob.content if query.get("alt") == "media" else blob.tell(name)

    def _put_blob(self, bucket: str, query: dict[str, str], body: bytes) -> Answer:
        """An object in one request, as multipart/related; or the beginning of one in pieces."""
        if self._bucket(bucket) is None:
            return 404, {"error": {"code": 404, "message": "The specified bucket does not exist."}}
        if query["uploadType"] == "resumable":
            number = str(len(self._uploads))
            self._uploads[number] = (bucket, json.loads(body), bytearray())
            address = f"{self.url}/upload/storage/v1/b/{bucket}/o?upload_id={number}"
            return 200, {}, {"Location": address}
        boundary = body.partition(b"\r\n")[0]
        _, properties, content, _ = body.split(boundary)
        content = content.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        return self._keep(bucket, json.loads(properties.partition(b"\r\n\r\n")[2]), content)

    def _put_piece(self, _: str, query: dict[str, str], body: bytes) -> Answer:
        bucket, properties, content = self._uploads[query["upload_id"]]
        content += body
        first, last, total = re.match(
            r"bytes (\d+)-(\d+)/(\d+|\*)", query["content-range"]
        ).groups()  # type: ignore[union-attr]
        assert int(first) + len(body) == int(last) + 1 == len(content)
        if total == "*" or int(total) > len(content):
            return 308, {}, {"Range": f"bytes=0-{last}"}
        return self._keep(bucket, properties, bytes(content))

    def _keep(self, bucket: str, properties: Json, content: bytes) -> tuple[int, Json]:
        """Store an object, unless it is not what its checksums say."""
        blob = Blob(content, now())
        told = blob.tell(properties["name"])
        for key in ("md5Hash", "crc32c"):
            if properties.get(key, told[key]) != told[key]:
                return 400, {
                    "error": {
                        "code": 400,
                        "message": f"Provided {key} {properties[key]} doesn't match calculated {told[key]}.",
                    }
                }
        self.buckets[bucket][properties["name"]] = blob
        return 200, told

    def _get_secret(self, name: str, version: str, access: str, *_: Any) -> tuple[int, Json]:
        if name not in self.secrets:
            return error(
                404,
                "NOT_FOUND",
                f"Secret [projects/123/secrets/{name}] not found or has no versions.",
            )
        full = f"projects/123/secrets/{name}/versions/{version}"
        data = base64.b64encode(self.secrets[name].encode()).decode()
        return 200, {"name": full, "payload": {"data": data}} if access == ":access" else {
            "name": full,
            "state": "ENABLED",
        }

    def _list_entries(self, _: dict[str, str], body: bytes) -> tuple[int, Json]:
        asked = json.loads(body)
        terms = dict(re.findall(r'([\w.]+)(?:=|>=)"([^"]*)"', asked["filter"]))
        entries = [
            e
            for e in self.logs.get(terms["resource.labels.job_id"], [])
            if e["timestamp"] >= terms["timestamp"]
        ]
        return 200, self._page(
            "entries", entries, asked.get("pageToken"), asked.get("pageSize", 50)
        )

    def _get_service(self, service: str, *_: Any) -> tuple[int, Json]:
        return 200, {
            "name": f"projects/123/services/{service}.googleapis.com",
            "state": "DISABLED" if service in self.disabled else "ENABLED",
        }

    def _get_image(self, path: str, tag: str, *_: Any) -> tuple[int, Json]:
        if self.images is not None and f"{path}:{tag}" not in self.images:
            return 404, {
                "errors": [{"code": "MANIFEST_UNKNOWN", "message": f'Failed to fetch "{tag}"'}]
            }
        return 200, {"schemaVersion": 2}


def _wrong(job: Json) -> str:
    """What Vertex AI refuses beyond the types."""
    pools = job.get("jobSpec", {}).get("workerPoolSpecs", [])
    if not job.get("displayName") or len(job["displayName"]) > 128:
        return "displayName is required, and holds up to 128 characters."
    if not pools or not all(pool.get("containerSpec", {}).get("imageUri") for pool in pools):
        return "each worker pool needs a container with an image."
    if int(pools[0].get("replicaCount", 0)) != 1:
        return "The first worker pool must have replica_count 1."
    for key, value in job.get("labels", {}).items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(
            r"[a-z0-9_-]{0,63}", value
        ):
            return f"invalid label {key}={value}"
    return ""


def handler_of(standin: GoogleStandin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.go("GET")

        def do_POST(self) -> None:
            self.go("POST")

        def do_PUT(self) -> None:
            self.go("PUT")

        def go(self, method: str) -> None:
            url = urlparse(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            standin.seen.append((method, self.path, body, self.headers.get("Authorization")))
            query = {
                key: values[0]
                for key, values in parse_qs(url.query, keep_blank_values=True).items()
            }
            if "Content-Range" in self.headers:
                query["content-range"] = self.headers["Content-Range"]
            code, answer, *more = standin.answer(method, url.path, query, body)
            headers = dict(*more)
            if isinstance(answer, bytes):
                code, content = self.send_object(code, answer, headers)
            else:
                content = json.dumps(answer).encode()
                headers |= {
                    "Content-Type": "application/json",
                    "Content-Length": str(len(content)),
                }
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(code)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content)

        def send_object(
            self, code: int, content: bytes, headers: dict[str, str]
        ) -> tuple[int, bytes]:
            """An object's content, or the part of it that is asked for, as it goes over the wire."""
            md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
            headers["Content-Type"] = "application/octet-stream"
            headers["x-goog-hash"] = f"crc32c={crc32c_of(content)},md5={md5}"
            first = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if first:
                code, content = 206, content[int(first[1]) :]
            headers["Content-Length"] = str(len(content))
            if standin.n_damaged:
                standin.n_damaged -= 1
                content = content[:-1] + bytes([content[-1] ^ 1])
            elif standin.n_broken:
                standin.n_broken -= 1
                content = content[: len(content) // 2]
                self.close_connection = True
            return code, content

    return Handler


if __name__ == "__main__":
    with GoogleStandin(Path(sys.argv[1]).resolve()) as running:
        sys.stdout.write(
            f"export STUDPERF_GOOGLE_ENDPOINT={running.url} GOOGLE_CLOUD_PROJECT=my-project STUDPERF_BUCKET=gs://my-bucket\n"
        )
        sys.stdout.flush()
        signal.pause()
