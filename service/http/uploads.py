"""Receiving a request's body: limited in bytes and in time, and spooled to disk beyond one megabyte."""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service.http.disconnect import ClientGone
from service.http.problems import Problem, stopping
from service.http.query import SegmentQuery

SPOOL_BYTES = 1 << 20  # larger bodies are moved from memory to the temporary folder (Starlette's own limit for forms)
UPLOADS = 16  # times the largest accepted body: limit on the bytes that all requests hold together
PAUSE_S = 10.0  # longest wait for the next part of a body
RATE_CHECK_S = 30.0  # between two checks of how much of a body has arrived
SLOWEST_BYTES_PER_S = 16_384  # least average rate between two checks, for bodies sent and for answers taken
FIELD = "file"
FILES, FIELDS = 1, 16  # of a form
FIELD_BYTES = 4096  # of a field other than the image
# Of a form's names and texts. Python would look for a module of any other name, and keep the name for as long as it runs.
CHARSETS = ("utf-8", "utf8", "iso-8859-1", "latin-1", "us-ascii", "ascii")
_FORM_LIMITS = {"Part exceeded": FIELD_BYTES, "Too many files": FILES, "Too many fields": FIELDS}  # by Starlette's words
# The temporary folder or the table of open files is full, or a file may not grow.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE}
# The folder is missing, is none, or cannot be written to.
NO_FOLDER = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EROFS, errno.EIO}


log = logging.getLogger(__name__)


class UploadBudget:
    """Counts the bytes of request bodies that the process holds: those of all requests that are not answered yet."""

    def __init__(self, max_upload_bytes: int) -> None:
        self.max_bytes = max_upload_bytes  # of one body
        self.held = 0
        self.is_closed = False  # the service is stopping: no more data is accepted

    @property
    def is_full(self) -> bool:
        """Whether more is held than UPLOADS times the largest accepted body."""
        return self.held > UPLOADS * self.max_bytes


class BoundedBody:
    """Replaces a request's `receive`, and raises Problem for a body that is too large (413) or too slow (408).

    It raises Problem 503 if all bodies together are too large, or if the service is stopping. An exception from `receive`
    immediately stops the parser that reads the body.
    """

    def __init__(self, receive: Receive, budget: UploadBudget) -> None:
        self._receive = receive
        self._budget = budget
        self._received = 0
        self._end, self._tail = b"", b""  # the mark that is looked for, and the last bytes in which it may have begun
        self.has_ended = False  # whether the mark has come
        self._checked, self._had = asyncio.get_running_loop().time(), 0  # time and bytes received at the last check

    def look_for(self, end: bytes) -> None:
        """Note in `has_ended` whether `end`, the mark at a form's end, comes. To be called before the body is read."""
        self._end = end

    async def __call__(self) -> Message:
        try:
            async with asyncio.timeout(PAUSE_S):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, f"no data for {PAUSE_S:g} s", PAUSE_S, {"Connection": "close"}) from None
        piece = message.get("body", b"")
        size = len(piece)
        if self._end and not self.has_ended:
            recent = self._tail + piece
            self.has_ended, self._tail = self._end in recent, recent[-len(self._end) :]
        self._received += size
        self._budget.held += size
        if self._received > self._budget.max_bytes:
            raise too_large(self._budget.max_bytes)
        if self._budget.is_closed:
            raise stopping()
        if self._budget.is_full:
            raise no_room()
        if message.get("more_body"):
            self._check_rate()
        return message

    def _check_rate(self) -> None:
        now = asyncio.get_running_loop().time()
        elapsed = now - self._checked
        if elapsed < RATE_CHECK_S:
            return
        if self._received - self._had < SLOWEST_BYTES_PER_S * elapsed:
            detail = f"the body comes in at less than {SLOWEST_BYTES_PER_S:,} bytes a second"
            raise Problem(408, detail, SLOWEST_BYTES_PER_S, {"Connection": "close"})
        self._checked, self._had = now, self._received

    def let_go(self) -> None:
        """Release the body's bytes from the budget."""
        self._budget.held -= self._received


def no_room() -> Problem:
    """503 while there is no space for the upload, in memory or in the temporary folder."""
    return Problem(503, "no room for the upload just now", headers={"Retry-After": "10"})


def too_large(max_bytes: int) -> Problem:
    """413 for a body of more than `max_bytes`."""
    return Problem(413, f"the body is larger than {max_bytes:,} bytes", max_bytes)


@asynccontextmanager
async def uploaded_image(request: Request, budget: UploadBudget) -> AsyncIterator[BinaryIO]:
    """The image of a request, as a file that is closed afterwards: multipart field `file`, or the raw body.

    Raises Problem: 400 for a malformed form, 408 for a slow body, 413 for a large one, 415 for another content type, 422 for a
    form without the field or with a query parameter, 503 if the temporary folder cannot store the body, if too much is held,
    or if the service is stopping. Raises ClientGone if the client disconnects.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > budget.max_bytes:
        raise too_large(budget.max_bytes)
    body = BoundedBody(request.receive, budget)
    bounded = Request(request.scope, body)
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            form = await _form(bounded, body)
            try:
                yield _file(form, body)
            finally:
                await form.close()
        elif kind.startswith("image/") or kind == "application/octet-stream":
            with SpooledTemporaryFile(max_size=SPOOL_BYTES) as file:
                upload = UploadFile(cast(BinaryIO, file), size=0)  # once the file is on disk, it writes outside the event loop
                async for chunk in bounded.stream():
                    await upload.write(chunk)
                yield cast(BinaryIO, file)
        else:
            raise Problem(415, f"send multipart/form-data, image/* or application/octet-stream, not {kind or 'nothing'}")
    except ClientDisconnect as error:
        raise ClientGone from error
    except OSError as error:  # around all: where bytes could not be written, closing the file tries, and raises, again
        if error.errno not in FULL | NO_FOLDER:
            raise
        log.warning("an upload cannot be kept: %s", error.strerror)
        raise no_room() from error
    finally:
        body.let_go()


async def _form(request: Request, body: BoundedBody) -> FormData:
    """The form in the request's body, which is read from `body`. Raises Problem 400."""
    _, parameters = parse_options_header(request.headers["content-type"])  # as Starlette reads it
    if parameters.get(b"charset", b"utf-8").decode("latin-1").lower() not in CHARSETS:
        raise Problem(400, f"malformed form: its charset is none of {', '.join(CHARSETS)}")
    body.look_for(b"--" + parameters.get(b"boundary", b"") + b"--")
    try:
        return await request.form(max_files=FILES, max_fields=FIELDS, max_part_size=FIELD_BYTES)
    except HTTPException as error:  # Starlette's multipart parser
        limit = next((most for told, most in _FORM_LIMITS.items() if error.detail.startswith(told)), None)
        hint = " An image needs a file name." if limit == FIELD_BYTES else ""
        raise Problem(400, f"malformed form: {error.detail}{hint}", limit) from error


def _file(form: FormData, body: BoundedBody) -> BinaryIO:
    """The image in a form. Raises Problem 400 for an incomplete form, and 422 as `uploaded_image` does."""
    if misplaced := [name for name in SegmentQuery.model_fields if name in form]:
        raise Problem(422, f"{misplaced[0]!r} belongs in the query, as in /segment?{misplaced[0]}=...")
    part = form.get(FIELD)
    if isinstance(part, UploadFile):
        return part.file
    if not body.has_ended:  # the parser accepts a form without its last boundary
        raise Problem(400, "the form is cut short")
    detail = f"the form has no file in its field {FIELD!r}"
    raise Problem(422, detail if part is None else f"{detail}, but a text: give it a file name")
