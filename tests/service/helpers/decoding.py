"""Uploads decoded as the service does it, and one of every kind that it takes."""

import io

from PIL import Image

from service.imaging.decode import decode, open_image
from tests.service.helpers.pictures import (
    encoded,
    flag,
)

LIMIT = 1_000_000


def never() -> None:
    """Work that is not cancelled."""


def decoded(content: bytes, limit: int = LIMIT) -> Image.Image:
    """Open and decode, as the service does."""
    return decode(open_image(io.BytesIO(content), limit), never).upright()


FORMATS = {form: encoded(flag(), form) for form in ("JPEG", "PNG", "WEBP", "TIFF")} | {
    "progressive JPEG": encoded(flag(), "JPEG", progressive=True),
    "LZW TIFF": encoded(flag(), "TIFF", compression="tiff_lzw"),
    "JPEG in TIFF": encoded(flag(), "TIFF", compression="jpeg"),
    "lossless WebP": encoded(flag(), "WEBP", lossless=True),
    "animated WebP": encoded(flag(), "WEBP", save_all=True, append_images=[Image.new("RGB", flag().size)]),
    "MPO": encoded(flag(), "MPO", save_all=True, append_images=[flag()]),
    "big TIFF": encoded(flag(), "TIFF", big_tiff=True),
}
