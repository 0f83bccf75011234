"""Labels as ids, however they were drawn: pictures of ids (one channel) or of the classes' colours (RGB)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from seg.classes import IGNORE_INDEX, ClassSet

_ID_MODES = ("1", "L", "P", "I", "I;16")


def read_label(path: Path, classes: ClassSet) -> np.ndarray:
    """A label picture -> (H, W) uint8 ids, IGNORE_INDEX where nothing is labelled.

    One channel (grey, or indexed with any palette) holds ids, three hold the colours of `classes`; of four the last
    is passed over. In colours, "no label" is VOC's cream (224, 224, 192), unless a class has that colour.

    Raises:
        ValueError: no picture, one of another kind, an id or a colour that is none of the classes'; names the file.
    """
    try:
        with Image.open(path) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except Exception as error:  # Pillow lets many kinds escape on damaged files
        raise ValueError(f"{path} cannot be read as a picture: {error}; save the label again") from error
    if mode in _ID_MODES:
        return _known_ids(values, path, classes)
    if mode in ("RGB", "RGBA"):
        return _ids_of_colours(values[..., :3], path, classes)
    raise ValueError(f"{path} is a picture of mode {mode}; save labels as an indexed, grey or RGB PNG")


def indexed_label(ids: np.ndarray, classes: ClassSet) -> Image.Image:
    """(H, W) uint8 ids -> P-mode picture of them with the classes' colours as its palette, as VOC's labels are."""
    picture = Image.fromarray(ids)
    picture.putpalette(classes.colormap.tobytes())
    return picture


def colour_label(ids: np.ndarray, classes: ClassSet) -> Image.Image:
    """(H, W) uint8 ids -> RGB picture in the classes' colours."""
    return Image.fromarray(classes.colormap[ids])


def _known_ids(values: np.ndarray, path: Path, classes: ClassSet) -> np.ndarray:
    unknown = [int(i) for i in np.unique(values) if not (0 <= i < len(classes) or i == IGNORE_INDEX)]
    if unknown:
        raise ValueError(f"{path} has id {_first(unknown)}; there are {len(classes)} classes in '{classes.name}'")
    return values.astype(np.uint8)


def _ids_of_colours(rgb: np.ndarray, path: Path, classes: ClassSet) -> np.ndarray:
    codes, ids = _colour_codes(classes)
    found = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)  # (H, W), one number per colour
    nearest = np.searchsorted(codes, found).clip(max=len(codes) - 1)
    unknown = np.unique(found[codes[nearest] != found])
    if len(unknown):
        colours = _first([(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in unknown])
        raise ValueError(f"{path} has colour {colours}, of no class in '{classes.name}'; list it in the class file")
    return ids[nearest]


@cache
def _colour_codes(classes: ClassSet) -> tuple[np.ndarray, np.ndarray]:
    """Colours as 24-bit numbers, sorted, and the id of each."""
    table: dict[int, int] = {}
    for class_id, (red, green, blue) in enumerate(classes.colours):
        other = table.setdefault(red << 16 | green << 8 | blue, class_id)
        if other != class_id:
            raise ValueError(
                f"class set '{classes.name}' gives {classes.names[other]} and {classes.names[class_id]} one colour, "
                "so labels in colours cannot be read; change one in the class file"
            )
    red, green, blue = (int(c) for c in classes.colormap[IGNORE_INDEX])
    table.setdefault(red << 16 | green << 8 | blue, IGNORE_INDEX)
    codes = np.array(sorted(table), np.uint32)
    return codes, np.array([table[int(code)] for code in codes], np.uint8)


def _first(values: list, count: int = 3) -> str:
    return ", ".join(map(str, values[:count])) + (f" and {len(values) - count} more" if len(values) > count else "")
