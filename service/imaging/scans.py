"""Counts the scans of a JPEG. Each scan is one pass over the pixels, and a small file may contain thousands."""

import re
from typing import BinaryIO

START_OF_SCAN = b"\xff\xda"
MAX_SCANS, MIN_SCANS = 64, 18  # for images of up to 16 megapixels, and of any size: libjpeg makes 10 for RGB, 18 for CMYK
_SCANNED_PIXELS = MAX_SCANS << 24  # in all scans together
MAX_SEGMENTS = 2_000  # marker segments before, between and after the scans
_FIRST_WITH_LENGTH = 0xC0  # libjpeg looks for the next marker just after a lower one
_START, _END = 0xDA, 0xD9  # codes of the markers that start a scan, and that end the image
# Any marker, except those within a scan's data. Of the FF bytes that may fill the space before it, only the last is matched:
# with `\xff+`, a long row of them would take time quadratic in its length.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
_PIECE = 1 << 20


def most_scans(pixels: int) -> int:
    """How many scans a JPEG of so many pixels may have."""
    return max(MIN_SCANS, min(MAX_SCANS, _SCANNED_PIXELS // max(1, pixels)))


def has_too_many_scans(file: BinaryIO, most: int) -> bool:
    """Whether a JPEG has more than `most` scans, or too many segments to tell. The position of `file` is restored."""
    place = file.tell()
    file.seek(0)
    too_many = _scan_upper_bound(file) > most
    if too_many:
        file.seek(0)
        too_many = _scans(file.read(), most) > most
    file.seek(place)
    return too_many


def _scan_upper_bound(file: BinaryIO) -> int:
    """Number of scans, plus whatever looks like one in a thumbnail, or in the video that some telephones append."""
    count, before = 0, b""
    while piece := file.read(_PIECE):
        count += (before + piece).count(START_OF_SCAN)
        before = piece[-1:]
    return count


def _scans(content: bytes, most: int) -> int:
    """Number of scans before the end of the image, as libjpeg reads them; `most` + 1 if it is more, or too many segments."""
    count, place = 0, 2
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(content, place)
        if marker is None or marker[1][0] == _END or count > most:
            return count
        count += marker[1][0] == _START
        place = marker.end()
        if marker[1][0] >= _FIRST_WITH_LENGTH:
            place += int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return most + 1
