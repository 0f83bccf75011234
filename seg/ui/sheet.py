"""Lab sheets: a ZIP with a photo, its label, every chosen network's answer, and what is needed to open it again.

A sheet that comes back is not trusted: sizes and entries are bounded before anything is unpacked, nothing is written
to disk under a name from inside, and only `settings.json`, the photo and the label are looked at.
"""

from __future__ import annotations

import csv
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from seg.card import ModelCard
from seg.coco import categories, coco_annotations
from seg.explain.truth import nearest, score, scored_size
from seg.image import MAX_BYTES
from seg.predictor import Segmentation
from seg.render import overlay, to_indexed
from seg.ui.downloads import labels_png, png

FORMAT = "seglab lab sheet 1"
SETTINGS, LABEL = "settings.json", "label.png"
PHOTOS = ("photo.png", "photo.jpg")
MAX_ENTRIES = 64
MAX_DIRECTORY = 32_000  # bytes of the ZIP's table of contents
MAX_SETTINGS = 100_000  # bytes
MAX_PHOTO = 18_000_000  # bytes; above it the photo becomes a JPEG, so that the sheet can be uploaded again
MAX_OVERLAY = 1600  # long side, pixels
_END = struct.Struct("<4s4H2LH")  # the record that ends a ZIP: signature, ..., size of the table of contents, ...

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, IndexError, OverflowError,
               NotImplementedError, RuntimeError, struct.error, UnicodeError)  # fmt: skip


class SheetError(ValueError):
    """A ZIP that cannot be opened as a lab sheet.

    Attributes:
        reason: a key that a page can translate: "damaged", "foreign", "large".
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Sheet:
    """What a sheet says. Nothing in it has been checked but its kind.

    Attributes:
        photo: the picture's bytes.
        label: bytes of the label PNG, None where the sheet has none.
        lesson: key of a lesson.
        controls: values of that lesson's controls by name.
        point: where somebody pointed.
    """

    photo: bytes
    label: bytes | None
    lesson: str
    controls: dict[str, Any]
    point: Any


def write_sheet(
    photo: Image.Image,
    results: Sequence[tuple[Segmentation, ModelCard]],
    *,
    label: np.ndarray | None,
    lesson: str,
    controls: dict[str, Any],
    point: Sequence[float],
) -> bytes:
    """The sheet of one view.

    Args:
        photo: upright RGB.
        results: at least one network's answer, all with the same classes.
        label: (H, W) uint8 ids of the photo's size, where there is a label.
        lesson, controls, point: as in `Sheet`.
    """
    classes = results[0][0].class_set
    name, data = _photo_file(photo)
    files = {name: data}
    if label is not None:
        files[LABEL] = png(to_indexed(label, classes))
    for result, card in results:
        files[f"{card.name}_labels.png"] = labels_png(result)
        files[f"{card.name}_overlay.jpg"] = _small_jpeg(overlay(photo, result.label_map, classes))
        files[f"{card.name}_coco.json"] = _json(_coco(name, result))
    files["scores.csv"] = _csv(results, label).encode()
    settings = {
        "format": FORMAT,
        "lesson": lesson,
        "controls": controls,
        "point": list(point),
        "networks": [{"name": card.name, "title": card.title, "weights": card.weights} for _, card in results],
        "classes": classes.to_dict(),
    }
    files[SETTINGS] = _json(settings)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file_name, content in files.items():
            archive.writestr(file_name, content)
    return buffer.getvalue()


def read_sheet(data: bytes) -> Sheet:
    """What a ZIP says, if it is a lab sheet.

    Raises:
        SheetError: too large, damaged, or another kind of file.
    """
    if len(data) > MAX_BYTES:
        raise SheetError("large", f"the sheet has more than {MAX_BYTES} bytes")
    if len(data) < _END.size or data[-_END.size :][:4] != b"PK\5\6":
        raise SheetError("foreign", "this is no lab sheet")
    directory, comment = _END.unpack(data[-_END.size :])[5::2]
    if comment or directory > MAX_DIRECTORY or data[-_END.size - 20 :][:4] == b"PK\6\7":  # ZIP64
        raise SheetError("foreign", "this ZIP is no lab sheet")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(names) > MAX_ENTRIES or len(set(names)) != len(names) or SETTINGS not in names:
                raise SheetError("foreign", "this ZIP is no lab sheet")
            settings = json.loads(_unpack(archive, SETTINGS, MAX_SETTINGS))
            photo = next((_unpack(archive, name, MAX_BYTES) for name in PHOTOS if name in names), None)
            label = _unpack(archive, LABEL, MAX_BYTES) if LABEL in names else None
    except SheetError:
        raise
    except (*_ZIP_ERRORS, RecursionError) as error:
        raise SheetError("damaged", "the sheet is damaged or cut off") from error
    known = isinstance(settings, dict) and settings.get("format") == FORMAT
    if not known or photo is None or not isinstance(settings.get("lesson"), str):
        raise SheetError("foreign", "this ZIP is no lab sheet")
    controls = settings.get("controls")
    return Sheet(
        photo, label, settings["lesson"], controls if isinstance(controls, dict) else {}, settings.get("point")
    )


def _unpack(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The content of one entry, of at most `most` bytes whatever its header says."""
    entry = archive.getinfo(name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.file_size > most:
        raise SheetError("large", f"{name} is larger than {most} bytes")
    with archive.open(entry) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise SheetError("large", f"{name} is larger than {most} bytes")
    return content


def _photo_file(photo: Image.Image) -> tuple[str, bytes]:
    """The photo without loss where that is small enough, else as a JPEG."""
    content = png(photo)
    if len(content) <= MAX_PHOTO:
        return PHOTOS[0], content
    for quality in (92, 80, 60, 40):
        content = _jpeg(photo, quality)
        if len(content) <= MAX_PHOTO:
            break
    return PHOTOS[1], content


def _small_jpeg(picture: Image.Image) -> bytes:
    small = picture.copy()
    small.thumbnail((MAX_OVERLAY, MAX_OVERLAY), Image.Resampling.LANCZOS)
    return _jpeg(small, 90)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _coco(photo_name: str, result: Segmentation) -> dict[str, Any]:
    height, width = result.label_map.shape
    return {
        "images": [{"id": 1, "file_name": photo_name, "width": width, "height": height}],
        "annotations": coco_annotations(result.label_map, image_id=1),
        "categories": categories(result.class_set),
    }


def _csv(results: Sequence[tuple[Segmentation, ModelCard]], label: np.ndarray | None) -> str:
    """One figure a row: network, measure, class, value; scores only where there is a label."""
    rows: list[tuple[str, str, str, float]] = []
    for result, card in results:
        rows += [(card.name, "share", name, share) for name, share in result.class_areas.items()]
        if label is None:
            continue
        size = scored_size(*label.shape)
        found = score(nearest(label, size), nearest(result.label_map, size), len(result.class_set))
        rows += [(card.name, "iou", name, iou) for name, iou in zip(result.class_set.names, found.iou, strict=True)]
        totals = (("miou", found.miou), ("pixel_acc", found.pixel_acc), ("boundary_f", found.boundary_f))
        rows += [(card.name, measure, "", value) for measure, value in totals]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["network", "measure", "class", "value"])
    writer.writerows((*map(_plain, row[:3]), f"{row[3]:.6f}") for row in rows if not math.isnan(row[3]))
    return buffer.getvalue()


def _plain(name: str) -> str:
    """A name that no spreadsheet takes for a formula: class names come from cards, and those from anybody."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
