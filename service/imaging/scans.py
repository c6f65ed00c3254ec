"""How often the pixels of a JPEG are passed over: a small file may ask for it thousands of times."""

import re
from typing import BinaryIO

MAX_SCANS = 64  # encoders make about ten
MAX_SEGMENTS = 2_000  # before, between and behind them
_START, _END = 0xDA, 0xD9  # of a scan, of the image
_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])")  # but for those within a scan
_PIECE = 1 << 20


def has_too_many_scans(file: BinaryIO) -> bool:
    """Whether a JPEG has more than MAX_SCANS; `file` is left where it stands."""
    place = file.tell()
    file.seek(0)
    too_many = _scan_upper_bound(file) > MAX_SCANS
    if too_many:
        file.seek(0)
        too_many = _scans(file.read()) > MAX_SCANS
    file.seek(place)
    return too_many


def _scan_upper_bound(file: BinaryIO) -> int:
    """Scans, and what looks like one in a thumbnail, or in the film that some telephones append."""
    count, before = 0, b""
    while piece := file.read(_PIECE):
        count += (before + piece).count(b"\xff\xda")
        before = piece[-1:]
    return count


def _scans(content: bytes) -> int:
    """Scans before the end of the image, as libjpeg reads them; too many where it has too many segments."""
    count, place = 0, 2
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(content, place)
        if marker is None or marker[1][0] == _END or count > MAX_SCANS:
            return count
        count += marker[1][0] == _START
        place = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return MAX_SCANS + 1
