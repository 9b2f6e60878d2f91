"""Time limits of a connection, and room for new ones.

uvicorn itself limits the pause between two requests alone.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_S = 10
"""From a connection's start, or its last answer, until the head of its next request is there."""
ANSWER_S = 30
"""From a request's head to the last byte of its answer, its body and its wait in line included."""
MAX_CONNECTIONS = 512
"""Half of the files that a process may usually hold open; one more, and the oldest is closed."""

_LATE_BODY = b'{"error":"the head of the request took too long to arrive","faults":[]}'
_LATE = b"\r\n".join(
    (
        b"HTTP/1.1 408 Request Timeout",
        b"content-type: application/json",
        b"content-length: %d" % len(_LATE_BODY),
        b"connection: close",
        b"",
        _LATE_BODY,
    )
)


class TimedProtocol(H11Protocol):
    """A connection that is closed when it, its request or its reader takes too long.

    Each limit counts from a fixed moment, whatever trickles in meanwhile: a byte a second buys no
    time.
    """

    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin to wait for a request, and make room for this connection where there is none."""
        super().connection_made(transport)
        self._limit(HEAD_S)
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the limit."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Handle what has arrived, and start the time limit of a request that begins."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._limit(ANSWER_S)

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have arrived already."""
        self._limit(HEAD_S)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, once for each request.

        A request that it breaks off gets this answer and no second one.
        """
        if self._is_busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # an answer has begun, or is to HEAD and may have no body
            self.transport.close()

    @property
    def is_at_work(self) -> bool:
        """True while a whole request is there that has not been answered."""
        return self._is_busy and not self.cycle.more_body

    @property
    def _is_busy(self) -> bool:
        # uvicorn's type leaves out that it begins as None.
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _limit(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._since = self.loop.time()
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        has_half_a_head = not self._is_busy and self.conn.trailing_data[0]
        if has_half_a_head and not self.transport.is_closing():
            self.transport.write(_LATE)
            self.transport.close()
            self._limit(1)  # for a peer that does not read what is being sent
        else:
            self.transport.abort()

    def _make_room(self) -> None:
        """Close the connection that has waited longest, rather than refuse the newest one.

        Whoever holds hundreds of connections loses the oldest of them, and a health check, which
        sends its request at once, is always answered.
        """
        if len(self.connections) <= MAX_CONNECTIONS:
            return
        others = [other for other in self.connections if isinstance(other, TimedProtocol)]
        present = [other for other in others if not other.transport.is_closing()]
        if len(present) > MAX_CONNECTIONS:
            oldest = min(present, key=lambda other: (other.is_at_work, other._since))  # noqa: SLF001 - its own kind
            oldest.transport.abort()


SETTINGS: dict[str, Any] = {
    "http": TimedProtocol,
    "ws": "none",
    "lifespan": "off",
    "server_header": False,
    "timeout_keep_alive": 5,
    "timeout_graceful_shutdown": 10,
    # Connections taken in one go: with those that are open, fewer than a process may usually hold.
    "backlog": 256,
}
"""For uvicorn, which counts connections as if each were a request: its own limit is not used."""
