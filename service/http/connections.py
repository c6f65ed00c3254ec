"""What a connection may cost: time for a request's head, room for it, time to take an answer, and how many there may be.

Uvicorn bounds none of these. Bodies are bounded where they are read: `service.http.uploads`.
"""

import asyncio
from collections.abc import Mapping

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.http.problems import MEDIA_TYPE, Problem

HEAD_S = 10.0  # from the connection, or the first byte of a further request, to the end of its head
HEAD_BYTES = 65_536
TAKE_S = 30.0  # longest wait for a client that does not read its answer
MAX_CONNECTIONS = 1000  # then the one goes that has waited longest without a request


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 on one connection, with an end to every wait; its own errors are problems too."""

    _head_timer: asyncio.TimerHandle | None = None
    _take_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def is_silent(self) -> bool:
        """Whether it has sent no request that is not answered yet."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # Uvicorn narrows it to Transport
        self._await_head()
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting_for_head()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_silent() and not self.transport.is_closing():  # no head yet, or bytes that belong to no request
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._await_head()
            if self._head_bytes > HEAD_BYTES:
                self._refuse(Problem(431, f"the head of the request is larger than {HEAD_BYTES} bytes", HEAD_BYTES))

    def on_headers_complete(self) -> None:
        self._stop_waiting_for_head()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._take_timer is None:
            self._take_timer = self.loop.call_later(TAKE_S, self.transport.abort)

    def resume_writing(self) -> None:
        if self._take_timer is not None:
            self._take_timer.cancel()
            self._take_timer = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem(400, msg))

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self._cut_off)

    def _stop_waiting_for_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cut_off(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._refuse(Problem(408, f"no whole request head within {HEAD_S:g} s", HEAD_S))
        else:
            self.transport.close()

    def _make_room(self) -> None:
        others = [one for one in self.connections if isinstance(one, BoundedProtocol) and one is not self]
        waiting = [one for one in others if one.is_silent() and one._head_timer is not None]
        if waiting:
            min(waiting, key=BoundedProtocol._head_due).transport.abort()
        else:
            self._refuse(Problem(503, f"{MAX_CONNECTIONS} connections are open", MAX_CONNECTIONS, {"Retry-After": "1"}))

    def _head_due(self) -> float:
        return self._head_timer.when() if self._head_timer is not None else float("inf")

    def _refuse(self, problem: Problem) -> None:
        """Answer without a request, and hang up."""
        self._stop_waiting_for_head()
        body = problem.details.model_dump_json(exclude_none=True).encode()
        headers: Mapping[str, str] = {
            "content-type": MEDIA_TYPE,
            "content-length": str(len(body)),
            "connection": "close",
            **(problem.headers or {}),
        }
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        self.transport.write(STATUS_LINE[problem.details.status] + lines + b"\r\n" + body)
        self.transport.close()
