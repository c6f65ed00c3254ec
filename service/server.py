"""Uvicorn with another shutdown: every request that has reached this machine is answered before the service stops."""

import asyncio
import os
import socket

import uvicorn
from fastapi import FastAPI

from service.http.connections import BoundedProtocol

# How long a connection may stay idle after an answer: longer than clients keep theirs open. Otherwise the server might close
# a connection just as its client sends a request.
IDLE_S = 65
DRAIN_S = 60  # longest wait at shutdown for answers that are under way
GIVE_UP_S = 45.0  # after this, unanswered requests get 503; a request whose body has paused ends within ten more seconds
SETTLE_S = 2.0  # longest wait for requests on open connections: on a busy machine, the server receives them late
SETTLE_STEP_S = 0.05


class DrainingServer(uvicorn.Server):
    """Stops without losing a request.

    Uvicorn closes its listening socket, which makes the kernel reset every connection in the accept queue, and then closes
    each open connection whose request it has not read yet. This server first accepts all connections in the queue, and open
    connections may still send a request. Every answer during shutdown tells its client that the connection will close.
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
                access_log=False,  # `service.http.counters` logs requests
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept all connections and requests that have been sent, then stop as Uvicorn does, which waits for the answers."""
        self._app.state.draining = True
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        for connection in self.server_state.connections:
            if isinstance(connection, BoundedProtocol) and connection.cycle is not None:
                connection.cycle.keep_alive = False  # its default headers are those without `connection: close`
        # A duplicate of the listening socket keeps the accept queue alive when the event loop closes the socket.
        listeners = [socket.socket(fileno=os.dup(held.fileno())) for server in self.servers for held in server.sockets]
        for server in self.servers:
            server.close()
        waiting: list[socket.socket] = []
        for listener in listeners:
            with listener:
                waiting += _accept_all(listener)
        for accepted in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, accepted)
        asyncio.get_running_loop().call_later(GIVE_UP_S, self._app.state.give_up)
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


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    """Accept every connection that waits in the listener's queue."""
    listener.setblocking(False)
    accepted: list[socket.socket] = []
    while True:
        try:
            accepted.append(listener.accept()[0])
        except OSError:  # BlockingIOError if the queue is empty; another if no more files can be opened
            return accepted
