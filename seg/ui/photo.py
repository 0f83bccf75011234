"""The photo a visitor chooses: input, examples, and refusals in the visitor's language."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gradio as gr
import skimage
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like
from PIL import Image

from seg.image import FORMATS, MAX_BYTES, MAX_PIXELS, InvalidImageError, read_image
from seg.predictor import PreparedPhoto
from seg.ui import log
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


class Refusal(gr.Error):
    """What is wrong and what to do, in the visitor's language.

    Attributes:
        reason: the same in one word, for the log.
    """

    def __init__(self, reason: str, language: str, **values: object) -> None:
        """Say `error_<reason>` of `seg.ui.text`."""
        message = html.escape(say(language, f"error_{reason}", **values))
        super().__init__(message, title=say(language, "error_title"), print_exception=False)
        self.reason = reason


gr.component_meta.create_or_modify_pyi = lambda *_: None  # Gradio would write a file beside this one at every start


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
            raise turned_away("missing")  # Gradio does not check a path that comes without "meta"
        return payload.path

    def api_info(self) -> dict[str, Any]:
        return {**super().api_info(), "additional_description": f"A file: {ACCEPTED}. Addresses are not fetched."}

    def example_payload(self) -> dict[str, Any]:
        """What the API page shows; Gradio's own is an address."""
        return {"path": "photo.jpg", "orig_name": "photo.jpg", "meta": {"_type": "gradio.FileData"}}

    async def async_move_resource_to_block_cache(self, url_or_file_path: str | Path | None) -> str | None:
        """Gradio would fetch an address for the visitor. This page asks no other machine for anything.

        Agents know nothing but addresses, so that of a photo uploaded here stands for the photo.
        """
        if is_http_url_like(str(url_or_file_path)):
            url_or_file_path = unquote(str(url_or_file_path).partition("/gradio_api/file=")[2])
            if not url_or_file_path or not uploaded(url_or_file_path):
                raise turned_away("address")
        return await super().async_move_resource_to_block_cache(url_or_file_path)


class FromAgents(set):
    """Files that Gradio makes of the data: addresses that agents send, and then forgets.

    As one of the page's `temp_file_sets` it reminds Gradio of them, so that they are deleted as all others are.
    """

    def __iter__(self) -> Iterator[str]:
        files = Path(get_upload_folder()).glob("*/file*")
        return (str(file) for file in files if re.fullmatch("[0-9a-f]{64}", file.parent.name))


def uploaded(path: str) -> bool:
    """Whether this file lies where Gradio keeps what visitors give; a client may send any path."""
    return Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())


def fingerprint(photo: Image.Image) -> str:
    """Tells one photo from every other, whatever its file is called."""
    return hashlib.sha256(f"{photo.size}".encode() + photo.tobytes()).hexdigest()


class SharedPhoto(PreparedPhoto):
    """A visitor's photo for several networks; its fingerprint, too, is taken once."""

    @cached_property
    def fingerprint(self) -> str:
        """As the function above says."""
        return fingerprint(self.image)


def open_photo(photo: str | bytes | None, language: str) -> Image.Image:
    """The visitor's photo, upright RGB.

    Raises:
        gr.Error: what is wrong and what to do, in `language`; never a file name or a path.
    """
    if photo is None:
        raise Refusal("none", language)
    try:
        image = read_image(photo)
    except InvalidImageError as error:
        raise Refusal(error.reason, language, **error.values) from None
    log.saw(image)
    return image


NOTICED_IN_BROWSER = ("bytes", "clipboard", "webcam")
"""Reasons why a photo never leaves the browser: too large, nothing to paste, no camera."""


def refuse(reason: str, language: str) -> None:
    """Say one of `NOTICED_IN_BROWSER`."""
    raise Refusal(reason, language, limit=MAX_BYTES // 1_000_000)


def turned_away(reason: str, endpoint: str = "photo") -> Refusal:
    """A photo that Gradio hands over does not even reach the request it came with: it gets a line in the log here."""
    refusal = Refusal(reason, "en", limit=MAX_BYTES // 1_000_000)
    with suppress(Refusal), log.request(endpoint):
        raise refusal
    return refusal
