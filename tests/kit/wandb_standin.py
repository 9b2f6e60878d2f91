"""A stand-in for W&B's server: answers what the real client of wandb 0.31 asks online, over HTTP, and keeps what it was given.

It proves our side of the wire, no more. `unknown` lists what it could not answer, and is to be empty at the end of a test.
"""

import base64
import gzip
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlparse

Json = dict[str, Any]
RunKey = tuple[str, str, str]
ENTITY = "tester"
API_KEY = "5ec2e7" + "0" * 28 + "facade"


def gid(*parts: object) -> str:
    return base64.b64encode(":".join(map(str, parts)).encode()).decode()


@dataclass
class Run:
    key: RunKey
    config: Json = field(default_factory=dict)
    summary: Json = field(default_factory=dict)
    history: list[Json] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    output: list[Any] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    facts: Json = field(default_factory=dict)
    exit_code: int | None = None
    is_complete: bool = False

    @property
    def gid(self) -> str:
        return gid("Run", "v1", *reversed(self.key))

    @property
    def state(self) -> str:
        return ("finished" if self.exit_code == 0 else "failed") if self.is_complete else "running"


@dataclass
class Artifact:
    id: str
    collection: RunKey
    type: str
    version: int
    digest: str
    metadata: Json
    run: str | None
    aliases: set[str] = field(default_factory=set)
    state: str = "PENDING"
    files: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.collection[2]


class Standin:
    """`with Standin() as server: os.environ["WANDB_BASE_URL"] = server.url`."""

    def __init__(self) -> None:
        self.runs: dict[RunKey, Run] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.used: list[tuple[str, str]] = []
        self.stored: dict[str, bytes] = {}
        self.views: dict[str, Json] = {}
        self.unknown: list[Any] = []
        self.asked: list[str] = []
        self.refuse: set[str] = set()
        """Operations answered with an error."""
        self.is_mute = False
        """Connections are accepted and never answered."""
        self.drop_history = False
        """Rows are taken and lost."""
        self._lock = threading.RLock()
        self._clients: dict[str, str] = {}
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.is_mute = False
        self._http.shutdown()
        self._http.server_close()

    def run(self, run_id: str) -> Run:
        return next(run for key, run in self.runs.items() if key[2] == run_id)

    def artifact(self, name: str, alias: str = "latest") -> Artifact:
        return next(a for a in self.artifacts.values() if a.name == name and alias in a.aliases)

    # -- what the client sends

    def stream(self, key: RunKey, body: Json) -> Json:
        """A run's rows, summary and output, as they come."""
        with self._lock:
            run = self.runs.setdefault(key, Run(key))
            for name, chunk in (body.get("files") or {}).items():
                place, lines = chunk.get("offset", 0), chunk.get("content") or []
                if name == "wandb-summary.json":
                    run.summary = json.loads(lines[-1])
                elif name in ("wandb-history.jsonl", "wandb-events.jsonl"):
                    kept = run.history if name == "wandb-history.jsonl" else run.events
                    if not (self.drop_history and kept is run.history):
                        kept[place : place + len(lines)] = [json.loads(line) for line in lines]
                else:
                    run.output[place : place + len(lines)] = lines
            run.files |= set(body.get("uploaded") or [])
            if body.get("complete"):
                run.is_complete, run.exit_code = True, body.get("exitcode")
        return {"exitcode": None, "limits": {}}

    def graphql(self, body: Json) -> Json:
        """One operation; an unknown one is answered with an error, as a dropped connection would be tried again for minutes."""
        found = re.search(r"\b(?:query|mutation)\s+(\w+)", body.get("query", ""))
        name = body.get("operationName") or (found.group(1) if found else "")
        with self._lock:
            self.asked.append(name)
            if name in self.refuse:
                return {"errors": [{"message": f"{name} refused"}], "data": None}
            operation = getattr(self, f"op_{name}", None)
            if operation is None:
                if name:
                    self.unknown.append((name, body))
                return {"errors": [{"message": f"unknown operation {name}"}], "data": None}
            variables = body.get("variables") or {}
            try:
                return {"data": operation(variables.get("input") or variables)}
            except (KeyError, StopIteration, TypeError, AttributeError) as error:
                self.unknown.append((name, repr(error), variables))
                return {"errors": [{"message": repr(error)}], "data": None}

    # -- who and what

    def op_Viewer(self, _: Json) -> Json:
        team = {"edges": [{"node": {"name": ENTITY}}]}
        viewer = {
            "id": gid("User", 1),
            "entity": ENTITY,
            "username": ENTITY,
            "name": ENTITY,
            "email": "t@example.invalid",
            "flags": "{}",
        }
        return {
            "viewer": {
                **viewer,
                "admin": False,
                "deletedAt": None,
                "apiKeys": {"edges": []},
                "teams": team,
            }
        }

    op_GetViewer = op_GetDefaultEntity = op_Viewer

    def op_ServerFeaturesQuery(self, _: Json) -> Json:
        return {"serverInfo": {"features": []}}

    def op_ServerInfo(self, _: Json) -> Json:
        versions = {"min_cli_version": "0.10.0", "max_cli_version": "9.9.9"}
        return {"serverInfo": {"cliVersionInfo": versions, "latestLocalVersionInfo": None}}

    def op_OrganizationCoreWeaveOrganizationID(self, _: Json) -> Json:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    # -- runs

    def op_UpsertBucket(self, v: Json) -> Json:
        run = next((run for run in self.runs.values() if v.get("id") and run.gid == v["id"]), None)
        if run is None:
            key = (v.get("entity") or ENTITY, v.get("project") or "uncategorized", v["name"])
            run = self.runs.setdefault(key, Run(key))
        run.config = json.loads(v["config"]) if v.get("config") else run.config
        run.summary = json.loads(v["summaryMetrics"]) if v.get("summaryMetrics") else run.summary
        run.facts |= {
            name: v[name]
            for name in ("groupName", "jobType", "displayName", "tags")
            if v.get(name) is not None
        }
        entity, project, name = run.key
        place = {
            "id": gid("Project", project),
            "name": project,
            "entity": {"id": gid("Entity", entity), "name": entity},
        }
        bucket = {
            "id": run.gid,
            "name": name,
            "displayName": run.facts.get("displayName") or name,
            "description": "",
            "sweepName": None,
        }
        bucket |= {
            "config": json.dumps(run.config),
            "project": place,
            "historyLineCount": len(run.history),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def op_RunResumeStatus(self, v: Json) -> Json:
        run = self.runs.get((v.get("entity") or ENTITY, v["project"], v["name"]))
        bucket = None
        if run is not None:
            tails = {"historyTail": run.history, "eventsTail": run.events}
            counts = {
                "historyLineCount": run.history,
                "eventsLineCount": run.events,
                "logLineCount": run.output,
            }
            bucket = {
                "id": run.gid,
                "name": v["name"],
                "displayName": run.facts.get("displayName"),
                "notes": None,
                "tags": [],
            }
            bucket |= {
                "summaryMetrics": json.dumps(run.summary),
                "config": json.dumps(run.config),
                "wandbConfig": json.dumps({"t": 1}),
            }
            bucket |= {
                name: json.dumps([json.dumps(row) for row in rows[-1:]])
                for name, rows in tails.items()
            }
            bucket |= {name: len(rows) for name, rows in counts.items()}
        return {
            "model": {
                "id": "x",
                "name": v["project"],
                "entity": {"id": "e", "name": ENTITY},
                "bucket": bucket,
            }
        }

    def op_RunStoppedStatus(self, _: Json) -> Json:
        return {"project": {"run": {"stopped": False}}}

    def op_CreateRunFiles(self, v: Json) -> Json:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/store/run/{v['run']}/{name}"}
            for name in v["files"]
        ]
        return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}

    # -- artifacts

    def op_CreateArtifact(self, v: Json) -> Json:
        collection = (v["entityName"], v["projectName"], v["artifactCollectionName"])
        versions = [a for a in self.artifacts.values() if a.collection == collection]
        artifact = next(
            (a for a in versions if a.digest == v["digest"]), None
        )  # the same content is the same version
        if artifact is None:
            artifact_id = gid("Artifact", len(self.artifacts) + 1)
            metadata = json.loads(v.get("metadata") or "{}")
            artifact = Artifact(
                artifact_id,
                collection,
                v["artifactTypeName"],
                len(versions),
                v["digest"],
                metadata,
                v.get("runName"),
            )
            self.artifacts[artifact_id] = artifact
        for alias in v.get("aliases") or []:
            for other in versions:
                other.aliases.discard(alias["alias"])
            artifact.aliases.add(alias["alias"])
        self._clients[v.get("clientID", "")] = artifact.id
        done = [{"id": a.id} for a in versions if a.state == "COMMITTED"]
        sequence = {"latestArtifact": done[-1] if done else None}
        return {
            "createArtifact": {
                "artifact": {
                    "id": artifact.id,
                    "state": artifact.state,
                    "artifactSequence": sequence,
                }
            }
        }

    def op_CreateArtifactManifest(self, v: Json) -> Json:
        url = f"{self.url}/store/manifest/{v['artifactID']}"
        manifest = {
            "id": gid("Manifest", v["artifactID"]),
            "file": {"id": "f", "uploadUrl": url, "uploadHeaders": []},
        }
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def op_CreateArtifactFiles(self, v: Json) -> Json:
        edges = []
        for file in v["artifactFiles"]:
            path = f"/store/artifact/{file['artifactID']}/{file['name']}"
            self.artifacts[file["artifactID"]].files[file["name"]] = path
            node = {
                "storagePath": path,
                "uploadUrl": self.url + path,
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
            }
            edges.append({"node": {**node, "artifact": {"id": file["artifactID"]}}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def op_CommitArtifact(self, v: Json) -> Json:
        artifact = self.artifacts[v["artifactID"]]
        artifact.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def op_UseArtifact(self, v: Json) -> Json:
        self.used.append((v["runName"], self.artifacts[v["artifactID"]].name))
        return {"useArtifact": {"artifact": {"id": v["artifactID"]}}}

    def op_ArtifactType(self, v: Json) -> Json:
        name = v["name"].partition(":")[0]
        found = next((a for a in self.artifacts.values() if a.name == name), None)
        return {
            "project": {
                "artifact": {"artifactType": {"name": found.type}} if found is not None else None
            }
        }

    def op_ClientIDMapping(self, v: Json) -> Json:
        server_id = self._clients.get(v["clientID"])
        return {"clientIDMapping": {"serverID": server_id} if server_id else None}

    # -- what is read back

    def op_Run(self, v: Json) -> Json:
        run = self._named(v)
        return {"project": {"run": self._described(run) if run is not None else None}}

    def op_RunHistoryKeys(self, v: Json) -> Json:
        run = self._named(v)
        return {
            "project": {
                "run": {"historyKeys": self._described(run)["historyKeys"]}
                if run is not None
                else None
            }
        }

    def op_RunParquetHistory(self, _: Json) -> Json:
        return {"project": {"run": {"parquetHistory": {"parquetUrls": []}}}}

    def op_HistoryPage(self, v: Json) -> Json:
        run = self._named(v)
        rows = run.history if run is not None else []
        page = [
            json.dumps(row)
            for row in rows
            if v.get("minStep", 0) <= row.get("_step", 0) < v.get("maxStep", 1 << 60)
        ]
        return {"project": {"run": {"history": page[: v.get("pageSize") or 1000]}}}

    def op_RunOutputArtifacts(self, v: Json) -> Json:
        run_id = v.get("run") or v["runName"]
        mine = [
            a
            for a in self.artifacts.values()
            if a.run == run_id and (run_id, a.name) not in self.used
        ]
        return {"project": {"run": {"artifacts": self._page(mine)}}}

    def op_RunInputArtifacts(self, v: Json) -> Json:
        mine = [
            a
            for a in self.artifacts.values()
            if (v.get("run") or v["runName"], a.name) in self.used
        ]
        return {"project": {"run": {"artifacts": self._page(mine)}}}

    # -- dashboards

    def op_UpsertModel(self, v: Json) -> Json:
        return {
            "upsertModel": {
                "project": self._project(v.get("entityName") or ENTITY, v["name"]),
                "model": None,
                "inserted": True,
            }
        }

    def op_CreateProject(self, v: Json) -> Json:
        return {"result": self.op_UpsertModel(v)["upsertModel"]}

    def op_GetProjects(self, _: Json) -> Json:
        projects = sorted({key[:2] for key in self.runs})
        edges = [{"cursor": "c", "node": self._project(*key)} for key in projects]
        return {"models": {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": edges}}

    def op_ProjectInternalId(self, _: Json) -> Json:
        return {
            "project": {
                "internalId": gid("ProjectInternalId", 1),
                "id": gid("ProjectInternalId", 1),
            }
        }

    def op_UpsertView2(self, v: Json) -> Json:
        view_id = v.get("id") or gid("View", v["type"], len(self.views) + 1)
        is_new = view_id not in self.views
        self.views[view_id] = {
            **self.views.get(view_id, {}),
            **{key: value for key, value in v.items() if value is not None},
            "id": view_id,
        }
        view = {
            key: self.views[view_id].get(key)
            for key in ("id", "name", "type", "displayName", "description", "spec")
        }
        times = {"createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"}
        project = {"id": "p", "name": v.get("projectName"), "entityName": v.get("entityName")}
        return {
            "upsertView": {
                "view": {
                    **view,
                    **times,
                    "user": {"username": ENTITY, "userInfo": {}},
                    "project": project,
                },
                "inserted": is_new,
            }
        }

    op_upsertView = op_UpsertView = op_UpsertView2

    def op_View(self, v: Json) -> Json:
        found = [view for view in self.views.values() if view["name"] == v.get("viewName")]
        edges = [
            {"node": {key: view[key] for key in ("id", "displayName", "spec")}} for view in found
        ]
        return {"project": {"allViews": {"edges": edges}}}

    # -- pieces of answers

    def _named(self, v: Json) -> Run | None:
        return self.runs.get(
            (v.get("entity") or ENTITY, str(v.get("project")), str(v.get("name") or v.get("run")))
        )

    def _project(self, entity: str, name: str) -> Json:
        owner = {"id": gid("Entity", entity), "name": entity, "__typename": "Entity"}
        facts = {
            "__typename": "Project",
            "id": gid("Project", name),
            "internalId": gid("ProjectInternalId", name),
            "name": name,
        }
        return {
            **facts,
            "entityName": entity,
            "entity": owner,
            "createdAt": "2026-01-01T00:00:00Z",
            "isBenchmark": False,
        }

    def _described(self, run: Run) -> Json:
        names = sorted({name for row in run.history for name in row})
        keys = {
            name: {
                "typeCounts": [{"type": "number", "count": 1}],
                "monotonic": False,
                "previousValue": 0,
            }
            for name in names
        }
        facts = {
            "id": run.gid,
            "projectId": "1",
            "internalId": "1",
            "name": run.key[2],
            "sweepName": None,
            "state": run.state,
        }
        facts |= {
            "displayName": run.facts.get("displayName"),
            "group": run.facts.get("groupName"),
            "jobType": run.facts.get("jobType"),
        }
        facts |= {
            "config": json.dumps(run.config),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "tags": [],
        }
        facts |= {
            "commit": None,
            "readOnly": False,
            "description": "",
            "notes": None,
            "historyLineCount": len(run.history),
        }
        facts |= {
            "createdAt": "2026-01-01T00:00:00Z",
            "heartbeatAt": "2026-01-01T00:00:00Z",
            "user": {"name": "t", "username": ENTITY},
        }
        last = max((row.get("_step", 0) for row in run.history), default=-1)
        return {**facts, "historyKeys": {"keys": keys, "lastStep": last, "sets": []}}

    def _page(self, artifacts: list[Artifact]) -> Json:
        # wandb's reader can't take one that is not committed
        edges = [
            {"cursor": "c", "node": self._artifact(a)} for a in artifacts if a.state == "COMMITTED"
        ]
        return {
            "totalCount": len(edges),
            "pageInfo": {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False},
            "edges": edges,
        }

    def _artifact(self, a: Artifact) -> Json:
        collection = {
            "__typename": "ArtifactSequence",
            "id": gid("ArtifactCollection", a.name),
            "name": a.name,
        }
        collection |= {"project": self._project(*a.collection[:2]), "type": {"name": a.type}}
        aliases = [
            {
                "__typename": "ArtifactAlias",
                "id": gid("Alias", alias),
                "alias": alias,
                "artifactCollection": collection,
            }
            for alias in sorted({*a.aliases, f"v{a.version}"})
        ]
        facts = {
            "__typename": "Artifact",
            "id": a.id,
            "artifactSequence": collection,
            "versionIndex": a.version,
            "state": a.state,
        }
        facts |= {
            "artifactType": {
                "id": gid("Type", a.type),
                "name": a.type,
                "__typename": "ArtifactType",
            },
            "description": None,
        }
        facts |= {
            "metadata": json.dumps(a.metadata),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
        }
        facts |= {
            "size": sum(len(self.stored.get(url, b"")) for url in a.files.values()),
            "digest": a.digest,
            "commitHash": "c" * 8,
        }
        facts |= {
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": "2026-01-01T00:00:00Z",
            "fileCount": len(a.files),
            "aliases": aliases,
        }
        return {**facts, "currentManifest": None, "artifactMembership": None}


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed, or that has done, breaks its connections off."""


def _handler(server: Standin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body, path = self._body(), urlparse(self.path).path
            self._wait_while_mute()
            if path.endswith("/graphql"):
                self._reply(server.graphql(json.loads(body or b"{}")))
            elif found := re.match(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path):
                entity, project, run = map(unquote, found.groups())
                self._reply(server.stream((entity, project, run), json.loads(body)))
            elif "/otel/v1/" in path:
                self._reply({})
            else:
                server.unknown.append(("POST", path))
                self._reply({"error": "unknown"}, 404)

        def do_PUT(self) -> None:
            server.stored[unquote(urlparse(self.path).path)] = self._body()
            self._wait_while_mute()
            self._reply({})

        def do_GET(self) -> None:
            self._wait_while_mute()
            server.unknown.append(("GET", self.path))
            self._reply({"error": "not found"}, 404)

        def _wait_while_mute(self) -> None:
            while server.is_mute:
                time.sleep(0.05)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _reply(self, answer: Json, code: int = 200) -> None:
            body = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
