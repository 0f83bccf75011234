"""The photo a visitor chooses: input, examples, and refusals in the visitor's language."""

from __future__ import annotations

import base64
import hashlib
import html
from pathlib import Path
from typing import Any

import gradio as gr
import skimage
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder
from PIL import Image

from seg.image import FORMATS, MAX_BYTES, MAX_PIXELS, InvalidImageError, read_image
from seg.ui.text import say

_SKIMAGE = Path(skimage.__file__).parent / "data"
_GRADIO = Path(gr.__file__).parent / "media_assets" / "images"
EXAMPLES = [
    str(path)
    for path in (
        _SKIMAGE / "chelsea.png",
        _SKIMAGE / "astronaut.png",
        _SKIMAGE / "motorcycle_left.png",
        _GRADIO / "lion.jpg",
        _SKIMAGE / "coffee.png",
        _SKIMAGE / "rocket.jpg",
    )
    if path.is_file()
]
"""Photographs that come with installed packages."""

ACCEPTED = (
    f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}, "
    f"at most {MAX_BYTES // 1_000_000} MB and {MAX_PIXELS // 1_000_000} megapixels"
)
"""What can be uploaded, in words."""


class PhotoInput(gr.Image):
    """gr.Image that hands on the upload as it came. Gradio's own would decode it, any format, any size."""

    def get_block_name(self) -> str:
        return "image"

    def preprocess(self, payload: ImageData | None) -> str | bytes | None:  # type: ignore[override]
        if payload is None:
            return None
        if payload.url and payload.url.startswith("data:"):
            try:
                return base64.b64decode(payload.url.partition(",")[2])
            except ValueError:
                return b"not base64"  # refused later, as every other file that is no picture
        if payload.path and not uploaded(payload.path):
            raise _refusal("missing", "en")  # Gradio does not check a path that comes without "meta"
        return payload.path

    def api_info(self) -> dict[str, Any]:
        return {**super().api_info(), "additional_description": f"A file: {ACCEPTED}. Addresses are not fetched."}

    def example_payload(self) -> dict[str, Any]:
        """What the API page shows; Gradio's own is an address."""
        return {"path": "photo.jpg", "orig_name": "photo.jpg", "meta": {"_type": "gradio.FileData"}}


def uploaded(path: str) -> bool:
    """Whether this file lies where Gradio keeps what visitors give; a client may send any path."""
    return Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())


def fingerprint(photo: Image.Image) -> str:
    """Tells one photo from every other, whatever its file is called."""
    return hashlib.sha256(f"{photo.size}".encode() + photo.tobytes()).hexdigest()


def open_photo(photo: str | bytes | None, language: str) -> Image.Image:
    """The visitor's photo, upright RGB.

    Raises:
        gr.Error: what is wrong and what to do, in `language`; never a file name or a path.
    """
    if photo is None:
        raise _refusal("none", language)
    try:
        return read_image(photo)
    except InvalidImageError as error:
        raise _refusal(error.reason, language, **error.values) from None


NOTICED_IN_BROWSER = ("bytes", "clipboard", "webcam")
"""Reasons why a photo never leaves the browser: too large, nothing to paste, no camera."""


def refuse(reason: str, language: str) -> None:
    """Say one of `NOTICED_IN_BROWSER`."""
    raise _refusal(reason, language, limit=MAX_BYTES // 1_000_000)


def address_refused() -> gr.Error:
    """What to raise where a client sends an address for this server to fetch."""
    return _refusal("address", "en")


def _refusal(reason: str, language: str, **values: object) -> gr.Error:
    message = html.escape(say(language, f"error_{reason}", **values))
    return gr.Error(message, title=say(language, "error_title"), print_exception=False)
