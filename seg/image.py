"""The one place where a picture from outside is opened: path, bytes, PIL image or array -> upright RGB within limits."""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps

Photo: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | np.ndarray

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # what a camera or browser makes; Pillow's EPS starts programs
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


class InvalidImageError(ValueError):
    """A picture that cannot be used.

    Attributes:
        reason: a key that a page can translate: "empty", "bytes", "not_image", "damaged", "pixels", "side", "aspect",
            "tiny", "array", "missing".
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
    source = io.BytesIO(photo) if isinstance(photo, bytes) else _open_file(Path(photo))
    with source:
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the limits below are ours
            try:
                image = Image.open(source, formats=FORMATS)
            except _DECODER_ERRORS as error:
                raise InvalidImageError(
                    "not_image",
                    "this is not a picture that can be opened; use a JPEG, PNG, WebP, GIF, BMP or TIFF file",
                ) from error
            _check_size(image.size)
            return _decode(image)


def _open_file(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidImageError(
            "missing", f"cannot open {path}: {error.strerror}; give the path of a photo", path=str(path)
        ) from error


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    shape = f"{width} x {height}"
    if min(size) < MIN_SIDE:
        raise InvalidImageError(
            "tiny", f"the picture is {shape} pixels; each side needs at least {MIN_SIDE}", size=shape, limit=MIN_SIDE
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
        raise InvalidImageError(
            "pixels",
            f"the picture has {width * height / 1e6:.0f} megapixels; at most {MAX_PIXELS / 1e6:.0f} are accepted: "
            "make it smaller",
            megapixels=f"{width * height / 1e6:.0f}",
            limit=f"{MAX_PIXELS / 1e6:.0f}",
        )


def _decode(image: Image.Image) -> Image.Image:
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        rgb = _to_rgb(upright)
    except _DECODER_ERRORS as error:
        raise InvalidImageError(
            "damaged", "the picture is damaged or cut off; open it in a viewer and save it again"
        ) from error
    clean = Image.new("RGB", rgb.size)  # a new picture carries no metadata
    clean.paste(rgb)
    return clean


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):  # 16 bits and more: scale, `convert` would clip
        return _scaled_to_8_bits(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low = min(0.0, float(values.min()))
    high = float(values.max())
    full = next((limit for limit in (255.0, 65535.0) if high <= limit), high)  # 8 or 16 bits used, else stretched
    return Image.fromarray(((values - low) / max(full - low, 1e-12) * 255).round().astype(np.uint8))


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
