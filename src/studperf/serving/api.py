"""The HTTP side of the server: POST /predict, GET /health, GET /schema.

Answers are JSON. An error tells its sender what to mend and nothing of the inside.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from studperf.serving.predictor import Predictor, RequestError
from studperf.serving.workload import RETRY_AFTER_S, BusyError, Workload

MAX_BYTES = 1 << 20
BODY_S = 10.0
"""A body that takes longer to arrive is given up."""
_PHRASES = {
    400: "the body did not arrive whole",
    404: "there is no such path; see GET /schema",
    405: "this path takes another method",
    408: f"the body took longer than {BODY_S:g} seconds",
    413: f"the body is larger than {MAX_BYTES} bytes; send fewer rows at a time",
    503: f"too many requests are being answered; send it again in {RETRY_AFTER_S} s",
}
_CLOSING = (400, 408, 413)
"""What is left of such a body would be read as the next request."""
_RETRY = {"retry-after": str(RETRY_AFTER_S)}
_log = logging.getLogger("studperf.serving")


def create_app(predictor: Predictor) -> Starlette:
    """Return the ASGI application of a bundle.

    The bundle is loaded already, so that a server that answers is one that can predict.
    """
    workload = Workload()

    async def predict(request: Request) -> Response:
        content_type, _, _ = request.headers.get("content-type", "").partition(";")
        if content_type.strip().lower() != "application/json":
            return _error(415, "send JSON, with the header content-type: application/json")
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            return _error(415, "send the JSON as it is, without content-encoding")
        with workload.hold() as count_bytes:
            body = await _read(request, count_bytes)
            try:
                answer = await workload.run(lambda: predictor.answer(body))
            except RequestError as refused:
                return _error(422, "the request can't be answered", faults=refused.faults)
            except BusyError as error:
                raise HTTPException(503, headers=_RETRY) from error
        return JSONResponse(answer)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "run": predictor.bundle.manifest.run})

    async def schema(_: Request) -> Response:
        return JSONResponse(predictor.describe())

    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/health", health),
        Route("/schema", schema),
    ]
    return Starlette(
        routes=routes, exception_handlers={HTTPException: _http_error, Exception: _our_fault}
    )


async def _read(request: Request, count_bytes: Callable[[int], None]) -> bytes:
    """Return the body, if it stays within the limits of size and time."""
    # The bytes are counted as well: a body that is sent in chunks has no such header.
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BYTES:
        raise HTTPException(413)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                count_bytes(len(chunk))
                body += chunk
                if len(body) > MAX_BYTES:
                    raise HTTPException(413)
    except TimeoutError as error:
        raise HTTPException(408) from error
    except ClientDisconnect as error:
        raise HTTPException(400) from error
    except BusyError as error:
        raise HTTPException(503, headers={**_RETRY, "connection": "close"}) from error
    return bytes(body)


def _error(
    status: int,
    text: str,
    *,
    faults: list[str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    content = {"error": text, "faults": faults or []}
    return JSONResponse(content, status_code=status, headers=dict(headers or {}))


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    closing = {"connection": "close"} if error.status_code in _CLOSING else {}
    headers = {**(error.headers or {}), **closing}
    return _error(
        error.status_code,
        _PHRASES.get(error.status_code, "the request was refused"),
        headers=headers,
    )


async def _our_fault(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error(500, "a fault of the server; it was logged")
