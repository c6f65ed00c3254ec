"""`imaging.decode`: format by content, and one of three errors for whatever is wrong."""

import io
import struct
from typing import BinaryIO, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.imaging.decode import decode, open_image
from service.imaging.errors import BrokenImage, TooManyPixels, UnsupportedImage
from tests.service.helpers.decoding import FORMATS, LIMIT, decoded, never
from tests.service.helpers.hostile import ABSURD, OTHERS
from tests.service.helpers.pictures import (
    PNG_SIGNATURE,
    SIZE,
    Tag,
    encoded,
    flag,
    tiff,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")  # Pillow's


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_is_decided_by_content(name: str) -> None:
    assert decoded(FORMATS[name]).size == flag().size


@pytest.mark.parametrize("name", FORMATS)
@given(st.data())
def test_a_truncated_image_is_broken_or_whole_enough_and_never_another_error(name: str, data: st.DataObject) -> None:
    content = FORMATS[name]
    length = data.draw(st.integers(12, len(content) - 1))
    try:
        image = decoded(content[:length])
    except BrokenImage:
        return
    assert image.size == flag().size
    assert length > len(content) / 2  # what is left out can only be a trailer, or a later frame


KINDS = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
]


@pytest.mark.parametrize(("form", "options"), KINDS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_an_image_without_its_last_part_is_broken(form: str, options: dict[str, object], share: float) -> None:
    content = encoded(Image.effect_noise((96, 64), 80).convert("RGB"), form, **options)
    with pytest.raises(BrokenImage):
        decoded(content[: int(len(content) * share)])


def test_a_big_tiff_of_the_other_byte_order_is_whole_and_not_supported() -> None:
    with pytest.raises(UnsupportedImage, match="big-endian BigTIFF"):
        decoded(struct.pack(">2sHHHQQHHQQQ", b"MM", 43, 8, 0, 16, 1, 256, 4, 1, 4 << 32, 0))  # its width alone: 4 pixels


SIGNATURES = [b"\xff\xd8\xff", PNG_SIGNATURE, b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]


@pytest.mark.parametrize("name", FORMATS)
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=20))
def test_a_damaged_image_is_an_image_or_one_of_three_errors(name: str, damage: list[tuple[int, int]]) -> None:
    content = bytearray(FORMATS[name])
    for place, value in damage:
        content[place % len(content)] = value
    with_room = 100_000_000  # damage may enlarge; nothing here may take it at its word before its pixels are there
    try:
        assert open_image(io.BytesIO(content), with_room).size >= (1, 1)
        decoded(bytes(content), LIMIT)
    except (BrokenImage, UnsupportedImage, TooManyPixels) as error:
        assert str(error)


@given(st.sampled_from(SIGNATURES), st.binary())
def test_rubbish_after_a_signature_is_one_of_three_errors(signature: bytes, rubbish: bytes) -> None:
    with pytest.raises((BrokenImage, UnsupportedImage, TooManyPixels)):
        decoded(signature + rubbish)


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_format_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedImage, match="not a JPEG, PNG, WebP or TIFF"):
        decoded(OTHERS[name])


def test_an_image_with_something_after_it_is_the_image() -> None:
    assert decoded(encoded(flag()) + b"PK\3\4 a zip archive").size == flag().size


def test_nothing_is_an_empty_image() -> None:
    with pytest.raises(BrokenImage, match="empty"):
        decoded(b"")


def test_floating_point_and_more_than_four_bands_are_unsupported_and_the_reason_is_given() -> None:
    with pytest.raises(UnsupportedImage, match="floating-point"):
        decoded(encoded(Image.new("F", (4, 4)), "TIFF"))
    with pytest.raises(UnsupportedImage, match="integer pixels"):
        decoded(encoded(Image.new("I", (4, 4)), "TIFF"))
    for bands in (5, 6, 7, 200):
        with pytest.raises(UnsupportedImage, match="more than 4 bands"):
            decoded(tiff(*SIZE, (277, 3, [bands]), (258, 3, [8] * bands), data=bytes(16 * bands)))


def test_six_bands_that_pillow_would_read_as_rgb_are_unsupported_too() -> None:
    bands: list[Tag] = [(258, 3, [8] * 6), (277, 3, [6]), (338, 3, [0, 0, 0])]
    with pytest.raises(UnsupportedImage, match="more than 4 bands"):
        decoded(tiff(*SIZE[:3], (262, 3, [2]), *bands, data=bytes(96)))


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_tiff_is_an_image_or_one_of_three_errors(name: str) -> None:
    try:
        assert decoded(ABSURD[name]).size == (4, 4)
    except (BrokenImage, UnsupportedImage, TooManyPixels) as error:
        assert str(error)


class _Numbered(io.BytesIO):
    """A file whose descriptor must not be used: when the request is over it may be another file's."""

    def fileno(self) -> int:
        raise AssertionError("asked for its descriptor")


@pytest.mark.parametrize("name", FORMATS)
def test_no_decoder_reads_the_file_by_its_descriptor(name: str) -> None:
    assert decode(open_image(cast(BinaryIO, _Numbered(FORMATS[name])), LIMIT), never).size == flag().size


def test_an_image_that_is_converted_is_closed() -> None:
    upload = open_image(io.BytesIO(encoded(Image.new("RGBA", (4, 4)))), LIMIT)
    assert decode(upload, never).size == (4, 4)
    with pytest.raises(ValueError, match="closed image"):
        upload.image.getpixel((0, 0))


def test_a_file_is_read_from_its_start_wherever_it_stands() -> None:
    file = io.BytesIO(encoded(flag()))
    file.seek(17)
    assert decode(open_image(file, LIMIT), never).size == flag().size


SIXTEEN = np.arange(64 * 48 * 3, dtype="<u2").reshape(48, 64, 3)


def test_16_bit_colours_are_read() -> None:
    content = tiff(
        *((256, 4, [64]), (257, 4, [48]), (258, 3, [16] * 3), (259, 3, [1]), (262, 3, [2]), (273, 4, [-1]), (277, 3, [3])),
        *((278, 4, [48]), (279, 4, [SIXTEEN.nbytes])),
        data=SIXTEEN.tobytes(),
    )
    assert np.allclose(np.asarray(decoded(content)), SIXTEEN / 257, atol=1)


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_pixels_are_refused(bits: int) -> None:
    content = tiff(
        *((256, 4, [8]), (257, 4, [8]), (258, 3, [bits]), (259, 3, [1]), (262, 3, [1]), (273, 4, [-1]), (277, 3, [1])),
        *((278, 4, [8]), (279, 4, [8 * bits]), (339, 3, [2])),
        data=bytes(8 * bits),
    )
    with pytest.raises(UnsupportedImage, match=r"signed|pixel layout"):
        decoded(content)


@pytest.mark.parametrize("photometric", [0, 1])
def test_16_bit_grey_is_read_as_a_positive(photometric: int) -> None:
    grey = np.arange(0, 65536, 16, dtype="<u2").reshape(64, 64)
    content = tiff(
        *((256, 4, [64]), (257, 4, [64]), (258, 3, [16]), (259, 3, [1]), (262, 3, [photometric]), (273, 4, [-1])),
        *((277, 3, [1]), (278, 4, [64]), (279, 4, [64 * 128])),
        data=(grey if photometric else 65535 - grey).tobytes(),
    )
    assert (np.asarray(decoded(content))[..., 0] == np.round(grey / 257)).all()
