"""Files to take home, made when asked for, at the photo's own size."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

from seg.card import ModelCard
from seg.predictor import Segmentation
from seg.render import disagreement, disagreement_picture, overlay, to_indexed, triptych
from seg.ui.payload import class_ids, facts


def png(picture: Image.Image) -> bytes:
    """The picture as PNG, without metadata."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def labels_png(result: Segmentation) -> bytes:
    """The indexed PNG: values are class ids."""
    return png(to_indexed(result.label_map, result.class_set))


def overlay_png(photo: Image.Image, result: Segmentation) -> bytes:
    """The photo with its classes tinted and outlined."""
    return png(overlay(photo, result.label_map, result.class_set))


def zip_all(photo: Image.Image, results: Sequence[tuple[Segmentation, ModelCard]]) -> bytes:
    """A ZIP with indexed PNG, overlay and figure per network, the photo, the numbers, and where the networks differ."""
    files: dict[str, bytes] = {"photo.png": png(photo)}
    numbers: dict[str, Any] = {"class_ids": class_ids(results[0][0].class_set), "networks": []}
    for result, card in results:
        files[f"{card.name}_labels.png"] = labels_png(result)
        files[f"{card.name}_overlay.png"] = overlay_png(photo, result)
        figure = triptych(photo, result.label_map, result.class_set, title=card.title)
        files[f"{card.name}_figure.png"] = png(figure)
        numbers["networks"].append(facts(result, card))
    if len(results) > 1:
        codes = disagreement([result.label_map for result, _ in results])
        files["disagreement.png"] = png(disagreement_picture(codes, count=len(results)))
    files["numbers.json"] = json.dumps(numbers, ensure_ascii=False, indent=1).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def to_cache(data: bytes, name: str) -> str:
    """Write into Gradio's cache, under a folder named by the content, and return the path; the cache is emptied."""
    return save_bytes_to_cache(data, name, str(Path(get_upload_folder())))
