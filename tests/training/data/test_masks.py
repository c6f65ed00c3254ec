"""What the pixels of a stored mask stand for."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.geometry import upright_rgb
from service.metrics import VOID
from tests.service.helpers.pictures import Tag, chunk, encoded, png, tiff
from training.data.masks import by_color, by_value, decode_mask, read_mask
from training.errors import InputError

IDS = {0: 0, 1: 1, 7: 2, 255: VOID}
COLORS = {(0, 0, 0): 0, (230, 159, 0): 1, (255, 255, 255): VOID}

maps = st.lists(st.lists(st.sampled_from(sorted(IDS)), min_size=3, max_size=3), min_size=1, max_size=5)


@given(values=maps, mode=st.sampled_from(["L", "P", "I;16", "I"]))
def test_values_become_ids_whatever_the_mode_that_stores_them(values: list[list[int]], mode: str) -> None:
    dtype = {"L": np.uint8, "P": np.uint8, "I;16": np.uint16, "I": np.int32}[mode]
    mask = Image.fromarray(np.array(values, dtype))
    if mode == "P":
        mask.putpalette(bytes(range(255, -1, -1)) * 3)  # the index counts, not the colour
    assert mask.mode == mode
    assert by_value(mask, "a.png", IDS).tolist() == [[IDS[value] for value in row] for row in values]


def test_black_and_white_pixels_are_the_values_0_and_1() -> None:
    mask = Image.fromarray(np.array([[False, True]]))
    assert mask.mode == "1"
    assert by_value(mask, "a.png", IDS).tolist() == [[0, 1]]


def grey_tiff(row: bytes, bits: int, photometric: int) -> bytes:
    """Eight grey pixels; photometric interpretation 0: white is zero, 1: black is."""
    size: list[Tag] = [(256, 4, [8]), (257, 4, [1]), (278, 4, [1]), (273, 4, [-1]), (279, 4, [len(row)])]
    return tiff(*size, (258, 3, [bits]), (259, 3, [1]), (262, 3, [photometric]), (277, 3, [1]), data=row)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_values_of_few_bits_are_what_the_file_holds(bits: int) -> None:
    values = [value % 2**bits for value in (0, 1, 2, 3, 5, 10, 15, 1)]
    row = int("".join(f"{value:0{bits}b}" for value in values), 2).to_bytes(bits, "big")
    for content in (png((8, 1), bits, 0, row), grey_tiff(row, bits, 1)):
        assert by_value(decode_mask(content, "a"), "a", {value: value for value in range(16)}).tolist() == [values]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_values_that_may_be_inverted_are_refused(bits: int) -> None:
    with pytest.raises(InputError, match=r"a\.tif stores white as 0 \(PhotometricInterpretation 0\): save it with black as 0"):
        decode_mask(grey_tiff(bytes(bits), bits, 0), "a.tif")


@given(colors=st.lists(st.sampled_from(sorted(COLORS)), min_size=1, max_size=6), mode=st.sampled_from(["RGB", "RGBA", "P"]))
def test_colours_become_ids_whatever_the_mode_that_stores_them(colors: list[tuple[int, int, int]], mode: str) -> None:
    mask = Image.fromarray(np.array([colors], np.uint8))
    mask = mask.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else mask.convert(mode)
    assert by_color(mask, "a.png", COLORS).tolist() == [[COLORS[color] for color in colors]]


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.array([[0, 2, 2, 9]], np.uint8), r"a\.png .*: 2 \(2 pixels\), 9 \(1 pixel\); classes are 0\.\.1, 7, 255"),
        (np.array([[256, 257, 0]], np.uint16), r"256 \(1 pixel\), 257 \(1 pixel\)"),  # never modulo 256
        (np.array([[-1, 0]], np.int32), r"-1 \(1 pixel\)"),
        (np.arange(200, 240, dtype=np.uint8)[None], r"200 .*, 204 \(1 pixel\); classes"),  # no endless line
        (np.array([[0.5]], np.float32), "colour image"),
        (np.zeros((1, 1, 3), np.uint8), "colour image"),
    ],
)
def test_a_value_that_is_no_class_is_an_error_that_names_file_and_value(stored: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        by_value(Image.fromarray(stored), "a.png", IDS)


def test_a_colour_that_is_no_class_is_an_error_that_names_file_and_colour() -> None:
    mask = Image.fromarray(np.array([[[230, 159, 0], [231, 159, 0], [231, 159, 0], [9, 9, 9]]], np.uint8))
    with pytest.raises(InputError, match=r"a\.png .*: #e79f00 \(2 pixels\), #090909 \(1 pixel\)"):
        by_color(mask, "a.png", COLORS)
    with pytest.raises(InputError, match="no class"):
        by_color(mask, "a.png", {})
    with pytest.raises(InputError, match=r"#010101 \(4 pixels\); if these are ids, save the mask with one channel"):
        by_color(Image.new("RGB", (2, 2), (1, 1, 1)), "a.png", COLORS)
    with pytest.raises(InputError, match="mode CMYK"):
        by_color(Image.new("CMYK", (2, 2)), "a.png", COLORS)


def test_transparent_pixels_stand_for_nothing_we_know() -> None:
    clear = np.array([[[0, 0, 0, 255], [0, 0, 0, 0]]], np.uint8)
    with pytest.raises(InputError, match=r"a\.png has 1 transparent pixel:"):
        by_color(Image.fromarray(clear), "a.png", COLORS)
    with pytest.raises(InputError, match=r"a\.png has 1 transparent pixel:"):
        by_value(Image.fromarray(clear).convert("LA"), "a.png", IDS)


@pytest.mark.parametrize("transparent", [0, bytes([0, 128, 255])])
def test_a_value_that_a_png_declares_transparent_counts_as_any_other(transparent: int | bytes) -> None:
    mask = Image.fromarray(np.array([[0, 1, 1]], np.uint8))
    mask.putpalette([0, 0, 0, 230, 159, 0])
    shown = decode_mask(encoded(mask, transparency=transparent), "a.png")
    assert by_value(shown, "a.png", IDS).tolist() == [[0, 1, 1]]
    assert by_color(shown, "a.png", COLORS).tolist() == [[0, 1, 1]]
    shown = decode_mask(encoded(mask.convert("RGB"), transparency=(230, 159, 0)), "a.png")
    assert by_color(shown, "a.png", COLORS).tolist() == [[0, 1, 1]]


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bits_of_which_half_would_be_dropped_are_refused(color_type: int, channels: int) -> None:
    with pytest.raises(InputError, match="a has several channels of 16 bits: save it with 8 bits, or with one channel"):
        decode_mask(png((1, 1), 16, color_type, bytes([0, 1] * channels)), "a")


def test_16_bit_colours_of_a_tiff_are_refused_as_well() -> None:
    size: list[Tag] = [(256, 4, [1]), (257, 4, [1]), (278, 4, [1]), (273, 4, [-1]), (279, 4, [6])]
    pixel: list[Tag] = [(258, 3, [16, 16, 16]), (259, 3, [1]), (262, 3, [2]), (277, 3, [3])]
    with pytest.raises(InputError, match="a has several channels of 16 bits"):
        decode_mask(tiff(*size, *pixel, data=bytes([1, 0] * 3)), "a")


def test_a_mask_is_read_as_a_person_sees_it(tmp_path: Path) -> None:
    stored = Image.fromarray(np.array([[1, 2, 3]], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    for name in ("a.png", "a.tif"):
        stored.save(tmp_path / name, exif=exif)
        assert np.asarray(read_mask(tmp_path / name)).tolist() == [[1], [2], [3]]


def test_a_mask_is_turned_as_its_photo_is(tmp_path: Path) -> None:
    """By EXIF, and by nothing where that is damaged; never by XMP."""
    stored = Image.fromarray(np.array([[1, 2, 3]], np.uint8))
    xmp = '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    plain = encoded(stored)
    files = {
        "xmp.png": encoded(stored, pnginfo=info),
        "xmp.tif": encoded(stored, "TIFF", tiffinfo={700: xmp.encode()}),
        "exif.png": plain[:33] + chunk(b"eXIf", b"damaged") + plain[33:],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert np.asarray(read_mask(tmp_path / name)).tolist() == [[1, 2, 3]]
        with Image.open(tmp_path / name) as photo:
            assert upright_rgb(photo)[0].size == (3, 1)


def test_a_mask_that_the_system_cannot_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"the mask {tmp_path} cannot be read: Is a directory"):
        read_mask(tmp_path)


def test_only_lossless_formats_are_masks(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png", "JPEG")
    (tmp_path / "b.png").write_bytes(b"")
    Image.new("L", (400, 400)).save(tmp_path / "c.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "c.png").read_bytes()[:80])
    for name in ("a.png", "b.png", "c.png"):
        with pytest.raises(InputError, match=f"{name} cannot be read as PNG or TIFF"):
            read_mask(tmp_path / name)
    with pytest.raises(InputError, match=r"d\.png is missing"):
        read_mask(tmp_path / "d.png")
