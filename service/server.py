"""Uvicorn, but for its end: every request that has reached this machine is answered before the service stops."""

import asyncio
import os
import resource
import socket
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from service.http.connections import BoundedProtocol

FILES = 65_536  # more than all connections and uploads take
IDLE_S = 65  # a connection may stay idle after an answer: longer than clients keep theirs, lest one closes as a request is sent
DRAIN_S = 60  # longest wait for answers that are under way
GIVE_UP_S = 45.0  # until what is not answered by then is answered 503; a body that has paused ends ten seconds later
SETTLE_S = 2.0  # longest wait for the requests of open connections: on a busy machine they come later than one would think
SETTLE_STEP_S = 0.05


def raise_file_limit() -> None:
    """Let this process open as many files as it may: each connection is one, and each upload that is spooled another."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    with suppress(ValueError, OSError):  # macOS has limits that it does not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, wanted), most))


class DrainingServer(uvicorn.Server):
    """Stops without losing a request.

    Uvicorn closes its listening socket, whereupon the kernel resets every connection that waits in its queue, and then
    closes each open connection whose request it has not read yet. Here the queue is emptied first, and open
    connections may still send a request; every answer meanwhile tells its client that the connection ends.
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
                access_log=False,  # `service.http.counters` writes its own
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in what has been sent, then stop as Uvicorn does, which waits for the answers."""
        self._app.state.draining = True
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        for connection in self.server_state.connections:
            if isinstance(connection, BoundedProtocol) and connection.cycle is not None:
                connection.cycle.keep_alive = False  # its request was given the headers of before
        # A duplicate keeps the queue alive while the event loop lets go of the listening socket.
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
        """Let the event loop read until no open connection is without a request, at most SETTLE_S."""
        end = asyncio.get_running_loop().time() + SETTLE_S
        await asyncio.sleep(SETTLE_STEP_S)  # what has arrived is read
        while self._has_silent_connection() and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(SETTLE_STEP_S)

    def _has_silent_connection(self) -> bool:
        return any(isinstance(one, BoundedProtocol) and one.is_silent() for one in self.server_state.connections)

    def _protocol(self) -> asyncio.Protocol:
        """As Uvicorn makes it for a connection that the event loop accepts."""
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state)


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    """Every connection that waits in the queue."""
    listener.setblocking(False)
    accepted: list[socket.socket] = []
    while True:
        try:
            accepted.append(listener.accept()[0])
        except OSError:  # BlockingIOError: the queue is empty; or no more can be taken
            return accepted
