"""Heads of requests, read as RFC 9110 asks where Uvicorn reads them otherwise."""

import asyncio
import re

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.problems import Problem

_NO_PATH = re.compile(rb"\Ahttps?://[^/?#]+(?=[?#]|\Z)", re.IGNORECASE)  # a target that is a whole URL, as a proxy is sent it


class ConformingProtocol(HttpToolsProtocol):
    """HTTP/1.1 on one connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # Uvicorn narrows it to Transport
        self._plain_head: bytes | None = None  # head of a request to upgrade the protocol, without its Upgrade field

    def parse(self, data: memoryview) -> None:
        """Parse received data. A request to upgrade the protocol is parsed as if it did not ask for that (RFC 9110, 7.8).

        Uvicorn would lose the data that follows such a request's head. Raises httptools.HttpParserError.
        """
        while True:
            try:
                return self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as asked:
                if self._plain_head is None:  # refused, or a CONNECT
                    return None
                head, self._plain_head = self._plain_head, None
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as Uvicorn does
                self.parser.feed_data(head)
                data = data[asked.args[0] :]

    @property
    def is_to_be_parsed_again(self) -> bool:
        """Whether the head that has ended is parsed once more, without the upgrade that it asks for."""
        return self._plain_head is not None

    @property
    def fault(self) -> Problem | None:
        """Why the request whose head has ended is to be refused; None if it is not (RFC 9112, 3.2 and 6.1)."""
        names = [name for name, _ in self.headers]
        if self.parser.get_http_version() == "1.1" and names.count(b"host") != 1:
            return Problem(400, "a request has one Host field")
        codings = b",".join(value for name, value in self.headers if name == b"transfer-encoding").strip().lower()
        return Problem(501, "a body comes with no transfer coding but chunked") if codings not in (b"", b"chunked") else None

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            fields = b"".join(b"%s: %s\r\n" % field for field in self.headers if field[0] != b"upgrade")
            version = self.parser.get_http_version().encode()
            self._plain_head = b"%s %s HTTP/%s\r\n%s\r\n" % (self.parser.get_method(), self.url, version, fields)
            return
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110, 10.1.1
        self.url = _NO_PATH.sub(rb"\g<0>/", self.url)  # RFC 9110, 4.2.3
        super().on_headers_complete()
