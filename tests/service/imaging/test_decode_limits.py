"""What an upload may cost to decode: pixels by the header, and parts, scans and pieces by their number."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import MAX_TEXT_CHUNK

from service.imaging.decode import MAX_PACKED, MAX_SIDE, decode, open_image
from service.imaging.errors import BrokenImage, TooManyPixels, UnsupportedImage
from service.imaging.scans import MAX_SCANS, MIN_SCANS, most_scans
from tests.service.helpers.decoding import FORMATS, LIMIT, decoded
from tests.service.helpers.hostile import ABSURD, BOMBS, HEADERS, bombs
from tests.service.helpers.pictures import (
    Tag,
    chunk,
    encoded,
    flag,
    png,
    png_header,
    tiff,
    tile_bomb,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")  # Pillow's


@pytest.mark.parametrize("name", HEADERS)
def test_too_many_pixels_are_found_in_the_header(name: str) -> None:
    with pytest.raises(TooManyPixels) as caught:
        open_image(io.BytesIO(HEADERS[name]), 67_108_864)
    assert caught.value.limit in {67_108_864, MAX_SIDE}


def test_a_tile_counts_as_well_as_the_image_cut_from_it() -> None:
    bomb = tile_bomb(2048)
    assert decoded(bomb, 2048 * 2048).size == (8, 8)
    with pytest.raises(TooManyPixels, match="tile"):
        open_image(io.BytesIO(bomb), 2048 * 2048 - 1)


@pytest.mark.parametrize(("across", "down", "decoded_pixels"), [(16, 16, 1000 * 16 * 16), (128, 128, 125 * 128 * 128)])
def test_tiles_count_whole_however_little_of_them_lies_within_the_image(across: int, down: int, decoded_pixels: int) -> None:
    """Many may be the same bytes of the file: half a megabyte took hours, which nothing could stop."""
    tiles = -(-16_000 // across)
    size: list[Tag] = [(256, 4, [16_000]), (257, 4, [1]), (322, 4, [across]), (323, 4, [down])]
    data = zlib.compress(bytes(across * down))
    pixels: list[Tag] = [(258, 3, [8]), (259, 3, [8]), (262, 3, [1]), (277, 3, [1])]
    content = tiff(*size, *pixels, (324, 4, [-1] * tiles), (325, 4, [len(data)] * tiles), data=data)
    assert open_image(io.BytesIO(content), decoded_pixels // 2).decoded_pixels == decoded_pixels
    assert decoded(content, decoded_pixels // 2).size == (16_000, 1)
    with pytest.raises(TooManyPixels, match=f"tiles of the TIFF have {decoded_pixels} pixels"):
        open_image(io.BytesIO(content), decoded_pixels // 2 - 1)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exactly_as_many_pixels_as_allowed_are_allowed(form: str) -> None:
    content = encoded(flag(40, 25), form)
    assert decoded(content, 1000).size == (40, 25)
    with pytest.raises(TooManyPixels, match="1000 pixels, the limit is 999"):
        decoded(content, 999)


@pytest.mark.parametrize("size", [(MAX_SIDE, 1), (1, MAX_SIDE)])
def test_a_side_may_be_as_long_as_a_jpeg_can_be(size: tuple[int, int]) -> None:
    assert decoded(png(size)).size == size
    with pytest.raises(TooManyPixels, match="one side"):
        decoded(png((size[0] + (size[0] > 1), size[1] + (size[1] > 1))))


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_compressed_bomb_in_metadata_does_not_go_off(name: str, place: str) -> None:
    with pytest.raises(BrokenImage, match="too large"):
        decoded(png((4, 4), **{place: BOMBS[name]}))  # type: ignore[arg-type]
    smaller = 4 * bombs(MAX_TEXT_CHUNK)[name]  # the most that Pillow unpacks
    assert decoded(png((4, 4), **{place: smaller})).size == (4, 4)  # type: ignore[arg-type]


JPEG, PNG = encoded(flag(), "JPEG"), encoded(flag(), "PNG")
ENDLESS = {
    "segments": JPEG[:2] + b"\xff\xe0\x00\x02" * 100_000 + JPEG[2:],
    "exif in many parts": JPEG[:2] + (b"\xff\xe1\x00\x68Exif\0\0" + bytes(96)) * 10_000 + JPEG[2:],
    "large segments": JPEG[:2] + (b"\xff\xe5\xff\xff" + bytes(65_533)) * 400 + JPEG[2:],
    "chunks": PNG[:33] + chunk(b"abCd", b"") * 100_000 + PNG[33:],
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_header_that_does_not_end_is_broken(name: str) -> None:
    with pytest.raises(BrokenImage, match="header is too long"):
        open_image(io.BytesIO(ENDLESS[name]), 10**6)


@pytest.mark.parametrize("name", BOMBS)
def test_a_png_has_few_chunks_to_unpack(name: str) -> None:
    """Each may be a megabyte: 600 profiles took 4 s."""
    packed = bombs(1000)[name]
    assert decoded(png((4, 4), before=packed * MAX_PACKED)).size == (4, 4)
    with pytest.raises(BrokenImage, match="packed texts"):
        open_image(io.BytesIO(png((4, 4), before=packed * (MAX_PACKED + 1))), LIMIT)


def test_a_header_may_hold_what_cameras_and_editors_put_there() -> None:
    segments = (b"\xff\xe2\xff\xff" + bytes(65_533)) * 60 + b"\xff\xed\x00\x06abcd" * 400
    assert open_image(io.BytesIO(JPEG[:2] + segments + JPEG[2:]), 10**6).size == flag().size


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are so many."""
    content = encoded(flag(), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * (count - content.count(b"\xff\xda")) + content[-2:]


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded() -> None:
    assert decoded(with_scans(MAX_SCANS)).size == flag().size
    for count in (MAX_SCANS + 1, 10_000):
        with pytest.raises(UnsupportedImage, match="more than 64 scans"):
            open_image(io.BytesIO(with_scans(count)), LIMIT)


@pytest.mark.parametrize(
    ("pixels", "most"), [(0, 64), (1 << 24, 64), (1 << 25, 32), (67_108_864, MIN_SCANS), (178_956_970, MIN_SCANS)]
)
def test_a_large_jpeg_may_have_fewer_scans(pixels: int, most: int) -> None:
    """Each of 67 megapixels takes a sixth of a second, in whatever few bytes it is."""
    assert most_scans(pixels) == most


def test_libjpeg_makes_no_more_scans_than_any_image_may_have() -> None:
    scans = {mode: encoded(flag().convert(mode), "JPEG", progressive=True).count(b"\xff\xda") for mode in ("L", "RGB", "CMYK")}
    assert scans == {"L": 6, "RGB": 10, "CMYK": MIN_SCANS}


def test_a_large_jpeg_of_too_many_scans_is_refused() -> None:
    scans = encoded(Image.new("L", (8000, 8000)), "JPEG", progressive=True)
    assert open_image(io.BytesIO(scans), 1 << 26).size == (8000, 8000)
    with pytest.raises(UnsupportedImage, match="more than 18 scans"):
        open_image(io.BytesIO(scans[:-2] + b"\xff\xda\0\x08\1\1\0\1\x3f\0" * 18 + scans[-2:]), 1 << 26)


@pytest.mark.parametrize("comments", [0, 3_000])
def test_scans_cannot_be_hidden(comments: int) -> None:
    """Behind a comment that looks like the end of the image; or behind very many."""
    content = with_scans(MAX_SCANS + 1)
    first = content.index(b"\xff\xda")
    second = content.index(b"\xff\xc4", first)  # the table that comes before it
    hiding = b"\xff\xfe\x00\x04\xff\xd9" + b"\xff\xfe\x00\x02" * comments
    with pytest.raises(UnsupportedImage, match="more than 64 scans"):
        open_image(io.BytesIO(content[:second] + hiding + content[second:]), LIMIT)


def test_the_scans_of_the_first_image_of_several_count_too() -> None:
    content = FORMATS["MPO"]
    start = content.index(b"\xff\xda")
    end = content.index(b"\xff\xd9", start)
    with pytest.raises(UnsupportedImage, match="more than 64 scans"):
        open_image(io.BytesIO(content[:end] + MAX_SCANS * content[start:end] + content[end:]), LIMIT)


def test_a_long_row_of_bytes_that_fill_the_space_before_a_marker_takes_no_time() -> None:
    content = encoded(flag(), "JPEG")
    start = content.index(b"\xff\xda") + 14  # of the scan's data
    hostile = content[:start] + b"\xff" * (1 << 22) + b"\0" + b"\xff\xda" * (MAX_SCANS + 1)
    assert open_image(io.BytesIO(hostile), LIMIT).size == flag().size


def test_bytes_that_a_jpeg_is_filled_with_are_not_gone_through_again_and_again() -> None:
    """All of them are gone through at each read, of which Pillow by itself makes 16 for each megabyte."""
    content = encoded(flag(), "JPEG")
    start = content.index(b"\xff\xda") + 14  # of the scan's data
    reads = 0

    def count() -> None:
        nonlocal reads
        reads += 1

    with pytest.raises(BrokenImage, match="truncated"):
        decode(open_image(io.BytesIO(content[:start] + b"\xff" * (1 << 24)), LIMIT), count)
    assert 16 <= reads < 32


@pytest.mark.parametrize("form", ["JPEG", "MPO"])
def test_what_looks_like_scans_beside_the_image_is_none(form: str) -> None:
    """As a thumbnail has them, or the film behind a photo."""
    content = FORMATS[form]
    thumbnail = b"\xff\xe5\x01\x02" + b"\xff\xda" * 128
    assert decoded(content[:2] + thumbnail + content[2:] + b"\xff\xda" * 1000).size == flag().size


PIXELS = zlib.compress(b"\0" * (49 * 16))
PIECES = {
    "empty pieces of pixels": chunk(b"IDAT", PIXELS) + chunk(b"IDAT", b"") * 10_000,
    "pieces before the pixels": chunk(b"IDAT", b"") * 10_000 + chunk(b"IDAT", PIXELS),
    "empty chunks behind the pixels": chunk(b"IDAT", PIXELS) + chunk(b"abCd", b"") * 10_000,
}


@pytest.mark.parametrize("name", PIECES)
def test_a_png_in_countless_pieces_is_broken(name: str) -> None:
    content = png_header(16, 16) + PIECES[name] + chunk(b"IEND", b"")
    with pytest.raises(BrokenImage, match="too many small pieces"):
        decoded(content)


def test_decoding_can_be_cancelled() -> None:
    """Between two pieces of the file: here profiles behind the pixels, each of which takes a while to unpack."""

    class WorkCancelled(Exception):
        pass

    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000)))
    content = png_header(16, 16) + chunk(b"IDAT", PIXELS) + profile * 300 + chunk(b"IEND", b"")
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise WorkCancelled

    with pytest.raises(WorkCancelled):
        decode(open_image(io.BytesIO(content), LIMIT), check)
    assert calls < 30


@pytest.mark.parametrize("tag", [273, 324], ids=["strips", "tiles"])
def test_a_tiff_in_countless_parts_is_refused_before_they_are_listed(tag: int) -> None:
    directory = struct.pack("<HHHII", 1, tag, 3, 1 << 20, 100) + bytes(4)
    with pytest.raises(UnsupportedImage, match="more than 262144 strips or tiles"):
        open_image(io.BytesIO(b"II*\0\x08\0\0\0" + directory + bytes(1 << 21)), 10**6)
    big = struct.pack(">QHHQQ", 1, tag, 3, 1 << 20, 100) + bytes(8)
    with pytest.raises(UnsupportedImage, match="more than 262144 strips or tiles"):
        open_image(io.BytesIO(b"MM\0\x2b\0\x08\0\0" + struct.pack(">Q", 16) + big + bytes(1 << 21)), 10**6)


@pytest.mark.parametrize("tags", [1 << 33, 1 << 42, (1 << 64) - 1])
def test_no_room_is_made_for_the_tags_that_a_file_claims_to_have(tags: int, tmp_path: Path) -> None:
    path = tmp_path / "large.tif"  # of bytes in memory only those that are there are read at any rate
    path.write_bytes(struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, tags) + bytes(1 << 16))
    with path.open("rb") as file, pytest.raises(BrokenImage):
        open_image(file, LIMIT)


def test_a_directory_that_is_its_own_successor_holds_nobody_up() -> None:
    assert decoded(ABSURD["a directory that is its own successor"]).size == (4, 4)


def exif_of(orientations: int) -> bytes:
    """EXIF whose orientation has so many values, each a fraction."""
    entry = struct.pack("<HHIII", 0x0112, 5, orientations, 26, 0)
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<II", 6, 1) * orientations


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_exif_of_millions_of_values_is_ignored(form: str) -> None:
    """Pillow would make an object of each: 12 s, in which nothing else could run."""
    assert decoded(encoded(flag(), form, exif=exif_of(1))).size == flag().size[::-1]
    assert decoded(encoded(flag(), form, exif=exif_of(1_000_000))).size == flag().size


def test_exif_in_many_segments_of_a_jpeg_ends() -> None:
    content = encoded(flag(), "JPEG")
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", 60_008) + b"Exif\0\0" + bytes(60_000) for _ in range(5))
    assert open_image(io.BytesIO(content[:2] + segments[: 4 * 60_010] + content[2:]), LIMIT).size == flag().size
    with pytest.raises(BrokenImage, match="header is too long"):
        open_image(io.BytesIO(content[:2] + segments + content[2:]), LIMIT)


def test_scans_cannot_be_hidden_behind_a_marker_that_has_no_length() -> None:
    """With restarts, libjpeg goes on just after it: 64 KB took 30 s."""
    content = with_scans(MAX_SCANS + 1)
    first = content.index(b"\xff\xda")
    start = first + 2 + int.from_bytes(content[first + 2 : first + 4], "big")  # of the first scan's data
    with pytest.raises(UnsupportedImage, match="more than 64 scans"):
        open_image(io.BytesIO(content[:start] + b"\xff\x02\xff\xd0" + content[start:]), LIMIT)
