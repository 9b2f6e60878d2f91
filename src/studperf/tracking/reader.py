"""Reads a W&B run back from its log on disk, `run-<id>.wandb`, without a server.

A log is LevelDB's format behind a head of 7 bytes: blocks of 32 KB, in them records of crc32, length, kind and data; the data are W&B's
protobuf messages (wandb 0.31, `core/pkg/leveldb`). W&B's own reader in Python is gone; `tests/tracking/test_reader.py` would tell that
the message module has gone too.
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
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class Artifact:
    """What a run logged or used."""

    name: str
    type: str
    aliases: list[str]
    is_used: bool
    metadata: dict[str, Any]
    files: dict[str, str]
    """Path in the artifact -> where it lies: a file here, or a reference."""
    digests: dict[str, str]


@dataclass
class LoggedRun:
    """All of a log that we ask for."""

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
        """The history without W&B's own keys, media as a mapping."""
        return [
            {key: value for key, value in row.items() if not key.startswith("_")}
            for row in self.history
        ]


def read_run(path: Path) -> LoggedRun:
    """The run in a log.

    Args:
        path: a `.wandb` file, or the folder it lies in.

    Raises:
        RunError: there is no log, or it is none of W&B's, or damaged before its end.
    """
    file = path if path.is_file() else next(iter(sorted(path.glob("run-*.wandb"))), None)
    if file is None:
        raise RunError(f"{path}: holds no W&B log (run-*.wandb)")
    run = LoggedRun(file)
    for record in _records(run):
        _add(run, record)
    return run


def _records(run: LoggedRun) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    message: Any = getattr(wandb_internal_pb2, "Record")  # noqa: B009 - generated, so that its types are not known
    for data in _payloads(run):
        record = message()
        record.ParseFromString(data)
        yield record


def _payloads(run: LoggedRun) -> Iterator[bytes]:
    content = run.path.read_bytes()
    if content[: len(_MAGIC)] != _MAGIC:
        raise RunError(f"{run.path}: is not a W&B log, it begins with {content[:4]!r}")
    place, parts = _HEAD, list[bytes]()
    while place + _HEAD <= len(content):
        if (left := _BLOCK - place % _BLOCK) < _HEAD:
            place += left  # what is left of a block is too short for a head
            continue
        checksum, length, kind = struct.unpack_from("<IHB", content, place)
        data = content[place + _HEAD : place + _HEAD + length]
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
    match record.WhichOneof("record_type"):
        case "run":
            about = record.run
            run.id, run.project, run.entity = about.run_id, about.project, about.entity
            run.name, run.group, run.job_type, run.tags = (
                about.display_name,
                about.run_group,
                about.job_type,
                list(about.tags),
            )
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
            run.system.append({item.key: json.loads(item.value_json) for item in record.stats.item})
        case "exit":
            run.exit_code = record.exit.exit_code


def _artifact(about: Any) -> Artifact:  # noqa: ANN401 - a protobuf message
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
    for item in items:
        names = list(item.nested_key) or [item.key]
        inner = values
        for name in names[:-1]:
            inner = inner.setdefault(name, {})
        inner[names[-1]] = json.loads(item.value_json)
