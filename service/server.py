"""Uvicorn with another shutdown: every request that has reached this machine is answered before the service stops."""

import asyncio
import ctypes
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.http.connections import BoundedProtocol
from service.http.lifecycle import Lifecycle

# How long a connection may stay idle after an answer: longer than clients keep theirs open. Otherwise the server might close
# a connection just as its client sends a request.
IDLE_S = 65
DRAIN_S = 60  # longest wait at shutdown for answers that are under way
GIVE_UP_S = 45.0  # after this, unanswered requests get 503; a request whose body has paused ends within ten more seconds
HANDSHAKE_S = 0.2  # time for the last packet of handshakes that have begun when the service is told to stop
SETTLE_S = 2.0  # longest wait for requests on open connections: on a busy machine, the server receives them late
SETTLE_STEP_S = 0.05
SO_ATTACH_FILTER = 26  # Linux; Python has no name for it
DROP_SYN = (  # Linux's classic BPF on a TCP segment: (operation, instructions to skip if true, if false, operand)
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x45, 0, 1, 0x02),  # is SYN among them?
    (0x06, 0, 0, 0),  # then keep no byte of it,
    (0x06, 0, 0, 0xFFFFFFFF),  # else all
)


class DrainingServer(uvicorn.Server):
    """Stops without losing a request.

    Uvicorn closes its listening socket, which makes the kernel reset every connection in the accept queue and every one in
    its handshake, and then closes each open connection whose request it has not read yet. This server first lets no more
    handshakes begin and accepts all connections, and open connections may still send a request. Every answer during shutdown
    tells its client that the connection will close.
    """

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=BoundedProtocol,
                ws="none",
                log_config=None,
                access_log=False,  # `service.http.request_log` does that
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._lifecycle = Lifecycle.of(app)
        self._has_given_up = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop after the first signal. After a second Ctrl-C, requests that are not answered yet get 503; a third ends at once.

        Uvicorn ends after the second, and sends no answer of the application's.
        """
        if self.should_exit and sig == signal.SIGINT and not self._has_given_up:
            self._has_given_up = True
            asyncio.get_running_loop().call_soon_threadsafe(self._lifecycle.give_up)
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept all connections and requests that have been sent, then stop as Uvicorn does, which waits for the answers."""
        self._lifecycle.draining.set()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        for connection in self.server_state.connections:
            if isinstance(connection, BoundedProtocol) and connection.cycle is not None:
                connection.cycle.keep_alive = False  # its default headers are those without `connection: close`
        asyncio.get_running_loop().call_later(GIVE_UP_S, self._lifecycle.give_up)
        # A duplicate of the listening socket keeps the accept queue alive when the event loop closes the socket.
        listeners = [socket.socket(fileno=os.dup(held.fileno())) for server in self.servers for held in server.sockets]
        for listener in listeners:
            _begin_no_handshake(listener)
        await asyncio.sleep(HANDSHAKE_S)
        for server in self.servers:
            server.close()
        waiting: list[socket.socket] = []
        for listener in listeners:
            with listener:
                waiting += _accept_all(listener)
        for accepted in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, accepted)
        await self._settle()
        await super().shutdown(sockets)

    async def _settle(self) -> None:
        """Let the event loop read until every open connection has sent a request, for at most SETTLE_S seconds."""
        end = asyncio.get_running_loop().time() + SETTLE_S
        await asyncio.sleep(SETTLE_STEP_S)  # at least once, to read what has already arrived
        while self._has_silent_connection() and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(SETTLE_STEP_S)

    def _has_silent_connection(self) -> bool:
        return any(isinstance(one, BoundedProtocol) and one.is_silent() for one in self.server_state.connections)

    def _protocol(self) -> asyncio.Protocol:
        """A protocol like the one that Uvicorn makes for each connection that the event loop accepts."""
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state)


def _begin_no_handshake(listener: socket.socket) -> None:
    """Let the kernel drop the first packet of every new connection, as if it were lost.

    The client sends it again a second later, when the listening socket is closed, and is refused; a connection that is
    accepted by the kernel just before the socket is closed would be reset, with a request that may have been sent already.
    """
    if sys.platform != "linux":
        return
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in DROP_SYN)
    code = ctypes.create_string_buffer(program)
    with suppress(OSError):  # a sandbox's own network stack may have no filters
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(DROP_SYN), ctypes.addressof(code)))


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    """Accept every connection that waits in the listener's queue."""
    listener.setblocking(False)
    accepted: list[socket.socket] = []
    while True:
        try:
            accepted.append(listener.accept()[0])
        except OSError:  # BlockingIOError if the queue is empty; another if no more files can be opened
            return accepted
