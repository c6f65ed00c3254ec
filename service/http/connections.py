"""Limits on connections: their number, time and bytes for request heads, pipelined requests, and time to take answers.

Uvicorn limits none of these. Bodies are limited where they are read, in `service.http.uploads`.
"""

import asyncio
import logging
import resource
import socket
from functools import partial

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from service.http.conforming import ConformingProtocol
from service.http.lifecycle import Lifecycle
from service.http.problems import Problem
from service.http.unsent import UnsentWatch
from service.logs import event

HEAD_S = 10.0  # time limit for a whole request head, and for the rest of a body whose request is already answered
HEAD_BYTES = 65_536  # limit for a request's head, and for the trailers after a body
SEND_BUFFER = 1 << 18  # bytes that the kernel buffers: with megabytes, a slow client could not be told from a dead one
MAX_UNSENT_BYTES = 1 << 28  # answers not yet taken, of all connections: above it, those inactive longest are cut off
MAX_PIPELINED_REQUESTS = 100  # requests of one connection that wait for earlier ones to be answered
STALLED_S = 1.0  # without a byte of its body, after which a request may be dropped to make room for a new connection
OTHER_FILES = 40  # files that the process has open besides connections and uploads
# Fewer if the process may not open enough files. Above it, the connection that has been idle longest is closed; if none is
# idle, the one whose request body has paused longest; if none has paused, the new one.
MAX_CONNECTIONS = 1000

log = logging.getLogger(__name__)


class BoundedProtocol(ConformingProtocol):
    """HTTP/1.1 on one connection, with a limit on every wait. Its own errors, too, are answered as problems."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if (line := transport.get_extra_info("socket")) is not None:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._head_timer: asyncio.TimerHandle | None = None  # closes the connection if no whole head arrives in time
        self._in_body = False  # whether a request's head has ended and the request has not
        self._client_closes = False  # the client asked to close the connection after its newest request
        self._head_bytes = 0  # received of the head that is being read
        self._refusal: Problem | None = None  # why the request being read is refused; received data is parsed before closing
        self._reads_no_more = False  # the connection closes after the requests that were whole before a refused one
        self._bytes_without_progress = 0  # received since the last bytes of a body, or the last complete head
        self._progress = False
        self._bytes_ahead = 0  # received since the last answer, behind pipelined requests
        self._unsent = UnsentWatch(self.transport, self.loop, partial(self._abort, "not taken"))
        self._running: RequestResponseCycle | None = None  # the request being answered; pipelined ones may wait for it
        self._refused = Lifecycle.of(self.config.app).connections_refused
        self.last_active = self.loop.time()  # when the client last sent bytes, or an answer to it was completed
        self._await_request()
        if len(self.connections) > max_connections():
            self._make_room()

    def is_silent(self) -> bool:
        """Whether no request of this connection is still to be answered."""
        return self.cycle is None or self.cycle.response_complete

    def is_stalled(self) -> bool:
        """Whether the body of the request being answered has paused for longer than STALLED_S."""
        return not self.is_silent() and self._in_running_body() and self.loop.time() > self.last_active + STALLED_S

    def _in_running_body(self) -> bool:
        return self._in_body and self._running is self.cycle

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._unsent.stop()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:  # Uvicorn notifies only the newest request
            _tell_that_it_ends(self._running)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if self._reads_no_more:
            return
        self._progress = False
        self._bytes_ahead += len(data) if self.pipeline else 0
        self.last_active = self.loop.time()
        self._unset_keepalive_if_required()
        try:
            self.parse(memoryview(data))
        except httptools.HttpParserError:
            self.send_400_response("not a valid HTTP request")
        if self.transport.is_closing() or self._reads_no_more:
            return
        self._bytes_without_progress = 0 if self._progress else self._bytes_without_progress + len(data)
        if max(self._bytes_without_progress, self._head_bytes) > HEAD_BYTES:
            self._refusal = _head_too_large()
        if self._refusal is not None:
            self._refuse(self._refusal)
        elif self.pipeline and self._bytes_ahead <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()  # Uvicorn has stopped it, and would not see the client leave
        elif self.is_silent() and self._head_timer is None and self.timeout_keep_alive_task is None:
            self._await_request()

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._unset_keepalive_if_required()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        # Fields beyond the limit are not kept, and neither are a body's trailers: they are no header fields (RFC 9110, 6.5.1).
        if self._head_bytes <= HEAD_BYTES and not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._progress = True
        if self._head_bytes > HEAD_BYTES:
            self._refusal = _head_too_large()
        elif len(self.pipeline) >= MAX_PIPELINED_REQUESTS:
            self._refusal = Problem(
                429, f"more than {MAX_PIPELINED_REQUESTS} requests wait on one connection", MAX_PIPELINED_REQUESTS
            )
        elif self._refusal is None:  # else a request before this one, in the same data, is refused
            self._refusal = self.fault
        if self._refusal is not None:
            return
        self._stop_waiting()
        super().on_headers_complete()  # raises for some targets, such as a CONNECT's: the newest request is the one before
        if self.is_to_be_parsed_again:
            return
        self._in_body = True
        # The connection stays open until the body is read: closing it earlier resets it, and the client may lose the answer.
        self._client_closes, self.cycle.keep_alive = not self.cycle.keep_alive, True

    def on_body(self, body: bytes) -> None:
        self._progress = True
        if self._refusal is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.is_to_be_parsed_again:
            return
        self._progress, self._in_body = True, False
        self._stop_waiting()
        if self._refusal is not None:
            return
        super().on_message_complete()
        if self._client_closes and self.cycle.response_complete:
            self.transport.close()
        elif self._client_closes:
            self.cycle.keep_alive = False
        elif self.cycle.response_complete:  # before its body was: idle only from now on
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        self.last_active = self.loop.time()
        self._bytes_ahead = 0
        super().on_response_complete()
        rest_of_body = self._in_body and self._client_closes
        if self.is_silent() and (rest_of_body or self._bytes_without_progress):  # or part of the next request's head
            self._await_request()
        if not self.flow.write_paused:  # else it is watched already
            self._unsent.start()
        self._bound_unsent()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent.start()

    def resume_writing(self) -> None:
        self._unsent.drained()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem(400, msg))

    def _await_request(self) -> None:
        self._stop_waiting()
        self._head_timer = self.loop.call_later(HEAD_S, self._cut_off)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _cut_off(self) -> None:
        self._head_timer = None
        if self._bytes_without_progress:
            self._refuse(Problem(408, f"no whole request head within {HEAD_S:g} s", HEAD_S))
        else:  # nothing was sent, or only the rest of a body whose request is already answered
            self.transport.close()

    def _bound_unsent(self) -> None:
        if not self._unsent.unsent_bytes:
            return
        sizes = {one: size for one in self._bounded() if (size := one._unsent.unsent_bytes)}
        unsent = sum(sizes.values())
        for one in sorted(sizes, key=lambda one: one.last_active):
            if unsent <= MAX_UNSENT_BYTES:
                break
            one._abort("made room")
            unsent -= sizes[one]

    def _make_room(self) -> None:
        others = [one for one in self._bounded() if one is not self and not one.transport.is_closing()]
        idle = [one for one in others if one.is_silent() and not one._unsent.unsent_bytes]
        waiting = idle or [one for one in others if one.is_stalled()]
        if waiting:
            min(waiting, key=lambda one: one.last_active)._abort("made room")
        else:
            self._refuse(Problem(503, f"{max_connections()} connections are open", max_connections(), {"Retry-After": "1"}))

    def _bounded(self) -> list["BoundedProtocol"]:
        """All open connections."""
        return [one for one in self.connections if isinstance(one, BoundedProtocol)]

    def _abort(self, reason: str) -> None:
        """Close the connection at once; unsent data is lost."""
        event(log, "cut off", reason=reason, unsent_bytes=self._unsent.unsent_bytes)
        self._refused.labels(reason).inc()
        self.transport.abort()

    def _refuse(self, problem: Problem) -> None:
        """Close the connection after answering with `problem`, unless that would take the place of another answer.

        Whole requests before the refused one are answered first; the refused one then is not.
        """
        self._stop_waiting()
        if self._in_body and self.is_silent():  # the request is answered already; only its body is wrong, or late
            self.transport.close()
            return
        event(log, "refused", status=problem.details.status)
        self._refused.labels(str(problem.details.status)).inc()
        if not self.is_silent() and not self._in_running_body():
            self._end_after_whole_requests()
            return
        if self._running is None or self._running.response_complete or not self._running.response_started:
            if not self.is_silent():
                _tell_that_it_ends(self.cycle)
            answer = problem.response()
            answer.headers["connection"] = "close"
            fields = b"".join(b"%s: %s\r\n" % field for field in answer.raw_headers)
            self.transport.write(STATUS_LINE[answer.status_code] + fields + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _end_after_whole_requests(self) -> None:
        """Read no more, and close the connection once the requests are answered that have been received whole."""
        if self._in_body:  # the newest one never will be whole; Uvicorn keeps it at the left
            assert self._running is not None
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self._running
        self._reads_no_more, self.cycle.keep_alive = True, False
        self.flow.resume_reading()  # what comes is dropped, but that the client goes is seen


def max_connections() -> int:
    """The most connections that may be open: each takes one file, and its upload may take another."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, (files - OTHER_FILES) // 2))


def _tell_that_it_ends(cycle: RequestResponseCycle) -> None:
    """Let the application see that the client of this request is gone, so that it sends nothing more."""
    cycle.disconnected = True
    cycle.message_event.set()


def _head_too_large() -> Problem:
    return Problem(431, f"the head of a request is larger than {HEAD_BYTES} bytes", HEAD_BYTES)
