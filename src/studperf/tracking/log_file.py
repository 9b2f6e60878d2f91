"""Reading a W&B run back from its log on disk, `run-<id>.wandb`, without a server.

A log is LevelDB's format behind a head of 7 bytes: blocks of 32 KB, in them records of crc32,
length, kind and data; the data are W&B's protobuf messages (wandb 0.31, `core/pkg/leveldb`). W&B's
own reader in Python is gone; `tests/tracking/test_log_file.py` would show that the message module has
gone too. `sync` can't do without it: `wandb sync` ends with 0 over a log that it can't read and
drops the others, and what has arrived is known only by what the log holds. W&B's command that
prints a log, `wandb leet inspect`, takes 1.4 s to 3.3 s for each; this reader takes 5 ms.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studperf.errors import RunError

_HEAD = 7
_BLOCK = 32768
_MAGIC = b":W&B"
# Kinds of LevelDB's records: a whole message, or a piece of one.
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class Artifact:
    """An artifact that a run logged or used."""

    name: str
    type: str
    aliases: list[str]
    is_used: bool
    metadata: dict[str, Any]
    files: dict[str, str]
    """Place of each path in the artifact: a file here, or a reference."""
    digests: dict[str, str]


@dataclass
class LoggedRun:
    """The contents of a log that studperf asks for."""

    path: Path
    id: str = ""
    project: str = ""
    entity: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    system: list[dict[str, float]] = field(default_factory=list)
    exit_code: int | None = None
    is_whole: bool = True
    """False if the log breaks off in the middle of a record, as a killed process leaves it."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """History without W&B's own keys, media as a mapping."""
        return [_without_own_keys(row) for row in self.history]


def _without_own_keys(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without the keys that W&B adds to each."""
    return {key: value for key, value in row.items() if not key.startswith("_")}


def read_run(path: Path) -> LoggedRun:
    """Read the run in a log.

    Args:
        path: a `.wandb` file, or the folder that it lies in.

    Raises:
        RunError: there is no log, or it is none of W&B's, or damaged before its end.
    """
    files = [path]
    if not path.is_file():
        files = sorted(path.glob("run-*.wandb"))
    if not files:
        raise RunError(f"{path}: holds no W&B log (run-*.wandb)")
    run = LoggedRun(files[0])
    for record in _records(run):
        _add(run, record)
    return run


def _records(run: LoggedRun) -> Iterator[Any]:
    """Yield the protobuf messages of a log."""
    from wandb.proto import wandb_internal_pb2

    message: Any = getattr(wandb_internal_pb2, "Record")  # noqa: B009 - generated, without types
    for data in _payloads(run):
        record = message()
        record.ParseFromString(data)
        yield record


def _payloads(run: LoggedRun) -> Iterator[bytes]:
    """Yield the data of a log's messages, put together from their pieces."""
    content = run.path.read_bytes()
    if content[: len(_MAGIC)] != _MAGIC:
        raise RunError(f"{run.path}: is not a W&B log, it begins with {content[:4]!r}")

    place = _HEAD
    parts: list[bytes] = []
    while place + _HEAD <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _HEAD:
            # What is left of the block is too short for a head, and filled with zeros.
            place += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", content, place)
        start = place + _HEAD
        data = content[start : start + length]
        if kind == 0 or len(data) < length:
            break
        if zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum:
            raise RunError(f"{run.path}: is damaged at byte {place}")
        place += _HEAD + length
        parts.append(data)
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []
    run.is_whole = place >= len(content) and not parts


def _add(run: LoggedRun, record: Any) -> None:  # noqa: ANN401 - a protobuf message
    """Add what a message tells of the run."""
    match record.WhichOneof("record_type"):
        case "run":
            about = record.run
            run.id = about.run_id
            run.project = about.project
            run.entity = about.entity
            run.name = about.display_name
            run.group = about.run_group
            run.job_type = about.job_type
            run.tags = list(about.tags)
            _update(run.config, about.config.update)
        case "config":
            _update(run.config, record.config.update)
        case "summary":
            _update(run.summary, record.summary.update)
        case "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            run.history.append(row)
        case "artifact":
            run.artifacts.append(_artifact(record.artifact))
        case "stats":
            items = record.stats.item
            run.system.append({item.key: json.loads(item.value_json) for item in items})
        case "exit":
            run.exit_code = record.exit.exit_code


def _artifact(about: Any) -> Artifact:  # noqa: ANN401 - a protobuf message
    """Return the artifact that a message describes."""
    entries = list(about.manifest.contents)
    return Artifact(
        name=about.name,
        type=about.type,
        aliases=list(about.aliases),
        is_used=about.use_after_commit,
        metadata=json.loads(about.metadata or "{}"),
        files={entry.path: entry.ref or entry.local_path for entry in entries},
        digests={entry.path: entry.digest for entry in entries},
    )


def _update(values: dict[str, Any], items: Any) -> None:  # noqa: ANN401 - protobuf messages
    """Set the values of items, whose keys may be nested."""
    for item in items:
        names = list(item.nested_key) or [item.key]
        inner = values
        for name in names[:-1]:
            inner = inner.setdefault(name, {})
        inner[names[-1]] = json.loads(item.value_json)
