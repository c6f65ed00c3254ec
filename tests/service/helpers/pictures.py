"""Images as bytes: of every kind that the service takes, and of many that it must refuse."""

import io
import struct
import zlib
from functools import cache

from PIL import Image

RED, GREEN, BLUE = (230, 20, 20), (20, 230, 20), (20, 20, 230)
ORIENTATION = 0x0112  # EXIF tag
UPRIGHT_TO_STORED = {  # EXIF orientation -> how a camera held that way stores an upright picture
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def flag(width: int = 96, height: int = 64) -> Image.Image:
    """Left half red, upper right green, lower right blue: no two of its eight orientations are alike."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (width // 2, height // 2, width, height))
    return image


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """The image in a format of Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    """The image in some bytes, by Pillow."""
    return Image.open(io.BytesIO(content))


def exif(orientation: int) -> bytes:
    """EXIF data with nothing but an orientation."""
    data = Image.Exif()
    data[ORIENTATION] = orientation
    return data.tobytes()


def stored(upright: Image.Image, orientation: int) -> Image.Image:
    """An upright picture as a camera stores it in that orientation."""
    turn = UPRIGHT_TO_STORED[orientation]
    return upright if turn is None else upright.transpose(turn)


def oriented(upright: Image.Image, orientation: int, form: str, **options: object) -> bytes:
    """An upright picture, stored turned, with the EXIF tag that says how."""
    return encoded(stored(upright, orientation), form, exif=exif(orientation), **options)


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type


def png(
    size: tuple[int, int],
    depth: int = 8,
    color_type: int = 2,
    samples: bytes | None = None,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG from its raw parts: `samples` without filter bytes (zeros if null), chunks before and after the pixels."""
    width, height = size
    stride = (width * depth * PNG_CHANNELS[color_type] + 7) // 8
    deflate = zlib.compressobj(9)
    packed = b"".join(
        deflate.compress(b"\0" + (bytes(stride) if samples is None else samples[row * stride : (row + 1) * stride]))
        for row in range(height)
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0))
    pixels = chunk(b"IDAT", packed + deflate.flush())
    return PNG_SIGNATURE + header + before + pixels + after + chunk(b"IEND", b"")


@cache
def huge_png() -> bytes:
    """20 KB that claim, and hold, 169 megapixels."""
    return png((13_000, 13_000), depth=1, color_type=0)


def png_header(width: int, height: int) -> bytes:
    """The start of an RGB PNG, and not one pixel."""
    return PNG_SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"")


TIFF_TYPES = {
    1: "B",
    2: "c",
    3: "H",
    4: "I",
    5: "Q",
    9: "i",
    11: "f",
    16: "Q",
}  # 5, a fraction, is two LONG
Tag = tuple[int, int, list[int] | bytes]  # number, type, values
SIZE: list[Tag] = [(256, 4, [4]), (257, 4, [4]), (273, 4, [-1]), (262, 3, [1])]  # of 4x4 grey pixels, but for their bits


def tiff(*tags: Tag, data: bytes = b"", next_directory: int = 0) -> bytes:
    """A little-endian TIFF; a value of -1 is replaced by the offset of `data`."""
    entries, spilled = b"", b""
    spill_at = 8 + 2 + 12 * len(tags) + 4
    spilled_bytes = sum(_tag_bytes(kind, values) for _, kind, values in tags if _tag_bytes(kind, values) > 4)
    for tag, kind, values in sorted(tags, key=lambda entry: entry[0]):
        if isinstance(values, bytes):
            raw = values
        else:
            placed = [spill_at + spilled_bytes if value == -1 else value for value in values]
            raw = struct.pack(f"<{len(placed)}{TIFF_TYPES[kind]}", *placed)
        count = len(raw) // struct.calcsize(TIFF_TYPES[kind])
        if len(raw) <= 4:
            entries += struct.pack("<HHI", tag, kind, count) + raw.ljust(4, b"\0")
        else:
            entries += struct.pack("<HHII", tag, kind, count, spill_at + len(spilled))
            spilled += raw
    start = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return start + entries + struct.pack("<I", next_directory) + spilled + data


def _tag_bytes(kind: int, values: list[int] | bytes) -> int:
    return len(values) * (1 if isinstance(values, bytes) else struct.calcsize(TIFF_TYPES[kind]))


@cache
def tile_bomb(side: int) -> bytes:
    """A TIFF of 8x8 pixels, cut out of one compressed tile of `side` x `side`."""
    deflate = zlib.compressobj(9)
    data = b"".join(deflate.compress(bytes(side * 3)) for _ in range(side)) + deflate.flush()
    size: list[Tag] = [(256, 4, [8]), (257, 4, [8]), (322, 4, [side]), (323, 4, [side])]
    pixels: list[Tag] = [(258, 3, [8, 8, 8]), (259, 3, [8]), (262, 3, [2]), (277, 3, [3])]
    return tiff(*size, *pixels, (324, 4, [-1]), (325, 4, [len(data)]), data=data)


def webp(width: int, height: int) -> bytes:
    """A lossless WebP of one colour: 32 bytes for any size up to 16,384 x 16,384."""
    bits = length = 0
    fields = [(0x2F, 8), (width - 1, 14), (height - 1, 14), (0, 1), (0, 3), (0, 1), (0, 1), (0, 1)]
    one_symbol = [(1, 1), (0, 1), (0, 1), (0, 1)]  # a Huffman code of one symbol, which costs no bits
    for value, width_of_field in fields + 5 * one_symbol:
        bits |= value << length
        length += width_of_field
    data = bits.to_bytes((length + 7) // 8 + 4, "little")
    data += b"\0" * (len(data) % 2)
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG's frame header, and nothing after it."""
    frame = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame
