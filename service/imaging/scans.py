"""Counts the scans of a JPEG. Each scan is one pass over the pixels, and a small file may contain thousands."""

import re
from typing import BinaryIO

MAX_SCANS = 64  # encoders make about ten
MAX_SEGMENTS = 2_000  # marker segments before, between and after the scans
_FIRST_WITH_LENGTH = 0xC0  # libjpeg looks for the next marker just after a lower one
_START, _END = 0xDA, 0xD9  # codes of the markers that start a scan, and that end the image
# Any marker, except those within a scan's data. Of the FF bytes that may fill the space before it, only the last is matched:
# with `\xff+`, a long row of them would take time quadratic in its length.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
_PIECE = 1 << 20


def has_too_many_scans(file: BinaryIO) -> bool:
    """Whether a JPEG has more than MAX_SCANS scans, or too many segments to tell. The position of `file` is restored."""
    place = file.tell()
    file.seek(0)
    too_many = _scan_upper_bound(file) > MAX_SCANS
    if too_many:
        file.seek(0)
        too_many = _scans(file.read()) > MAX_SCANS
    file.seek(place)
    return too_many


def _scan_upper_bound(file: BinaryIO) -> int:
    """Number of scans, plus whatever looks like one in a thumbnail, or in the video that some telephones append."""
    count, before = 0, b""
    while piece := file.read(_PIECE):
        count += (before + piece).count(b"\xff\xda")
        before = piece[-1:]
    return count


def _scans(content: bytes) -> int:
    """Number of scans before the end of the image, as libjpeg reads them; MAX_SCANS + 1 if there are too many segments."""
    count, place = 0, 2
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(content, place)
        if marker is None or marker[1][0] == _END or count > MAX_SCANS:
            return count
        count += marker[1][0] == _START
        place = marker.end()
        if marker[1][0] >= _FIRST_WITH_LENGTH:
            place += int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return MAX_SCANS + 1
