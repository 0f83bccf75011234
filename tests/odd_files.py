"""Odd, broken and malicious picture files, made here: what `test_attack.py` and `fuzz_image.py` throw at the readers.

`zoo` has small files, BOMBS those that want a reader's time or memory, GIANTS the largest pictures that are accepted.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from seg.image import MAX_ASPECT, MAX_BYTES, MAX_PIXELS, MAX_SIDE, MIN_SIDE, InvalidImageError, read_image, read_stored
from seg.ui.lab import point_of
from seg.ui.sheet import SheetError, read_sheet

REASONS = {"empty", "bytes", "not_image", "not_png", "damaged", "pixels", "side", "aspect", "tiny"}
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
PNG_HEAD = b"\x89PNG\r\n\x1a\n"


def check(data: bytes) -> str:
    """What every file must end in, whoever made it: a picture within the limits, or a refusal with a known reason.

    Returns:
        "read", or the reason that `read_image` gives.
    """
    for read in (read_stored, read_image):
        try:
            image = read(data)
        except InvalidImageError as error:
            assert error.reason in REASONS, error.reason
            assert ";" in str(error) or ":" in str(error), "a refusal says what to do"
            outcome = error.reason
        else:
            short, long = sorted(image.size)
            assert MIN_SIDE <= short <= long <= min(MAX_SIDE, MAX_ASPECT * short)
            assert short * long <= MAX_PIXELS
            outcome = "read"
            if read is read_image:
                assert image.mode == "RGB"
                assert not image.info
                assert not image.getexif()
            assert np.asarray(image).shape[:2] == image.size[::-1]
    return outcome


def check_sheet(data: bytes) -> str:
    """The same of a ZIP: "read" with a photo and a label that `check` accepts, or why it is no lab sheet."""
    try:
        found = read_sheet(data)
    except SheetError as error:
        assert error.reason in {"damaged", "foreign", "large"}
        return error.reason
    check(found.photo)
    if found.label is not None:
        check(found.label)
    point_of(found.point)
    return "read"


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **options)  # a copy: saving as JPEG leaves settings behind
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A chunk of a PNG; `length` is a lie."""
    size = len(data) if length is None else length
    return struct.pack(">I", size) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, interlace: int = 0, extra: bytes = b"") -> bytes:
    """A black PNG, whose rows are made one by one; `extra` chunks come before the pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]

    def rows(width: int, height: int) -> bytes:
        return (b"\0" + bytes((width * channels * depth + 7) // 8)) * height if width and height else b""

    packer = zlib.compressobj(1)
    if interlace:  # Adam7: (first x, first y, step x, step y) of each pass
        passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        parts = [rows(-(-(width - x) // step_x), -(-(height - y) // step_y)) for x, y, step_x, step_y in passes]
        packed = b"".join(packer.compress(part) for part in parts) + packer.flush()
    else:
        packed = b"".join(packer.compress(rows(width, 1)) for _ in range(height)) + packer.flush()
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return PNG_HEAD + head + palette + extra + chunk(b"IDAT", packed) + chunk(b"IEND")


def png_promising(width: int, height: int) -> bytes:
    """A PNG that has no pixels at all."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return PNG_HEAD + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND")


def tiff(tags: dict[int, tuple[int, int, int]], data: bytes, *, size: int = 64) -> bytes:
    """A little-endian TIFF, uncompressed grey unless `tags` {number: (type, count, value)} say otherwise."""
    first = {256: (4, 1, size), 257: (4, 1, size), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    strips = {} if 322 in tags else {273: (4, 1, 0), 278: (4, 1, size), 279: (4, 1, len(data))}
    entries = {**first, **strips, **tags}
    start = 8 + 2 + 12 * len(entries) + 4
    for offsets in {273, 324} & set(entries):
        entries[offsets] = (4, 1, start)
    listed = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + listed + bytes(4) + data


def exif(entries: int, length: int) -> bytes:
    """An EXIF block whose many entries all point to the same `length` bytes."""
    listed = b"".join(struct.pack(">HHII", 1000 + i, 7, length, 8) for i in range(entries))
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", entries) + listed + bytes(4)


def jpeg_with(segments: bytes, image: Image.Image = NOISE, **options: object) -> bytes:
    """A JPEG with more segments at its beginning, without JFIF's."""
    data = file_of(image, "JPEG", **options)
    return data[:2] + segments + data[20:]


def segment(code: int, data: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(data) + 2) + data


def gif_with(blocks: bytes) -> bytes:
    """A GIF with more blocks before its first frame."""
    data = file_of(NOISE, "GIF")
    start = 13 + 3 * (2 << (data[10] & 7))
    return data[:start] + blocks + data[start:]


def orientation(value: int, kind: int = 3) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, kind, 1, value, 0) + bytes(4)


def valid() -> dict[str, bytes]:
    """Small sound files, one or more of every accepted format; what mutations start from."""
    rgba = NOISE.convert("RGBA")
    rgba.putalpha(NOISE.convert("L"))
    grey16 = Image.fromarray(np.arange(24 * 40, dtype=np.uint16).reshape(24, 40) * 68)

    def animated() -> dict[str, object]:
        return {"save_all": True, "append_images": [NOISE.rotate(90 * i) for i in range(3)]}

    files = {
        "jpeg": file_of(NOISE, "JPEG"),
        "jpeg progressive": file_of(NOISE, "JPEG", progressive=True),
        "jpeg grey": file_of(NOISE.convert("L"), "JPEG"),
        "jpeg cmyk": file_of(NOISE.convert("CMYK"), "JPEG"),
        "jpeg exif": jpeg_with(segment(0xE1, orientation(6))),
        "mpo": file_of(NOISE, "MPO", **animated()),
        "png": file_of(NOISE, "PNG"),
        "png palette": file_of(NOISE.quantize(16), "PNG", transparency=3),
        "png alpha": file_of(rgba, "PNG"),
        "png 16": file_of(grey16, "PNG"),
        "png 1": file_of(NOISE.convert("1"), "PNG"),
        "png grey alpha": file_of(NOISE.convert("LA"), "PNG"),
        "png interlaced": png(40, 24, interlace=1),
        "apng": file_of(NOISE, "PNG", **animated()),
        "webp": file_of(NOISE, "WEBP"),
        "webp lossless": file_of(rgba, "WEBP", lossless=True),
        "webp animated": file_of(NOISE, "WEBP", **animated()),
        "gif": file_of(NOISE, "GIF"),
        "gif animated": file_of(NOISE, "GIF", **animated()),
        "bmp": file_of(NOISE, "BMP"),
        "bmp 1": file_of(NOISE.convert("1"), "BMP"),
        "tiff": file_of(NOISE, "TIFF"),
        "tiff 16": file_of(grey16, "TIFF"),
        "tiff lab": file_of(Image.new("LAB", (40, 24)), "TIFF"),
        "tiff float": file_of(NOISE.convert("F"), "TIFF"),
        "tiff pages": file_of(NOISE, "TIFF", **animated()),
        "tiff lzw": file_of(NOISE, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": file_of(NOISE, "TIFF", compression="jpeg"),
        "tiff deflate": file_of(NOISE.convert("CMYK"), "TIFF", compression="tiff_adobe_deflate"),
        "tiff fax": file_of(NOISE.convert("1"), "TIFF", compression="group4"),
    }
    return files


def zoo() -> Iterator[tuple[str, bytes, set[str]]]:
    """(name, file, what `check` may say of it)."""
    good = valid()
    read, refused = {"read"}, REASONS
    for name, data in good.items():
        yield name, data, read
        for share in (0.02, 0.1, 0.3, 0.6, 0.9):
            yield f"{name}, {share:.0%} of it", data[: int(len(data) * share)], {"read", *refused}
        yield f"{name}, and a program after it", data + b"PK\3\4<script>" + bytes(200), read
        yield f"{name}, and text before it", b"hello" + data, {"not_image"}
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="24"><script>1</script></svg>'
    no_pictures = {
        "svg": svg,
        "svg in a gif's first bytes": b"GIF89a" + svg,
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 24\n%%EndComments\nshowpage\n",
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "html": b"<!doctype html><script>1</script>",
        "zip": PK,
        "elf": b"\x7fELF" + bytes(500),
        "pickle": b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
        "ico": file_of(NOISE.resize((32, 32)), "ICO"),
        "ppm": file_of(NOISE, "PPM"),
        "tga": file_of(NOISE, "TGA"),
        "pcx": file_of(NOISE, "PCX"),
        "icns": b"icns" + struct.pack(">I", 16) + b"ic07" + struct.pack(">I", 8),
        "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 24, 40, 8, 3) + bytes(100),
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        "avif": b"\0\0\0\x1cftypavif" + bytes(100),
    }
    for name, data in no_pictures.items():
        yield name, data, {"not_image"}
    yield "nothing", b"", {"empty"}
    yield "one byte", b"\0", {"not_image"}
    for width, height, reason in ((1, 1, "tiny"), (1, 9000, "tiny"), (8, 161, "aspect"), (20_001, 2000, "side"),
                                  (193, 31_237, "side"), (10_000, 10_000, "pixels"), (19_999, 19_999, "pixels"),
                                  (2**31 - 1, 2**31 - 1, "pixels")):  # fmt: skip
        yield f"png of {width} x {height}", png_promising(width, height), {reason}
    yield "png of no width", png_promising(0, 24), {"not_image", "tiny"}
    yield "png without pixels", png_promising(40, 24), {"damaged"}
    yield "png with a chunk that lies", png(40, 24, extra=chunk(b"tEXt", b"a\0b", length=2**31)), {"not_image"}
    yield (
        "png whose text unpacks to 30 MB",
        png(40, 24, extra=chunk(b"zTXt", b"a\0\0" + packed_zeros(30))),
        {"not_image"},
    )
    yield "png whose profile unpacks to 30 MB", png(40, 24, extra=chunk(b"iCCP", b"a\0\0" + packed_zeros(30))), {
        "read", "not_image",
    }  # fmt: skip
    yield "png with two headers", png(40, 24).replace(b"IDAT", b"IHDR"), {"not_image", "damaged"}
    for value in (0, 1, 6, 9, 65_535):
        yield f"jpeg of orientation {value}", jpeg_with(segment(0xE1, orientation(value))), read
        yield f"png of orientation {value}", png(40, 24, extra=chunk(b"eXIf", orientation(value)[6:])), read
    for name, block in {
        "of another type": orientation(6, kind=2),
        "cut off": orientation(6)[:15],
        "of no order": b"Exif\0\0XX*\0",
        "that points outside": b"Exif\0\0MM\0*\xff\xff\xff\xff",
        "with 65,535 entries": b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
    }.items():
        yield f"jpeg with exif {name}", jpeg_with(segment(0xE1, block)), read
    yield "jpeg with xmp, comments and a profile", jpeg_with(
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bytes(60_000)) + segment(0xFE, b"x" * 65_000)
        + segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000))
    ), read  # fmt: skip
    yield "jpeg that promises 65,535 x 65,535", resized_jpeg(65_535, 65_535), {"pixels", "side"}
    yield "jpeg that promises 7000 x 7000", resized_jpeg(7000, 7000), {"read", "damaged"}
    yield "gif of 65,535 x 65,535", b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\x28\0\x18\0\0\x02\2\x44\1\0;", {
        "side", "pixels", "not_image",
    }  # fmt: skip
    yield "webp with a length that lies", good["webp"][:4] + b"\xff\xff\xff\x7f" + good["webp"][8:], {"read", *refused}
    yield "bmp of negative height", with_bytes(good["bmp"], 22, struct.pack("<i", -24)), {"read"}
    yield "bmp of the most negative height", with_bytes(good["bmp"], 22, struct.pack("<i", -(2**31))), refused
    ring = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 330, 4, 1, 8) + b"\x08\0\0\0"
    yield "tiff whose directory is itself", ring, {"not_image"}
    yield "tiff in lzma", tiff({259: (3, 1, 34925)}, bytes(4096)), {"not_image"}
    yield "tiff in zstandard", tiff({259: (3, 1, 50000)}, bytes(4096)), {"not_image"}
    yield "tiff with strips of nowhere", tiff({279: (4, 1, 2**31)}, bytes(10)), {"damaged"}


PK = b"PK\3\4\x14\0\0\0\0\0" + bytes(100)


def packed_zeros(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes * 1_000_000))


def resized_jpeg(width: int, height: int) -> bytes:
    """A small JPEG whose header promises another size."""
    data = file_of(NOISE, "JPEG")
    return with_bytes(data, data.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def with_bytes(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


# Files that want time or memory


def many(part: bytes) -> bytes:
    """As often as fits into an upload."""
    return part * ((MAX_BYTES - 200_000) // len(part))


def _jpeg_of_scans() -> bytes:
    data = file_of(Image.new("RGB", (8000, 6000), (90, 120, 10)), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * 2000 + b"\xff\xd9"


def _jpeg_of_exif() -> bytes:
    block = exif(60_000, 25_000_000)
    block += bytes(25_000_100 - len(block))
    parts = (block[at : at + 65_000] for at in range(0, len(block), 65_000))
    return jpeg_with(b"".join(segment(0xE1, b"Exif\0\0" + part) for part in parts))


def _png_of_exif() -> bytes:
    block = exif(60_000, 25_000_000)
    return png(40, 24, extra=chunk(b"eXIf", block + bytes(25_000_100 - len(block))))


def _tiff_of_tags() -> bytes:
    data = tiff({40_000 + i: (7, 25_000_000, 8) for i in range(2000)}, bytes(4096))
    return data + bytes(26_000_000 - len(data))


def _tiff_of_a_tile() -> bytes:
    side = 20_000
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(side * 100)) for _ in range(side // 100)) + packer.flush()
    return tiff(
        {259: (3, 1, 8), 322: (4, 1, side), 323: (4, 1, side), 324: (4, 1, 0), 325: (4, 1, len(packed))}, packed
    )


def _bmp_of_runs() -> bytes:
    pixels = b"\1\5" * 14_000_000
    head = struct.pack("<IiiHHIIiiII", 40, 7000, 7000, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(pixels), 0, 0, 1078) + head + bytes(1024) + pixels


BOMBS: dict[str, Callable[[], bytes]] = {
    "png of empty chunks": lambda: png(40, 24, extra=many(chunk(b"abCd"))),
    "png of empty pixels": lambda: png(40, 24, extra=many(chunk(b"IDAT"))),
    "png of packed text": lambda: png(40, 24, extra=chunk(b"zTXt", b"a\0\0" + packed_zeros(1)) * 2000),
    "png of exif": _png_of_exif,
    "gif of comment": lambda: gif_with(b"!\xfe" + many(b"\xff" + b"x" * 255) + b"\0"),
    "gif of comments": lambda: gif_with(many(b"!\xfe\1x\0")),
    "gif of controls": lambda: gif_with(many(b"!\xf9\4\0\0\0\0\0")),
    "jpeg of exif": _jpeg_of_exif,
    "jpeg of scans": _jpeg_of_scans,
    "jpeg of segments": lambda: jpeg_with(many(segment(0xE0, b""))),
    "tiff of tags": _tiff_of_tags,
    "tiff of one tile": _tiff_of_a_tile,
    "bmp of runs": _bmp_of_runs,
}

WIDE, HIGH = 8000, 6250  # 50 megapixels


def _noise(channels: int) -> np.ndarray:
    strip = np.random.default_rng(1).integers(0, 256, (250, WIDE, channels), dtype=np.uint8)
    return np.tile(strip, (HIGH // 250, 1, 1))


GIANTS: dict[str, Callable[[], bytes]] = {
    "progressive jpeg": lambda: file_of(
        Image.fromarray(_noise(3)), "JPEG", quality=30, subsampling=0, progressive=True
    ),
    "cmyk jpeg": lambda: file_of(Image.fromarray(_noise(4), "CMYK"), "JPEG", quality=8, progressive=True),
    "turned jpeg": lambda: jpeg_with(segment(0xE1, orientation(6)), Image.new("RGB", (WIDE, HIGH))),
    "interlaced png": lambda: png(WIDE, HIGH, interlace=1),
    "png with alpha": lambda: png(WIDE, HIGH, colour=6),
    "png of 16 bits": lambda: png(WIDE, HIGH, colour=6, depth=16),
    "webp": lambda: file_of(Image.new("RGBA", (WIDE, HIGH), (1, 2, 3, 100)), "WEBP", lossless=True, method=0),
    "gif": lambda: file_of(Image.new("P", (WIDE, HIGH)), "GIF"),
    "float tiff": lambda: file_of(Image.new("F", (WIDE, HIGH)), "TIFF", compression="tiff_adobe_deflate"),
    "tiff with alpha": lambda: file_of(Image.new("RGBA", (WIDE, HIGH)), "TIFF", compression="tiff_lzw"),
}


# Lab sheets


def sheet(files: dict[str, bytes] | None = None) -> bytes:
    """A small lab sheet; `files` are put into it too."""
    settings = json.dumps({"format": "seglab lab sheet 1", "lesson": "pixel", "controls": {}, "point": [0.5, 0.5]})
    content = {"settings.json": settings.encode(), "photo.png": png(40, 24), "label.png": png(40, 24, colour=3)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**content, **(files or {})}.items():
            archive.writestr(name, data)
    return buffer.getvalue()
