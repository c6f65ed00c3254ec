"""TIFFs that store each band by itself: Pillow reads some of them as other colours, and calls others broken."""

import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from service.imaging.errors import UnsupportedImage
from tests.service.helpers.decoding import decoded
from tests.service.helpers.pictures import Tag, tiff

RAW, DEFLATE = 1, 8
NEGATIVE, GREY, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
IGNORED, ASSOCIATED, UNASSOCIATED = ([(338, 3, [kind])] for kind in (0, 1, 2))
COLOURS: list[Tag] = [(320, 3, [0] * 768)]
FULL: list[Tag] = [(530, 3, [1, 1])]
REVERSED: list[Tag] = [(266, 3, [2])]
BANDS = np.arange(48 * 64 * 4, dtype="<u2").reshape(48, 64, 4)


def in_planes(bands: NDArray[np.uint8] | NDArray[np.uint16], colours: int, compression: int, tags: list[Tag]) -> bytes:
    height, width, count = bands.shape
    planes = [bands[..., band].tobytes() for band in range(count)]
    parts = [zlib.compress(plane) for plane in planes] if compression == DEFLATE else planes
    size: list[Tag] = [(256, 4, [width]), (257, 4, [height]), (278, 4, [height])]
    kind: list[Tag] = [(258, 3, [bands.itemsize * 8] * count), (259, 3, [compression]), (262, 3, [colours])]
    layout: list[Tag] = [(277, 3, [count]), (284, 3, [2]), (279, 4, [len(part) for part in parts])]

    def content(starts: list[int]) -> bytes:
        return tiff(*size, *kind, *layout, (273, 4, starts), *tags, data=b"".join(parts))

    start = len(content([0] * count)) - sum(map(len, parts))
    return content([start + sum(map(len, parts[:band])) for band in range(count)])


@pytest.mark.parametrize(
    ("colours", "count", "sixteen", "compression", "tags"),
    [
        (GREY, 1, False, RAW, []),
        (GREY, 2, False, DEFLATE, IGNORED),
        (NEGATIVE, 1, False, DEFLATE, []),
        (RGB, 3, False, RAW, []),
        (RGB, 3, True, DEFLATE, []),
        (CMYK, 4, False, RAW, []),
    ],
)
def test_colours_in_separate_planes_are_read(
    colours: int, count: int, sixteen: bool, compression: int, tags: list[Tag]
) -> None:
    bands = BANDS[..., :count] if sixteen else BANDS[..., :count].astype(np.uint8)
    expected = (bands / 257 if sixteen else bands.astype(float))[..., : 1 if colours in (NEGATIVE, GREY) else count]
    if colours == NEGATIVE:
        expected = 255 - expected
    if colours == CMYK:
        expected = (255 - expected[..., :3]) * (255 - expected[..., 3:]) / 255
    assert np.allclose(np.asarray(decoded(in_planes(bands, colours, compression, tags))), expected, atol=1)


@pytest.mark.parametrize(
    ("colours", "count", "compression", "tags"),
    [
        (GREY, 2, DEFLATE, UNASSOCIATED),  # these four were read as other colours
        (GREY, 2, DEFLATE, ASSOCIATED),
        (PALETTE, 2, DEFLATE, UNASSOCIATED + COLOURS),
        (LAB, 3, DEFLATE, []),
        (YCBCR, 3, DEFLATE, []),  # subsampled, if nothing else is said
        (LAB, 3, RAW, []),
        (GREY, 2, RAW, UNASSOCIATED),
        (GREY, 2, RAW, ASSOCIATED),
        (RGB, 4, RAW, ASSOCIATED),
        (YCBCR, 3, RAW, FULL),
        (NEGATIVE, 1, RAW, []),  # as a positive
        (GREY, 1, RAW, REVERSED),
        (RGB, 3, RAW, REVERSED),
    ],
)
def test_what_pillow_misreads_in_separate_planes_is_refused(
    colours: int, count: int, compression: int, tags: list[Tag]
) -> None:
    with pytest.raises(UnsupportedImage, match="in separate planes"):
        decoded(in_planes(BANDS[..., :count].astype(np.uint8), colours, compression, tags))


@pytest.mark.parametrize(("colours", "count"), [(GREY, 1), (RGB, 3)])
def test_16_bits_in_raw_planes_are_refused(colours: int, count: int) -> None:
    with pytest.raises(UnsupportedImage, match="in separate planes"):
        decoded(in_planes(BANDS[..., :count], colours, RAW, []))


def test_black_and_white_in_a_raw_plane_is_read() -> None:
    bits = np.arange(48 * 8, dtype=np.uint8).reshape(48, 8)
    size: list[Tag] = [(256, 4, [64]), (257, 4, [48]), (278, 4, [48]), (279, 4, [bits.nbytes])]
    kind: list[Tag] = [(258, 3, [1]), (259, 3, [RAW]), (262, 3, [GREY]), (277, 3, [1]), (284, 3, [2])]
    start = len(tiff(*size, *kind, (273, 4, [0])))
    image = decoded(tiff(*size, *kind, (273, 4, [start]), data=bits.tobytes()))
    assert np.array_equal(np.asarray(image)[..., 0], 255 * np.unpackbits(bits, axis=1))
