"""Label pictures of a data set: read as `seg.labels` reads them, and written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from seg.classes import ClassSet
from seg.labels import InvalidLabelError, label_ids


def read_label(path: Path, classes: ClassSet) -> np.ndarray:
    """A label picture -> (H, W) uint8 ids, as `seg.labels.label_ids`: any format and size that Pillow opens.

    Raises:
        ValueError: no picture, one of another kind, an id or a colour that is none of the classes'; names the file.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
    except Exception as error:  # Pillow lets many kinds escape on damaged files
        raise ValueError(f"{path} cannot be read as a picture: {error}; save the label again") from error
    try:
        return label_ids(picture, classes)
    except InvalidLabelError as error:
        raise ValueError(f"{path} {error}") from error


def indexed_label(ids: np.ndarray, classes: ClassSet) -> Image.Image:
    """(H, W) uint8 ids -> P-mode picture of them with the classes' colours as its palette, as VOC's labels are."""
    picture = Image.fromarray(ids)
    picture.putpalette(classes.colormap.tobytes())
    return picture


def colour_label(ids: np.ndarray, classes: ClassSet) -> Image.Image:
    """(H, W) uint8 ids -> RGB picture in the classes' colours."""
    return Image.fromarray(classes.colormap[ids])
