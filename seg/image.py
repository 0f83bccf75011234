"""The one place that opens a picture from outside: path, bytes, PIL image or array -> upright RGB within limits.

Photos become upright RGB (`read_image`); label pictures, whose values are ids, come as they are stored
(`read_stored`). Limits and refusals are the same for both.
"""

from __future__ import annotations

import io
import os
import struct
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
        return _decode(photo)
    with _source(photo) as source:
        return _decode(_open(source, FORMATS))


def read_stored(picture: str | os.PathLike[str] | bytes) -> Image.Image:
    """Open a PNG without converting anything: its mode, values and palette are what the file holds.

    For label pictures: a grey or palette value is a class id there, and every conversion would change ids.

    Raises:
        InvalidImageError: as `read_image`, and for every other format.
    """
    with _source(picture) as source:
        image = _open(source, STORED_FORMATS)
        try:
            image.load()
        except _DECODER_ERRORS as error:
            raise _damaged() from error
        return image


def _source(photo: str | os.PathLike[str] | bytes) -> io.BytesIO | io.BufferedReader:
    if isinstance(photo, bytes):
        return io.BytesIO(photo)
    if isinstance(photo, str | os.PathLike):
        return _open_file(Path(photo))
    raise InvalidImageError("missing", f"got {type(photo).__name__} instead of a photo; choose a photo", path="")


def _open(source: io.BytesIO | io.BufferedReader, formats: tuple[str, ...]) -> Image.Image:
    """The picture in an open file, of acceptable size, not decoded yet."""
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    if size == 0:
        raise InvalidImageError("empty", "the file is empty; choose a photo")
    if size > MAX_BYTES:
        raise InvalidImageError(
            "bytes",
            f"the file has {size / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} MB are accepted: save it smaller",
            megabytes=f"{size / 1e6:.0f}",
            limit=f"{MAX_BYTES / 1e6:.0f}",
        )
    try:
        image = Image.open(source, formats=list(formats))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's own, wider limit
        raise _too_many_pixels(f"more than {MAX_PIXELS / 1e6:.0f}") from error
    except _DECODER_ERRORS as error:
        if formats == STORED_FORMATS:
            raise InvalidImageError("not_png", "this is not a PNG; save the label picture as PNG") from error
        raise InvalidImageError(
            "not_image",
            "this is not a picture that can be opened; use a JPEG, PNG, WebP, GIF, BMP or TIFF file",
        ) from error
    _check_size(image.size)
    return image


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
    try:
        image.load()
        rgb = _to_rgb(image)
        turn = _UPRIGHT.get(_orientation(image))
        rgb = rgb if turn is None else rgb.transpose(turn)
    except _DECODER_ERRORS as error:
        raise _damaged() from error
    clean = Image.new("RGB", rgb.size)  # a new picture carries no metadata
    clean.paste(rgb)
    return clean


def _damaged() -> InvalidImageError:
    return InvalidImageError("damaged", "the picture is damaged or cut off; open it in a viewer and save it again")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. Unreadable EXIF does not make good pixels bad: it counts as upright."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DECODER_ERRORS:
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _grey((np.asarray(image).astype(np.uint32) + 128) // 257)  # `convert` would clip: 65535 is white
    if image.mode in ("I", "F"):
        return _grey(_stretched(np.asarray(image, dtype=np.float32)))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _stretched(values: np.ndarray) -> np.ndarray:
    """Float or 32-bit grey, which has no agreed white: the darkest pixel becomes 0, the brightest 255."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).clip(-1e30, 1e30)
    low, high = float(values.min()), float(values.max())
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
