"""TIFFs that Pillow and libtiff read differently, or that cost far more than their size: each is refused by its directory."""

import io
import struct
import zlib

import pytest
from PIL import Image

from service.imaging.decode import open_image
from service.imaging.errors import BrokenImage, UnsupportedImage
from service.imaging.scans import MAX_SCANS
from tests.service.helpers.decoding import LIMIT, decoded
from tests.service.helpers.pictures import Tag, encoded, flag, tiff

GREY: list[Tag] = [(256, 4, [8]), (257, 4, [8]), (258, 3, [8]), (259, 3, [1]), (262, 3, [1]), (277, 3, [1])]
STRIP: list[Tag] = [(273, 4, [-1]), (278, 4, [8]), (279, 4, [64])]


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def progressive(width: int, height: int, scans: int = 2) -> bytes:
    """A black progressive JPEG: some 160 bytes for any size."""
    tables = segment(0xDB, bytes([0]) + bytes([1] * 64))
    frame = segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0]))
    codes = b"".join(segment(0xC4, bytes([kind << 4, 1]) + bytes(16)) for kind in (0, 1))
    passes = segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) * (scans - 1)
    return b"\xff\xd8" + tables + frame + codes + passes + b"\xff\xd9"


def jpeg_strip(rows: int, jpeg: bytes) -> bytes:
    """A TIFF of 800 pixels by `rows`, in one strip."""
    tags: list[Tag] = [(256, 4, [800]), (257, 4, [rows]), (258, 3, [8]), (259, 3, [7]), (262, 3, [1]), (277, 3, [1])]
    return tiff(*tags, (273, 4, [-1]), (278, 4, [rows]), (279, 4, [len(jpeg)]), data=jpeg)


def test_the_last_strip_may_not_be_a_jpeg_that_is_higher_than_it() -> None:
    """libtiff decodes it whole: 272 bytes took 3 GB."""
    assert decoded(jpeg_strip(160, progressive(800, 160))).size == (800, 160)
    with pytest.raises(UnsupportedImage, match="higher than the strip"):
        decoded(jpeg_strip(8, progressive(800, 160)))
    hidden = b"\xff\xd8\xff\xe0\0\x04\xff\xc0" + progressive(800, 160)[2:]  # another beginning of a frame before it
    with pytest.raises(UnsupportedImage, match="higher than the strip"):
        decoded(jpeg_strip(8, hidden))


@pytest.mark.parametrize(
    ("width", "length"),
    [
        ((322, 2, b"A\0"), (323, 4, [3_000_000_000])),  # Python multiplies them: a text of 3 GB
        ((322, 3, [1, 2]), (323, 4, [200_000_000])),
        ((322, 11, b"\0\0\xc0\x7f"), (323, 11, b"\0\0\xc0\x7f")),  # no number is smaller or larger than NaN
        ((322, 9, [-1_000_000]), (323, 9, [1])),
    ],
    ids=["text", "two values", "NaN", "negative"],
)
def test_the_size_of_a_tile_is_a_whole_number(width: Tag, length: Tag) -> None:
    with pytest.raises(UnsupportedImage, match=r"tag 322 has \d values of type"):
        open_image(io.BytesIO(tiff(*GREY, *STRIP, width, length, data=bytes(64))), LIMIT)


def test_a_tag_that_only_libtiff_reads_is_refused() -> None:
    """A tile's size in signed numbers of 64 bits: Pillow passes over it, and so the image counted as 16 pixels."""
    content = tiff(*GREY, (322, 16, [1 << 20]), (323, 16, [1 << 20]), (324, 4, [-1]), (325, 4, [64]), data=bytes(64))
    unknown = content.replace(struct.pack("<HH", 322, 16), struct.pack("<HH", 322, 17))
    assert unknown != content
    with pytest.raises(UnsupportedImage, match="tag 322 is of unknown type 17"):
        open_image(io.BytesIO(unknown), LIMIT)


@pytest.mark.parametrize("missing", [322, 323, 324])
def test_tiles_are_described_whole_or_not_at_all(missing: int) -> None:
    """With one of the two sides alone, libtiff takes the other from the image."""
    data = zlib.compress(bytes(16 * 16))
    tiles: list[Tag] = [(322, 4, [16]), (323, 4, [16]), (324, 4, [-1]), (325, 4, [len(data)])]
    compressed = [(number, kind, [8] if number == 259 else values) for number, kind, values in GREY]
    assert decoded(tiff(*compressed, *tiles, data=data)).size == (8, 8)
    with pytest.raises(UnsupportedImage, match="neither whole tiles nor whole strips"):
        open_image(io.BytesIO(tiff(*compressed, *(tag for tag in tiles if tag[0] != missing), data=data)), LIMIT)
    with pytest.raises(UnsupportedImage, match="neither whole tiles nor whole strips"):
        open_image(io.BytesIO(tiff(*compressed, *tiles, (273, 4, [-1]), data=data)), LIMIT)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ((256, 4, [9]), "tag 256 occurs twice"),  # each library takes another one
        ((282, 5, [1] * 100_000), "tag 282 has 100000 values"),  # Pillow makes an object of each
        ((320, 3, [0] * 300_000), "tag 320 has 300000 values"),
        ((32998, 4, [1 << 16]), "volumes"),  # libtiff multiplies a tile's size by it
    ],
    ids=["twice", "fractions", "colours", "depth"],
)
def test_what_costs_more_than_the_image_is_refused(extra: Tag, reason: str) -> None:
    assert decoded(tiff(*GREY, *STRIP, data=bytes(64))).size == (8, 8)
    with pytest.raises(UnsupportedImage, match=reason):
        open_image(io.BytesIO(tiff(*GREY, *STRIP, extra, data=bytes(64))), LIMIT)


def test_tiles_may_share_bytes_but_not_over_and_over() -> None:
    """With the bits of each byte reversed, libtiff copies all bytes of each tile: 3 MB took 76 s."""

    def shared(padding: int) -> bytes:
        data, tiles = zlib.compress(bytes(16 * 16)) + bytes(padding), 400
        size: list[Tag] = [(256, 4, [16 * tiles]), (257, 4, [16]), (322, 4, [16]), (323, 4, [16]), (266, 3, [2])]
        compressed = [(number, kind, [8] if number == 259 else values) for number, kind, values in GREY[2:]]
        return tiff(*size, *compressed, (324, 4, [-1] * tiles), (325, 4, [len(data)] * tiles), data=data)

    assert open_image(io.BytesIO(shared(0)), LIMIT).size == (6400, 16)
    with pytest.raises(UnsupportedImage, match="more bytes than the file"):
        open_image(io.BytesIO(shared(100_000)), LIMIT)


@pytest.mark.parametrize("compression", [1, 7, 8], ids=["raw", "JPEG", "deflate"])
@pytest.mark.parametrize(("rows", "listed"), [(8, 2), (8, 1 << 17), (7, 1), (7, 1 << 17), (1, 7)])
def test_strips_are_listed_once_each(compression: int, rows: int, listed: int) -> None:
    """Each of too many was read to the end of the file, or decoded: 262 KB took 20 s."""
    pixels: list[Tag] = [(number, kind, [compression] if number == 259 else values) for number, kind, values in GREY]
    content = tiff(*pixels, (278, 4, [rows]), (273, 3, [8] * listed), (279, 3, [0] * listed))
    with pytest.raises(UnsupportedImage, match="more or fewer strips or tiles"):
        open_image(io.BytesIO(content), LIMIT)


def test_tiles_are_listed_once_each_for_each_plane() -> None:
    data = zlib.compress(bytes(16 * 16))
    bands: list[Tag] = [(256, 4, [40]), (257, 4, [8]), (258, 3, [8] * 3), (259, 3, [8]), (262, 3, [2]), (277, 3, [3])]
    layout: list[Tag] = [(284, 3, [2]), (322, 4, [16]), (323, 4, [16])]
    for listed in (9, 3, 8, 10):
        content = tiff(*bands, *layout, (324, 4, [-1] * listed), (325, 4, [len(data)] * listed), data=data)
        if listed == 9:
            assert decoded(content).size == (40, 8)
            continue
        with pytest.raises(UnsupportedImage, match="more or fewer strips or tiles"):
            open_image(io.BytesIO(content), LIMIT)


def test_a_second_list_of_lengths_is_refused() -> None:
    """In a TIFF of strips the lengths of tiles: libtiff takes one of the two."""
    with pytest.raises(UnsupportedImage, match="more or fewer strips or tiles"):
        open_image(io.BytesIO(tiff(*GREY, *STRIP, (325, 4, [64]), data=bytes(64))), LIMIT)


def test_an_old_tiff_without_the_length_of_its_strip_is_an_image() -> None:
    assert decoded(tiff(*GREY, (273, 4, [-1]), data=bytes(64))).size == (8, 8)


@pytest.mark.parametrize("length", [[0], []])
def test_the_length_of_a_jpeg_in_a_tiff_is_told(length: list[int]) -> None:
    pixels: list[Tag] = [(number, kind, [7] if number == 259 else values) for number, kind, values in GREY]
    lengths: list[Tag] = [(279, 4, length)] if length else []
    with pytest.raises(UnsupportedImage, match="lengths of its JPEGs"):
        open_image(io.BytesIO(tiff(*pixels, (273, 4, [-1]), *lengths, data=progressive(8, 8))), LIMIT)


def test_the_scans_of_jpegs_in_a_tiff_count_for_each_strip_or_tile() -> None:
    """Of many tiles that are the same bytes, too: 36 KB took 21 s."""
    assert decoded(jpeg_strip(160, progressive(800, 160, 64))).size == (800, 160)
    with pytest.raises(UnsupportedImage, match="more than 64 scans each"):
        decoded(jpeg_strip(160, progressive(800, 160, 65)))
    bands: list[Tag] = [(256, 4, [12_288]), (257, 4, [4096]), (258, 3, [8]), (259, 3, [7]), (262, 3, [1]), (277, 3, [1])]
    for scans in (MAX_SCANS // 3, MAX_SCANS // 3 + 1):
        jpeg = progressive(4096, 4096, scans)
        tiles: list[Tag] = [(322, 4, [4096]), (323, 4, [4096]), (324, 4, [-1] * 3), (325, 4, [len(jpeg)] * 3)]
        content = tiff(*bands, *tiles, data=jpeg)
        if scans == MAX_SCANS // 3:
            assert open_image(io.BytesIO(content), 1 << 26).size == (12_288, 4096)
            continue
        with pytest.raises(UnsupportedImage, match="more than 21 scans each"):
            open_image(io.BytesIO(content), 1 << 26)


def test_old_jpeg_in_a_tiff_is_not_supported() -> None:
    with pytest.raises(UnsupportedImage, match="compression 6 is not supported"):
        open_image(io.BytesIO(tiff(*[(259, 3, [6]) if tag[0] == 259 else tag for tag in GREY], *STRIP, data=bytes(64))), LIMIT)


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "raw"])
def test_a_tiff_cut_short_is_broken_wherever_it_is_cut(compression: str) -> None:
    content = encoded(flag(), "TIFF", compression=compression)
    for length in range(8, len(content) - 1, max(1, len(content) // 40)):
        with pytest.raises(BrokenImage):
            decoded(content[:length])


@pytest.mark.parametrize("tag", [34665, 34853], ids=["EXIF", "GPS"])
@pytest.mark.parametrize("compression", [1, 8], ids=["raw", "deflate"])
def test_the_directories_of_exif_are_not_read(compression: int, tag: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would make an object of each of their values: 32 MB took 2 GB."""
    read: list[int] = []
    monkeypatch.setattr(Image.Exif, "get_ifd", lambda _, number: read.append(number))
    pixels: list[Tag] = [(number, kind, [compression] if number == 259 else values) for number, kind, values in GREY]
    data = bytes(64) if compression == 1 else zlib.compress(bytes(64))
    content = tiff(*pixels, (273, 4, [-1]), (279, 4, [len(data)]), (tag, 4, [8]), data=data)
    assert decoded(content).size == (8, 8)
    assert not read
