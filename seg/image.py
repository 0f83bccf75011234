"""The one place that opens a picture from outside: path, bytes, PIL image or array -> upright RGB within limits.

Photos become upright RGB (`read_image`); label pictures, whose values are ids, come as they are stored
(`read_stored`). Limits and refusals are the same for both.

A file may have been made to hurt: a few bytes that unpack to gigabytes, or that keep a decoder busy for hours. Size
in bytes and pixels is checked before anything is decoded; `_Limited` bounds what Pillow reads; metadata, which Pillow
would parse without bound, does not reach it from a JPEG and is never asked for. tests/test_attack.py has such files.
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import ExifTags, Image

Photo: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | np.ndarray

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # what a camera or browser makes; Pillow's EPS starts programs
STORED_FORMATS = ("PNG",)  # for label pictures: JPEG and WebP change values, GIF renumbers its colours
MAX_BYTES = 30_000_000
MAX_PIXELS = 50_000_000
MAX_SIDE = 20_000
MAX_ASPECT = 20
MIN_SIDE = 8

_MAX_SCANS = 100  # of a JPEG; one over 50 megapixels takes no bytes and much time. libtiff has the same limit
_MAX_SEGMENTS = 5_000  # of a JPEG: an ICC profile and a thumbnail are a few, 64 kB each
_MAX_HEAD_READS = 6_000  # before the size is known; a camera's file takes some hundreds
_MAX_READS = 1_000_000  # in all; a 30 MB PNG in pieces of 4 kB takes 30,000
_TIFF_CODECS = (  # of scanners and cameras; LZMA, Zstandard and the like may ask for any amount of memory
    "raw", "tiff_ccitt", "group3", "group4", "tiff_lzw", "jpeg", "tiff_adobe_deflate", "tiff_deflate", "tiff_raw_16",
    "packbits",
)  # fmt: skip
_TILE = 1 << 20  # pixels that a tile of a TIFF may have, however small the picture
_BAND = 1 << 20  # pixels that are converted at a time: whole pictures would stand in memory four times over
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # of a JPEG; not the restarts and stuffing inside a scan

# What Pillow lets escape on broken files, found over thousands of them; MemoryError and KeyboardInterrupt pass through.
_DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, AttributeError, EOFError, OverflowError,
    ZeroDivisionError, NotImplementedError, struct.error, Image.DecompressionBombError,
)  # fmt: skip

# EXIF orientation -> what turns the stored picture upright; 1 is upright already.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class InvalidImageError(ValueError):
    """A picture that cannot be used.

    Attributes:
        reason: a key that a page can translate: "empty", "bytes", "not_image", "damaged", "pixels", "side", "aspect",
            "tiny", "array", "missing", "not_png".
        values: the numbers in the message.
    """

    def __init__(self, reason: str, message: str, **values: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.values = values


def read_image(photo: Photo) -> Image.Image:
    """Open a photo as an upright RGB picture without metadata.

    EXIF rotation is applied, transparency lies on white, CMYK, grey, palette and 16-bit pictures become 8-bit RGB, of
    an animation the first frame counts. The picture's name and file ending do not matter, only its bytes.

    Args:
        photo: path, file bytes, PIL image, or (H, W, 3) uint8 RGB array.

    Raises:
        InvalidImageError: says what is wrong and what to do instead.
    """
    if isinstance(photo, np.ndarray):
        return _from_array(photo)
    if isinstance(photo, Image.Image):
        _check_size(photo.size)
        return _upright(_decode(photo), _orientation(photo))
    data, exif = _read(photo), b""
    if data.startswith(b"\xff\xd8"):
        data, exif = _plain_jpeg(data)
    image = _open(data, FORMATS)
    if image.format != "TIFF":  # Pillow turns those itself
        exif = exif or image.info.get("exif", b"")
    rgb = _decode(image)
    del image  # a 50-megapixel one has 200 MB and more
    return _upright(rgb, _stored_orientation(exif))


def read_stored(picture: str | os.PathLike[str] | bytes) -> Image.Image:
    """Open a PNG without converting anything: its mode, values and palette are what the file holds.

    For label pictures: a grey or palette value is a class id there, and every conversion would change ids.

    Raises:
        InvalidImageError: as `read_image`, and for every other format.
    """
    image = _open(_read(picture), STORED_FORMATS)
    try:
        image.load()
    except _DECODER_ERRORS as error:
        raise _damaged() from error
    return image


class _Limited(io.BytesIO):
    """An open file that can be read only so often and, until `head` is cleared, only so much.

    Reading is what a decoder must do to go on, so this ends what a file can make it do again and again: millions of
    empty blocks, or thousands of tags that all point to the same megabytes, each of which Pillow would keep.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.head = True
        self._reads = 0
        self._bytes = 2 * len(data) + 65_536

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(size)
        self._reads += 1
        if self._reads > _MAX_READS:
            raise OSError("the file is read in too many pieces")
        if self.head:
            self._bytes -= len(part)
            if self._bytes < 0 or self._reads > _MAX_HEAD_READS:
                raise OSError("the head of the file is too long")
        return part


def _read(photo: str | os.PathLike[str] | bytes) -> bytes:
    """The bytes of a file of acceptable length."""
    if isinstance(photo, bytes):
        _check_length(len(photo))
        return photo
    if not isinstance(photo, str | os.PathLike):
        raise InvalidImageError("missing", f"got {type(photo).__name__} instead of a photo; choose a photo", path="")
    with _open_file(Path(photo)) as file:
        _check_length(file.seek(0, os.SEEK_END))
        file.seek(0)
        return file.read(MAX_BYTES)


def _check_length(size: int) -> None:
    if size == 0:
        raise InvalidImageError("empty", "the file is empty; choose a photo")
    if size > MAX_BYTES:
        raise InvalidImageError(
            "bytes",
            f"the file has {size / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} MB are accepted: save it smaller",
            megabytes=f"{size / 1e6:.0f}",
            limit=f"{MAX_BYTES / 1e6:.0f}",
        )


def _open(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """The picture in a file, of acceptable size, not decoded yet."""
    source = _Limited(data)
    try:
        image = Image.open(source, formats=list(formats))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's own, wider limit
        raise _too_many_pixels(f"more than {MAX_PIXELS / 1e6:.0f}") from error
    except _DECODER_ERRORS as error:
        raise _not_opened(formats) from error
    source.head = False
    _check_size(image.size)
    if image.format == "TIFF" and not _is_plain_tiff(image):
        raise _not_opened(formats)
    return image


def _not_opened(formats: tuple[str, ...]) -> InvalidImageError:
    if formats == STORED_FORMATS:
        return InvalidImageError("not_png", "this is not a PNG; save the label picture as PNG")
    return InvalidImageError(
        "not_image",
        "this is not a picture that can be opened; use a JPEG, PNG, WebP, GIF, BMP or TIFF file",
    )


def _is_plain_tiff(image: Image.Image) -> bool:
    """Whether decoding takes memory by the picture's size. A tile may lie about its own, and is unpacked whole."""
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag, 0) for tag in (ExifTags.Base.TileWidth, ExifTags.Base.TileLength)]
    if image.info.get("compression") not in _TIFF_CODECS or not all(isinstance(side, int) for side in sides):
        return False
    return sides[0] * sides[1] <= max(_TILE, image.width * image.height)


def _plain_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """A JPEG's picture without its metadata, and its EXIF block.

    What stays is what the pixels need, JFIF's and Adobe's marks for the colours among it.

    Raises:
        InvalidImageError: more scans or segments than a picture has.
    """
    parts, exif, scans, at = [data[:2]], b"", 0, 2
    while found := _MARKER.search(data, at):
        code, at = found[1][0], found.end()
        if code in (0x01, 0xD8):  # these stand alone
            continue
        if code == 0xD9:  # the end; cameras put more pictures after it
            parts.append(data[found.start() : at])
            break
        content, end = at + 2, at + max(2, int.from_bytes(data[at : at + 2], "big"))
        if code == 0xDA:
            scans += 1
            following = _MARKER.search(data, end)
            end = following.start() if following else len(data)
        elif code == 0xE1 and not exif and data.startswith(b"Exif\0\0", content):
            exif = data[content:end]
        if code in (0xE0, 0xEE) or not 0xE0 <= code <= 0xFE:
            parts.append(data[found.start() : end])
        if scans > _MAX_SCANS or len(parts) > _MAX_SEGMENTS:
            raise _damaged()
        at = end
    return b"".join(parts), exif


def _open_file(path: Path) -> io.BufferedReader:
    try:
        if path.exists() and not path.is_file():
            raise OSError(0, "it is not a file")  # a folder, or a pipe that would be waited for
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        cause = error.strerror if isinstance(error, OSError) else "that is not a path"
        raise InvalidImageError(
            "missing", f"cannot open {path}: {cause}; give the path of a photo", path=str(path)
        ) from error


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    shape = f"{width} x {height}"
    if min(size) < MIN_SIDE:
        raise InvalidImageError(
            "tiny",
            f"the picture is {shape} pixels; each side needs at least {MIN_SIDE}: use a larger one",
            size=shape,
            limit=MIN_SIDE,
        )
    if max(size) > MAX_SIDE:
        raise InvalidImageError(
            "side",
            f"the picture is {shape} pixels; a side may have at most {MAX_SIDE}: make it smaller",
            size=shape,
            limit=MAX_SIDE,
        )
    if max(size) > MAX_ASPECT * min(size):
        raise InvalidImageError(
            "aspect",
            f"the picture is {shape} pixels; one side may be at most {MAX_ASPECT} times the other: crop it",
            size=shape,
            limit=MAX_ASPECT,
        )
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(f"{width * height / 1e6:.0f}")


def _too_many_pixels(megapixels: str) -> InvalidImageError:
    limit = f"{MAX_PIXELS / 1e6:.0f}"
    return InvalidImageError(
        "pixels",
        f"the picture has {megapixels} megapixels; at most {limit} are accepted: make it smaller",
        megapixels=megapixels,
        limit=limit,
    )


def _decode(image: Image.Image) -> Image.Image:
    """RGB pixels in a new picture, which carries no metadata; a band at a time, to bound the memory."""
    try:
        image.load()
        if image.format == "WEBP":
            image._decoder = None  # type: ignore[attr-defined]  # has the pixels twice more
        ends = _ends(image) if image.mode in ("I", "F") else (0.0, 0.0)
        clean = Image.new("RGB", image.size)
        for box in _bands(image):
            clean.paste(_to_rgb(image.crop(box), ends), box)
    except _DECODER_ERRORS as error:
        raise _damaged() from error
    return clean


def _bands(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(image.height, top + rows)


def _damaged() -> InvalidImageError:
    return InvalidImageError("damaged", "the picture is damaged or cut off; open it in a viewer and save it again")


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of the caller's own picture. Unreadable EXIF does not make good pixels bad: 1 is upright."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DECODER_ERRORS:
        return 1


def _stored_orientation(exif: bytes) -> int:
    """The orientation that an uploaded EXIF block says. Only that tag is read: Pillow reads and keeps all of them."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * entry)
            if (tag, kind) == (ExifTags.Base.Orientation, 3):
                return int(value)
    except struct.error:  # cut off
        pass
    return 1


def _to_rgb(image: Image.Image, ends: tuple[float, float]) -> Image.Image:
    """One band; `ends` are the darkest and the brightest value of the whole picture, for modes that have no white."""
    if image.mode.startswith("I;16"):
        return _grey((np.asarray(image).astype(np.uint32) + 128) // 257)  # `convert` would clip: 65535 is white
    if image.mode in ("I", "F"):
        return _grey(_stretched(_finite(image), *ends))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _finite(image: Image.Image) -> np.ndarray:
    values = np.asarray(image, dtype=np.float32)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).clip(-1e30, 1e30)


def _ends(image: Image.Image) -> tuple[float, float]:
    """The smallest and the largest value."""
    low, high = math.inf, -math.inf
    for box in _bands(image):
        values = _finite(image.crop(box))
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high


def _stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Float or 32-bit grey, which has no agreed white: the darkest pixel becomes 0, the brightest 255."""
    return ((values - low) * (255 / (high - low))).round() if high > low else np.full_like(values, 128)


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise InvalidImageError(
            "array",
            f"got an array {array.shape} of {array.dtype}; give (H, W, 3) uint8 RGB",
            shape=str(array.shape),
            dtype=str(array.dtype),
        )
    _check_size((array.shape[1], array.shape[0]))
    return Image.fromarray(np.ascontiguousarray(array))
