"""Label pictures as ids, however they were drawn: pictures of ids (one channel) or of the classes' colours (RGB)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from seg.classes import IGNORE_INDEX, ClassSet
from seg.image import read_stored

_ID_MODES = ("1", "L", "P", "I", "I;16")
_BAND = 1 << 20  # pixels whose colours are looked up at a time, to bound the memory


class InvalidLabelError(ValueError):
    """A label picture that cannot be understood.

    Attributes:
        reason: a key that a page can translate: "ids", "colours", "mode", "palette", "twins".
        values: what stands in the message.
    """

    def __init__(self, reason: str, message: str, **values: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.values = values


def read_label(picture: str | os.PathLike[str] | bytes, classes: ClassSet) -> np.ndarray:
    """A label PNG from outside -> (H, W) uint8 ids, IGNORE_INDEX where nothing is labelled. See `label_ids`.

    A drawing program may number the colours of an indexed picture anew. Such a picture's numbers and its colours name
    different classes, and it is refused.

    Raises:
        InvalidImageError: not a PNG, damaged, or beyond the limits of `seg.image`.
        InvalidLabelError: an id or a colour that is none of the classes', or ids that contradict their colours.
    """
    image = read_stored(picture)
    ids = label_ids(image, classes)
    if image.mode == "P":
        _check_palette(image, ids, classes)
    return ids


def label_ids(picture: Image.Image, classes: ClassSet) -> np.ndarray:
    """A label picture -> (H, W) uint8 ids, IGNORE_INDEX where nothing is labelled.

    One channel (grey, or indexed with any palette) holds ids, three hold the colours of `classes`; of four the last
    is passed over. In colours, "no label" is VOC's cream (224, 224, 192), unless a class has that colour.

    Raises:
        InvalidLabelError: a picture of another kind, an id or a colour that is none of the classes'.
    """
    values = np.asarray(picture)
    if picture.mode in _ID_MODES:
        return _known_ids(values, classes)
    if picture.mode in ("RGB", "RGBA"):
        return _ids_of_colours(values[..., :3], classes)
    raise InvalidLabelError(
        "mode", f"is a picture of mode {picture.mode}; save labels as an indexed, grey or RGB PNG", mode=picture.mode
    )


def _known_ids(values: np.ndarray, classes: ClassSet) -> np.ndarray:
    known = np.unique(values)
    unknown = known[(known < 0) | (known >= len(classes)) & (known != IGNORE_INDEX)]
    if len(unknown):
        found = _first(unknown, str)
        raise InvalidLabelError(
            "ids", f"has id {found}; there are {len(classes)} classes in '{classes.name}'", found=found
        )
    return values.astype(np.uint8)


def _ids_of_colours(rgb: np.ndarray, classes: ClassSet) -> np.ndarray:
    codes, ids = _colour_codes(classes)
    result = np.empty(rgb.shape[:2], np.uint8)
    seen = np.zeros(1 << 24, bool)  # colours that no class has
    rows = max(1, _BAND // rgb.shape[1])
    for top in range(0, len(rgb), rows):
        band = slice(top, top + rows)
        found = rgb[band].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)  # (b, W), a number per colour
        nearest = np.searchsorted(codes, found).clip(max=len(codes) - 1)
        seen[found[codes[nearest] != found]] = True
        result[band] = ids[nearest]
    unknown = np.flatnonzero(seen)
    if len(unknown):
        colours = _first(unknown, lambda c: str((c >> 16, c >> 8 & 255, c & 255)))
        raise InvalidLabelError(
            "colours",
            f"has colour {colours}, of no class in '{classes.name}'; list it in the class file",
            found=colours,
        )
    return result


def _check_palette(picture: Image.Image, ids: np.ndarray, classes: ClassSet) -> None:
    """Refuse an id that is drawn in another class's colour. Colours of no class (greys, random ones) say nothing."""
    entries = picture.getpalette("RGB") or []
    for class_id in np.unique(ids).tolist():
        colour = tuple(entries[3 * class_id : 3 * class_id + 3])
        if colour in classes.colours and colour != tuple(classes.colormap[class_id]):
            raise InvalidLabelError(
                "palette", "has numbers and colours that name different classes; save it as an RGB PNG, in the colours"
            )


@cache
def _colour_codes(classes: ClassSet) -> tuple[np.ndarray, np.ndarray]:
    """Colours as 24-bit numbers, sorted, and the id of each."""
    table: dict[int, int] = {}
    for class_id, (red, green, blue) in enumerate(classes.colours):
        other = table.setdefault(red << 16 | green << 8 | blue, class_id)
        if other != class_id:
            raise InvalidLabelError(
                "twins",
                f"is in colours, but class set '{classes.name}' gives {classes.names[other]} and "
                f"{classes.names[class_id]} one colour, so it cannot be read; change one in the class file",
            )
    red, green, blue = (int(c) for c in classes.colormap[IGNORE_INDEX])
    table.setdefault(red << 16 | green << 8 | blue, IGNORE_INDEX)
    codes = np.array(sorted(table), np.uint32)
    return codes, np.array([table[int(code)] for code in codes], np.uint8)


def _first(values: np.ndarray, write: Callable[[int], str], count: int = 3) -> str:
    """The first of many in words; a picture may hold millions of wrong colours."""
    more = f" and {len(values) - count} more" if len(values) > count else ""
    return ", ".join(write(int(value)) for value in values[:count]) + more
