"""The texts of a PNG: they may take far more memory than the file, and have any name."""

import io
import struct
import zlib

import pytest
from PIL.PngImagePlugin import MAX_TEXT_CHUNK, PngImageFile

from service.imaging.decode import MAX_TEXT, decode, open_image
from service.imaging.errors import BrokenImage
from tests.service.helpers.decoding import LIMIT, decoded, never
from tests.service.helpers.pictures import PNG_SIGNATURE, chunk, exif, flag, png, stored

WIDE = "a" * (MAX_TEXT_CHUNK - 4) + "\N{GRINNING FACE}"  # as a megabyte of UTF-8: four in memory
ANIMATION = chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", struct.pack(">5I2H2B", 0, 4, 4, 0, 0, 1, 1, 0, 0))


def text(key: str, value: str, packed: bool = True) -> bytes:
    """An iTXt chunk."""
    content = value.encode()
    return chunk(b"iTXt", key.encode() + bytes([0, packed, 0, 0, 0]) + (zlib.compress(content) if packed else content))


def texts_kept(image: PngImageFile) -> list[object]:
    """All that Pillow still has of texts and profiles."""
    entries = list(image.info.values())
    if image.png is not None:
        entries += [*image.png.im_text.values(), *image.png.rewind_state.info.values()]
    else:
        entries += image.text.values()
    return [entry for entry in entries if isinstance(entry, str | bytes)]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("start", [b"", ANIMATION], ids=["still", "animated"])
def test_texts_are_not_kept(start: bytes, place: str) -> None:
    texts = b"".join(text(key, WIDE) for key in ("a", "XML:com.adobe.xmp", "Raw profile type exif"))
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(MAX_TEXT_CHUNK)))
    parts = {"before": start, "after": b""}
    parts[place] += texts + profile
    upload = open_image(io.BytesIO(png((4, 4), **parts)), LIMIT)  # type: ignore[arg-type]
    assert isinstance(upload.image, PngImageFile)
    assert not texts_kept(upload.image)  # while it waits
    decode(upload, never)
    assert not texts_kept(upload.image)


@pytest.mark.parametrize("place", ["before", "after"])
def test_texts_are_limited_together(place: str) -> None:
    texts = [text(f"key {number}", WIDE) for number in range(MAX_TEXT // len(WIDE) + 1)]
    assert decoded(png((4, 4), **{place: b"".join(texts[:-1])})).size == (4, 4)  # type: ignore[arg-type]
    with pytest.raises(BrokenImage, match="text"):
        decoded(png((4, 4), **{place: b"".join(texts)}))  # type: ignore[arg-type]


def test_a_text_as_long_as_some_programs_write_is_ignored() -> None:
    for key in ("workflow", "XML:com.adobe.xmp"):
        assert decoded(png((4, 4), before=text(key, "x" * 3_000_000, packed=False))).size == (4, 4)


@pytest.mark.parametrize("place", ["before", "after"])
def test_exif_in_a_text_is_read(place: str) -> None:
    content = exif(6)
    profile = text("Raw profile type exif", f"\nexif\n{len(content):8}\n{content.hex()}\n")
    turned = stored(flag(), 6)
    upload = open_image(io.BytesIO(png(turned.size, samples=turned.tobytes(), **{place: profile})), LIMIT)  # type: ignore[arg-type]
    photo = decode(upload, never)
    assert photo.orientation == 6
    assert photo.upright().tobytes() == flag().tobytes()


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("key", ["transparency", "interlace", "bbox", "exif", "default_image", "gamma"])
@pytest.mark.parametrize(("depth", "color_type"), [(8, 2), (2, 0), (16, 0), (1, 0)])
def test_a_text_named_as_an_entry_of_pillow_is_a_text(depth: int, color_type: int, key: str, place: str) -> None:
    """Of 2 bits, Pillow multiplied a text named `transparency`: 1 KB took 340 MB."""
    plain = decoded(png((4, 4), depth, color_type))
    for value in ("1", WIDE):
        seen = decoded(png((4, 4), depth, color_type, **{place: text(key, value)}))
        assert seen.tobytes() == plain.tobytes()


def test_an_interlaced_image_with_a_text_named_so_is_read_in_its_order() -> None:
    """A row of 3 pixels, of which the one in the middle comes last."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 1, 8, 0, 0, 0, 1))
    pixels = chunk(b"IDAT", zlib.compress(bytes([0, 10, 0, 30, 0, 20])))
    content = PNG_SIGNATURE + header + text("interlace", "") + pixels + chunk(b"IEND", b"")
    assert decoded(content).tobytes()[::3] == bytes([10, 20, 30])
