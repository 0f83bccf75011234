"""Files to take home, made when asked for, at the photo's own size."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

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
    """Write into Gradio's cache, under a folder named by the content, and return the path; the cache is emptied.

    What is there already stays as it is, and new files appear whole: Gradio's own function would write a file again in
    place, while another answer of the same content may be on its way out of it.
    """
    folder = Path(get_upload_folder()).resolve() / hashlib.sha256(data).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    if file.exists():
        os.utime(file)  # its age, by which the cache is emptied, counts from now
        return str(file)
    with NamedTemporaryFile(dir=folder, delete=False) as part:
        part.write(data)
    return str(Path(part.name).replace(file))
