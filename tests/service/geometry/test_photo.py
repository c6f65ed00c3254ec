"""`geometry.upright_rgb`: whatever an image is stored as, the pixels that a person sees."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence

from service.geometry import Photo, UnsupportedPixels, resized, upright_rgb
from tests.service.helpers.pictures import GREEN, RED, chunk, encoded, exif, flag, opened, oriented, png, stored, tiff

LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on damaged EXIF
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    """What the service sees, as an array."""
    image, _ = upright_rgb(opened(content))
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", LOSSLESS)
def test_a_lossless_image_stored_in_any_orientation_is_seen_upright(form: str, orientation: int) -> None:
    image, reported = upright_rgb(opened(oriented(flag(), orientation, form, **LOSSLESS[form])))
    assert reported == orientation
    assert (np.asarray(image) == np.asarray(flag())).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_stored_in_any_orientation_is_turned_as_pillow_turns_it(orientation: int) -> None:
    content = oriented(flag(), orientation, "JPEG")
    image, reported = upright_rgb(opened(content))
    assert reported == orientation
    assert image.size == flag().size
    assert image.tobytes() == ImageOps.exif_transpose(opened(content)).tobytes()


@given(
    orientation=st.integers(1, 8),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    working=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_resized_channel_by_channel_an_image_is_what_it_is_when_it_is_turned_first(
    orientation: int, size: tuple[int, int], working: tuple[int, int]
) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    photo = Photo.of(opened(oriented(noise, orientation, "PNG")))
    assert photo.size == noise.size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.geometry.photo.TURNED_PIXELS", 0)
        found = photo.resized(working)
    assert found.tobytes() == resized(photo.upright(), working).tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_compressed_tiff_is_turned_once(compression: str, orientation: int) -> None:
    content = oriented(flag(), orientation, "TIFF", compression=compression)
    assert (pixels_of(content) == np.asarray(flag())).all()


def png_with(before: bytes = b"", after: bytes = b"") -> bytes:
    """The flag, stored in orientation 6, as a PNG with chunks before and after its pixels."""
    turned = stored(flag(), 6)
    return png(turned.size, samples=turned.tobytes(), before=before, after=after)


def test_a_png_may_say_its_orientation_after_the_pixels() -> None:
    image, orientation = upright_rgb(opened(png_with(after=chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0")))))
    assert orientation == 6
    assert (np.asarray(image) == np.asarray(flag())).all()


XMP_IN = {
    "JPEG": lambda: encoded(stored(flag(), 6), "JPEG", xmp=XMP),
    "PNG": lambda: png_with(before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "TIFF": lambda: encoded(stored(flag(), 6), "TIFF", tiffinfo={700: XMP}),
    "WEBP": lambda: encoded(stored(flag(), 6), "WEBP", xmp=XMP, lossless=True),
}


@pytest.mark.parametrize("form", XMP_IN)
def test_an_orientation_in_xmp_turns_nothing_as_in_browsers(form: str) -> None:
    image, orientation = upright_rgb(opened(XMP_IN[form]()))
    assert orientation == 1
    assert image.size == stored(flag(), 6).size


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(value: int) -> None:
    image, orientation = upright_rgb(opened(encoded(flag(), "PNG", exif=exif(value))))
    assert orientation == 1
    assert (np.asarray(image) == np.asarray(flag())).all()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize(
    "damaged",
    [b"garbage", b"II*\0\x08\0\0\0\xff\xff\x12\x01", b"II*\0\x08\0\0\0\1\0\x12\1\2\0\1\0\0\0\6\0\0\0\0\0\0\0", b""],
    ids=["no EXIF", "cut short", "a text for a number", "empty"],
)
def test_damaged_exif_is_no_exif(form: str, damaged: bytes) -> None:
    image, orientation = upright_rgb(opened(encoded(flag(), form, exif=b"Exif\0\0" + damaged)))
    assert orientation == 1
    assert image.size == flag().size


def test_a_damaged_raw_exif_profile_is_no_exif() -> None:
    profile = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 10\nzzzz\n"))
    assert pixels_of(png((2, 2), before=profile)).shape == (2, 2, 3)


GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
RGB = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, (6, 7), dtype=np.uint8)


def on_white(color: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Colours seen through their alpha before a white wall."""
    share = alpha[..., None] / 255
    return color * share + 255 * (1 - share)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_is_repeated_in_each_color(form: str) -> None:
    assert (pixels_of(encoded(Image.fromarray(GREY), form)) == GREY[..., None]).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_one_bit_is_black_and_white(form: str) -> None:
    bits = Image.fromarray((GREY % 2 * 255).astype(np.uint8)).convert("1", dither=Image.Dither.NONE)
    assert (pixels_of(encoded(bits, form))[..., 0] == GREY % 2 * 255).all()


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_alpha_is_composited_on_white(form: str, options: dict[str, object]) -> None:
    content = encoded(Image.fromarray(np.dstack([RGB, ALPHA])), form, **options)
    assert np.allclose(pixels_of(content), on_white(RGB, ALPHA), atol=1)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_with_alpha_is_composited_on_white(form: str) -> None:
    grey = RGB[..., 0]
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(ALPHA)])
    assert np.allclose(pixels_of(encoded(image, form)), on_white(grey[..., None], ALPHA), atol=1)


def test_a_palette_gives_its_colors() -> None:
    image = Image.fromarray(RGB[..., 0] % 4, "P")
    palette = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120]
    image.putpalette(palette)
    expected = np.array(palette).reshape(-1, 3)[RGB[..., 0] % 4]
    for form in ("PNG", "TIFF"):
        assert (pixels_of(encoded(image, form)) == expected).all()


@pytest.mark.parametrize("transparency", [1, b"\xff\0\xff"], ids=["one index", "an alpha per index"])
def test_a_transparent_color_of_a_palette_is_white(transparency: int | bytes) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert pixels_of(encoded(image, "PNG", transparency=transparency)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_a_palette_with_alpha_is_composited_on_white() -> None:
    image = Image.merge("RGBA", [*flag(8, 8).split(), Image.new("L", (8, 8), 0)]).convert("PA")
    assert (pixels_of(encoded(image, "TIFF")) == 255).all()


@pytest.mark.parametrize(("depth", "kind", "key"), [(8, 0, (9,)), (16, 0, (300,)), (8, 2, (9, 9, 9))])
def test_the_transparent_color_of_a_png_without_palette_is_white(depth: int, kind: int, key: tuple[int, ...]) -> None:
    sample = b"".join(value.to_bytes(depth // 8, "big") for value in key)
    content = png((2, 1), depth, kind, sample + bytes(len(sample)), before=chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)))
    assert pixels_of(content).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize(("depth", "scale"), [(1, 255), (2, 85), (4, 17)])
def test_each_transparent_grey_of_few_bits_is_white(depth: int, scale: int) -> None:
    for key in range(1 << depth):
        other = (key + 1) % (1 << depth)
        sample = ((key << depth | other) << 8 - 2 * depth).to_bytes(1, "big")
        content = png((2, 1), depth, 0, sample, before=chunk(b"tRNS", struct.pack(">H", key)))
        assert pixels_of(content).tolist() == [[[255] * 3, [other * scale] * 3]]


def test_a_transparent_color_of_16_bits_is_refused() -> None:
    content = png((2, 1), 16, 2, bytes(12), before=chunk(b"tRNS", struct.pack(">3H", 10, 200, 30)))
    with pytest.raises(UnsupportedPixels, match="transparent"):
        pixels_of(content)


def test_12_bits_of_grey_are_stretched_to_8() -> None:
    values = np.arange(4096).reshape(64, 64)
    high, low = values[:, ::2], values[:, 1::2]  # each two in three bytes
    packed = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], -1).astype(np.uint8).tobytes()
    size = ((256, 3, [64]), (257, 3, [64]), (278, 3, [64]))
    content = tiff(*size, (258, 3, [12]), (262, 3, [1]), (273, 4, [-1]), (277, 3, [1]), (279, 4, [len(packed)]), data=packed)
    assert (pixels_of(content)[..., 2] == np.round(values * 255 / 4095)).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_each_of_the_65536_grey_values_is_divided_by_257(form: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert (pixels_of(encoded(Image.fromarray(values), form))[..., 1] == np.round(values / 257)).all()


def test_big_endian_16_bit_pixels_are_read_in_their_own_order() -> None:
    image = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 65535, 257))
    assert np.asarray(upright_rgb(image)[0])[..., 0].tolist() == [[255, 1]]


@pytest.mark.parametrize(("kind", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_color_is_within_one_of_its_value_by_257(kind: int, samples: int) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (6, 7, samples))
    if samples in {2, 4}:
        values[..., -1] = 65535  # opaque
    content = png((7, 6), 16, kind, values.astype(">u2").tobytes())
    expected = values[..., :3] if samples > 2 else values[..., :1]
    assert np.allclose(pixels_of(content), expected / 257, atol=1)


def test_cmyk_jpeg_keeps_its_colors() -> None:
    content = encoded(flag().convert("CMYK"), "JPEG", quality=95)
    assert opened(content).mode == "CMYK"
    middle = pixels_of(content)[8, [16, 80]]
    assert np.allclose(middle, [RED, GREEN], atol=12)


@pytest.mark.parametrize("mode", ["YCbCr", "CMYK", "RGBX"])
def test_tiff_of_other_color_spaces_keeps_its_colors(mode: str) -> None:
    seen = pixels_of(encoded(flag().convert(mode), "TIFF"))
    assert np.allclose(seen, np.asarray(flag()), atol=3)


def test_tiff_in_lab_keeps_its_colors() -> None:
    lab = Image.frombytes("LAB", (2, 1), bytes([255, 0, 0, 0, 0, 0]))  # white and black
    assert np.allclose(pixels_of(encoded(lab, "TIFF")), [[[255] * 3, [0] * 3]], atol=2)


def test_progressive_jpeg_is_read_to_its_last_scan() -> None:
    plain, progressive = (pixels_of(encoded(flag(), "JPEG", progressive=progressive)) for progressive in (False, True))
    assert np.allclose(plain, progressive, atol=2)


@pytest.mark.parametrize(
    ("form", "options"),
    [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("MPO", {})],
    ids=["APNG", "TIFF", "WebP", "MPO"],
)
def test_of_several_frames_the_first_is_seen(form: str, options: dict[str, object]) -> None:
    later = [Image.new("RGB", flag().size, "white"), Image.new("RGB", flag().size, "black")]
    content = encoded(flag(), form, save_all=True, append_images=later, **options)
    assert len(list(ImageSequence.Iterator(opened(content)))) == 3
    assert np.allclose(pixels_of(content), pixels_of(encoded(flag(), "JPEG" if form == "MPO" else "PNG")), atol=1)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_range_are_refused(mode: str) -> None:
    with pytest.raises(UnsupportedPixels, match="no defined range"):
        upright_rgb(Image.new(mode, (2, 2)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16"])
def test_conversion_in_strips_leaves_no_seams(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(RGB).convert("RGBA")
    picture.putalpha(Image.fromarray(ALPHA))
    image = Image.fromarray(RGB[..., 0].astype(np.uint16) * 250) if mode == "I;16" else picture.convert(mode)
    whole = np.asarray(upright_rgb(image)[0])
    monkeypatch.setattr("service.geometry.photo.STRIP_PIXELS", 16)
    assert (np.asarray(upright_rgb(image)[0]) == whole).all()


def test_grey_with_alpha_that_is_multiplied_in_is_put_on_white() -> None:
    """A TIFF's associated alpha: black at half opacity is grey on white."""
    pixels = np.array([[[0, 128], [64, 64]]], np.uint8)
    content = tiff(
        *((256, 4, [2]), (257, 4, [1]), (258, 3, [8, 8]), (259, 3, [1]), (262, 3, [1]), (273, 4, [-1]), (277, 3, [2])),
        *((278, 4, [1]), (279, 4, [4]), (338, 3, [1])),
        data=pixels.tobytes(),
    )
    assert pixels_of(content)[0, :, 0].tolist() == [127, 255]
