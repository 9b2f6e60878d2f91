"""A bundle, served without a socket."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from starlette.applications import Starlette

from kit.small_run import SMALL
from studperf.bundle import Bundle
from studperf.config.load import load_overrides
from studperf.data.simulate import simulate
from studperf.serving.api import create_app
from studperf.serving.predictor import Predictor
from studperf.train.run import run

EXPORTED = (*SMALL, "model=linear", "export=true")
FILLED = ("data.columns.age.fill=median", "data.columns.gender.fill=mode")
Answer = tuple[int, Any, dict[str, str]]


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from a table without missing values, by a dataset that says how to fill two columns."""
    config = load_overrides([*EXPORTED, *FILLED, f"runs={tmp_path_factory.mktemp('runs')}"])
    run(config)
    (folder,) = Path(config.runs).glob("*/bundle")
    return folder


@pytest.fixture(scope="session")
def app(bundle_folder: Path) -> Starlette:
    return create_app(Predictor.of(Bundle.open(bundle_folder)))


@pytest.fixture(scope="session")
def rows(bundle_folder: Path) -> list[dict[str, Any]]:
    """Five records as a client would send them."""
    table = simulate(load_overrides(["data.source.simulate.rows=5"]).data)
    names = [
        column["name"]
        for column in json.loads((bundle_folder / "schema.json").read_text())["columns"]
    ]
    frame: pd.DataFrame = table[names]
    return list(json.loads(frame.to_json(orient="records")))


@pytest.fixture
def ask(app: Starlette) -> Callable[..., Answer]:
    """Sends a request; the body is JSON's value, bytes, or pieces of them."""

    def call(method: str, path: str, body: Any = b"", **headers: str) -> Answer:
        pieces = (
            body
            if isinstance(body, list | Iterator)
            else [body if isinstance(body, bytes) else json.dumps(body).encode()]
        )
        return asyncio.run(
            exchange(app, method, path, pieces, {"content_type": "application/json", **headers})
        )

    return call


async def exchange(
    app: Starlette, method: str, path: str, pieces: Any, headers: dict[str, str]
) -> Answer:
    coming = iter([*pieces])
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
    }

    async def receive() -> dict[str, Any]:
        piece = next(coming, None)
        if piece == "silence":
            await asyncio.sleep(60)
        if piece == "gone":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        await app(scope, receive, send)
    except RuntimeError:  # starlette hands it on to the server, once it was answered
        if not sent:
            raise
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return (
        sent[0]["status"],
        json.loads(b"".join(message.get("body", b"") for message in sent[1:])),
        answered,
    )
