"""What must be refused, or survived, by what is wrong with it."""

import struct
import zlib

from tests.service.helpers.pictures import SIZE, chunk, encoded, flag, huge_png, jpeg_header, png, png_header, tiff, webp

OTHERS = {  # of no format that is taken
    "text": b"hello, this is no image",
    "GIF": encoded(flag(), "GIF"),
    "BMP": encoded(flag(), "BMP"),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>',
    "PDF": encoded(flag(), "PDF"),
    "ICO": encoded(flag(32, 32), "ICO"),
    "JPEG 2000": encoded(flag(), "JPEG2000"),
    "TGA": encoded(flag(), "TGA"),
    "PPM": encoded(flag(), "PPM"),
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n",
    "WAV": b"RIFF\x24\0\0\0WAVEfmt " + bytes(28),
    "zip": b"PK\3\4" + bytes(60),
    "zip, then a PNG": b"PK\3\4" + bytes(60) + encoded(flag()),
    "one byte": b"x",
    "zeros": bytes(100),
}

HEADERS = {  # of too many pixels
    "PNG of 169 megapixels": huge_png(),
    "PNG header": png_header(2**31 - 1, 2**31 - 1),
    "one row": png((67_000_000, 1), 1, 0),
    "JPEG header": jpeg_header(65_000, 65_000) + bytes(100),
    "WebP of 32 bytes": webp(16_383, 16_383),
    "WebP of 32 bytes, under Pillow's own limit": webp(13_000, 13_000),
    "TIFF": tiff((256, 4, [2**32 - 1]), (257, 4, [2**32 - 1]), (258, 3, [8]), (262, 3, [1]), (273, 4, [8]), (277, 3, [1])),
}


def bombs(size: int) -> dict[str, bytes]:
    """Chunks of a PNG, small until they are unpacked."""
    packed = zlib.compress(bytes(size))
    starts = {"zTXt": b"bomb\0\0", "iTXt": b"bomb\0\1\0\0\0", "iCCP": b"bomb\0\0"}
    return {name: chunk(name.encode(), start + packed) for name, start in starts.items()}


BOMBS = bombs(20_000_000)

ABSURD = {  # TIFFs
    "a directory that is its own successor": tiff(*SIZE, (258, 3, [8]), next_directory=8, data=bytes(16)),
    "text for a number of bands": tiff(*SIZE, (258, 3, [8]), (277, 2, b"abc\0")),
    "text for a width": tiff((256, 2, b"abc\0"), *SIZE[1:], (258, 3, [8])),
    "no width": tiff(*SIZE[1:], (258, 3, [8])),
    "no pixels": tiff((256, 4, [0]), *SIZE[1:], (258, 3, [8])),
    "a directory at the end of the world": b"II*\0" + struct.pack("<I", 2**32 - 1),
    "65,535 tags and no more": b"II*\0" + struct.pack("<IH", 8, 65_535),
    "no tags": tiff(),
    "pixels outside the file": tiff(*SIZE[:2], (273, 4, [10_000_000]), SIZE[3], (258, 3, [8])),
    "pixels before the file": tiff(*SIZE[:2], (273, 4, [2**32 - 1]), SIZE[3], (258, 3, [8]), (279, 4, [2**32 - 1])),
    "a compression that does not exist": tiff(*SIZE, (258, 3, [8]), (259, 3, [4242]), data=bytes(16)),
    "8,000 bits": tiff(*SIZE, (258, 3, [8000]), data=bytes(16)),
    "tiles of no size": tiff(*SIZE, (258, 3, [8]), (259, 3, [8]), (322, 4, [0]), (323, 4, [0]), data=bytes(16)),
    "a tile with a text for a width": tiff(*SIZE, (258, 3, [8]), (259, 3, [8]), (322, 2, b"abc\0"), (323, 4, [1])),
}
