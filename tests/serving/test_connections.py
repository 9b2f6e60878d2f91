"""A served bundle over real sockets: what others do with theirs keeps nobody waiting."""

import asyncio
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette

from studperf.serving import api, connections, workload

Rows = list[dict[str, Any]]
JSON = {"content-type": "application/json"}
HALF_A_HEAD = b"POST /predict HTTP/1.1\r\nhost: here\r\nconte"
HALF_A_BODY = (
    b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
    b"content-length: 500\r\n\r\n{"
)


@pytest.fixture(scope="module")
def port(app: Starlette) -> Iterator[int]:
    """Where the bundle is served, with the settings of the command."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, **connections.SETTINGS))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.fixture
def open_socket(port: int) -> Iterator[Callable[[bytes], socket.socket]]:
    """Opens connections that have sent some bytes; they are closed after the test."""
    with ExitStack() as stack:

        def connect(sent: bytes) -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            stack.enter_context(closing(connection))
            connection.sendall(sent)
            return connection

        yield connect


def send(port: int, method: str, path: str, body: bytes = b"") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.request(method, path, body or None, JSON)
        response = connection.getresponse()
        response.read()
        return response


def seconds_until_closed(connection: socket.socket, drip: bytes) -> tuple[bytes, float]:
    """What was answered, and when it was closed, while a byte was sent every twentieth of a second."""
    started = time.monotonic()
    connection.settimeout(0.05)
    received = b""
    while time.monotonic() - started < 8:
        try:
            piece = connection.recv(4096)
        except TimeoutError:
            if drip:
                connection.send(drip)
            continue
        except OSError:
            piece = b""
        received += piece
        if not piece:
            break
    return received, time.monotonic() - started


@pytest.mark.parametrize(
    "sent", [b"", HALF_A_HEAD, HALF_A_BODY], ids=["nothing", "half a head", "half a body"]
)
def test_a_hundred_connections_that_never_ask_keep_nobody_waiting(
    port: int, rows: Rows, open_socket: Callable[[bytes], socket.socket], sent: bytes
) -> None:
    for _ in range(100):
        open_socket(sent)
    body = json.dumps({"rows": rows}).encode()
    assert [send(port, "GET", "/health").status for _ in range(3)] == [200] * 3
    assert [send(port, "POST", "/predict", body).status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    ("sent", "drip", "answer"),
    [
        (b"", b"", b""),
        (HALF_A_HEAD, b"", b"HTTP/1.1 408 "),
        (HALF_A_HEAD, b"x", b"HTTP/1.1 408 "),
        (HALF_A_BODY, b" ", b"HTTP/1.1 408 "),
        (b"GET /health HTTP/1.1\r\nhost: here\r\ncontent-length: 500\r\n\r\n", b" ", b"HTTP/1.1 200 "),
    ],
    ids=["silent", "half a head", "a slow head", "a slow body", "a body that nobody reads"],
)  # fmt: skip
def test_what_takes_too_long_is_closed_however_it_trickles(
    open_socket: Callable[[bytes], socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    sent: bytes,
    drip: bytes,
    answer: bytes,
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    monkeypatch.setattr(api, "BODY_S", 0.5)
    received, seconds = seconds_until_closed(open_socket(sent), drip)
    assert received.startswith(answer)
    assert bool(received) == bool(answer)
    assert 0.4 < seconds < 5


@pytest.mark.slow
def test_an_answer_that_is_not_read_is_given_up(
    open_socket: Callable[[bytes], socket.socket], rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ANSWER_S", 1)
    body = json.dumps({"rows": rows * 200}).encode()
    head = b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
    request = head + b"content-length: %d\r\n\r\n" % len(body) + body
    connection = open_socket(b"")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with pytest.raises(OSError, match=r"reset|pipe|abort"):
        connection.sendall(request * 200)  # their answers are more than buffers on the way hold


def test_two_hundred_clients_that_keep_their_connections_are_all_answered(
    port: int, rows: Rows
) -> None:
    body = json.dumps({"rows": rows[:1]}).encode()
    head = b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
    request = head + b"content-length: %d\r\n\r\n" % len(body) + body

    async def ask_thrice() -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        statuses = []
        for _ in range(3):
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            statuses.append(answer.split(b" ")[1])
        writer.close()
        return statuses

    async def crowd() -> list[list[bytes]]:
        return await asyncio.gather(*[ask_thrice() for _ in range(200)])

    assert asyncio.run(crowd()) == [[b"200"] * 3] * 200


def test_the_oldest_connection_makes_room_for_the_newest(
    port: int, open_socket: Callable[[bytes], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 5)
    opened = [open_socket(b"") for _ in range(5)]
    time.sleep(0.2)
    assert send(port, "GET", "/health").status == 200
    assert seconds_until_closed(opened[0], b"")[1] < 2
    opened[4].settimeout(0.2)
    with pytest.raises(TimeoutError):
        opened[4].recv(1)


@pytest.mark.parametrize("limit", ["MAX_AT_WORK", "MAX_BYTES_HELD"])
def test_the_surplus_alone_is_refused_with_a_time_to_come_again(
    port: int, rows: Rows, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(workload, limit, 0)
    response = send(port, "POST", "/predict", json.dumps({"rows": rows}).encode())
    assert (response.status, response.getheader("retry-after")) == (503, "1")
    assert send(port, "GET", "/health").status == 200
    assert send(port, "GET", "/schema").status == 200


def test_work_in_line_is_counted_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "MAX_AT_WORK", 2)
    gate = threading.Event()

    async def fill() -> list[Any]:
        load = workload.Workload()
        waiting = [asyncio.create_task(load.run(gate.wait)) for _ in range(3)]
        await asyncio.sleep(0.1)
        gate.set()
        first = await asyncio.gather(*waiting, return_exceptions=True)
        return [*first, await load.run(lambda: "free again")]

    *held, refused, free = asyncio.run(fill())
    assert (held, free) == ([True, True], "free again")
    assert isinstance(refused, workload.BusyError)


@pytest.mark.parametrize(
    ("method", "piece"),
    [
        (b"POST", b"zz\r\n"),
        (b"POST", b"-1\r\n"),
        (b"POST", b"ffffffffffffffffffffff\r\n"),
        (b"HEAD", b"zz\r\n"),
    ],
    ids=["word", "minus", "huge", "head"],
)
def test_a_broken_body_gets_one_answer_and_no_traceback(
    open_socket: Callable[[bytes], socket.socket],
    caplog: pytest.LogCaptureFixture,
    method: bytes,
    piece: bytes,
) -> None:
    head = method + b" /predict HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
    connection = open_socket(head + b"transfer-encoding: chunked\r\n\r\n" + piece)
    received, _ = seconds_until_closed(connection, b"")
    time.sleep(0.1)
    assert received.count(b"HTTP/1.1 ") == 1
    assert received.startswith(b"HTTP/1.1 400 ")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
