"""Class sets: what the ids of a label map mean, in English and Chinese, and the colour each one has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

IGNORE_INDEX = 255
"""The id of a pixel without a label: object borders and "difficult" objects in VOC."""


def voc_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """The first `count` colours of the VOC colormap: the bits of the id, dealt out to red, green and blue in turn."""
    colours = []
    for class_id in range(count):
        red = green = blue = 0
        for level in range(8):
            bits = class_id >> (3 * level)
            red |= (bits & 1) << (7 - level)
            green |= (bits >> 1 & 1) << (7 - level)
            blue |= (bits >> 2 & 1) << (7 - level)
        colours.append((red, green, blue))
    return tuple(colours)


SAFE_COLOURS: tuple[tuple[int, int, int], ...] = (
    (136, 0, 255), (255, 238, 136), (0, 102, 34), (170, 170, 255), (204, 102, 136), (136, 0, 102), (136, 255, 238),
    (0, 170, 0),
)  # fmt: skip
"""Eight colours that differ from one another and from black also with protan, deutan and tritan colour blindness.

Found by search for the largest smallest distance: at least 21 in CIEDE2000, where Okabe and Ito's eight have 11. The
order keeps the first ones far apart, because most photos have few classes; violet is first because fur, skin, grass
and sky hardly have it.
"""


def _patterns() -> np.ndarray:
    y, x = np.mgrid[:8, :8]
    rising, falling, level, upright = ((at % 8) < 2 for at in (x + y, x - y, y, x))
    none, dots = np.zeros((8, 8), bool), (x - 3.5) ** 2 + (y - 3.5) ** 2 < 6
    return np.stack([none, rising, level, dots, falling, upright, level | upright, rising | falling])


PATTERNS = _patterns()
"""(8, 8, 8) bool: for each pattern a tile of 8 x 8 and where it has ink; number 0 has none."""


class Look(NamedTuple):
    """How a class looks in the view for the colour-blind: a colour, and the number of a pattern drawn on it."""

    colour: tuple[int, int, int]
    pattern: int

    @property
    def ink(self) -> tuple[int, int, int]:
        """Black or white, whichever stands out from the colour."""
        red, green, blue = self.colour
        return (0, 0, 0) if 0.3 * red + 0.6 * green + 0.1 * blue > 100 else (255, 255, 255)


def safe_looks(ids: Iterable[int]) -> dict[int, Look]:
    """For each id a look of its own, colour and pattern dealt out in the order of `ids`.

    Up to eight ids differ both in colour and in pattern, up to 64 in one of the two. Id 0, the background, is black
    and has no pattern.
    """
    looks = {}
    for place, class_id in enumerate(dict.fromkeys(i for i in ids if i)):
        turn, colour = divmod(place, len(SAFE_COLOURS))
        looks[class_id] = Look(SAFE_COLOURS[colour], (colour + turn) % len(PATTERNS))
    return looks


@dataclass(frozen=True)
class ClassSet:
    """Names and colours of K classes; the position in the tuples is the class id, id 0 is the background.

    Attributes:
        name: short name of the set, for example "voc".
        names: English names, unique; the keys of every table and API answer.
        names_zh: Chinese names, one per class.
        colours: RGB, 0..255 each.
    """

    name: str
    names: tuple[str, ...]
    names_zh: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= IGNORE_INDEX:
            raise ValueError(f"class set '{self.name}' needs 2 to {IGNORE_INDEX} classes, got {len(self.names)}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"class set '{self.name}' names a class twice")
        if not len(self.names) == len(self.names_zh) == len(self.colours):
            raise ValueError(
                f"class set '{self.name}': {len(self.names)} names, {len(self.names_zh)} Chinese names and "
                f"{len(self.colours)} colours; give one of each per class"
            )
        for name, colour in zip(self.names, self.colours, strict=True):
            if len(colour) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in colour):
                raise ValueError(f"colour of class '{name}' must be three integers 0..255, got {colour}")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def colormap(self) -> np.ndarray:
        """(256, 3) uint8, read-only: row i is the colour of id i; unused ids are black, IGNORE_INDEX is VOC's cream."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = self.colours
        table[IGNORE_INDEX] = (224, 224, 192)
        table.setflags(write=False)
        return table

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "names": list(self.names),
            "names_zh": list(self.names_zh),
            "colours": [list(colour) for colour in self.colours],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClassSet:
        """Read back `to_dict`; Chinese names and colours may be missing (English names, VOC colours then)."""
        names: Sequence[str] = values["names"]
        return cls(
            name=values["name"],
            names=tuple(names),
            names_zh=tuple(values.get("names_zh") or names),
            colours=tuple(tuple(colour) for colour in values.get("colours") or voc_colours(len(names))),
        )


_VOC_NAMES = (
    ("background", "背景"), ("aeroplane", "飞机"), ("bicycle", "自行车"), ("bird", "鸟"), ("boat", "船"),
    ("bottle", "瓶子"), ("bus", "公交车"), ("car", "汽车"), ("cat", "猫"), ("chair", "椅子"), ("cow", "牛"),
    ("diningtable", "餐桌"), ("dog", "狗"), ("horse", "马"), ("motorbike", "摩托车"), ("person", "人"),
    ("pottedplant", "盆栽"), ("sheep", "羊"), ("sofa", "沙发"), ("train", "火车"), ("tvmonitor", "显示器"),
)  # fmt: skip

VOC = ClassSet(
    name="voc",
    names=tuple(english for english, _ in _VOC_NAMES),
    names_zh=tuple(chinese for _, chinese in _VOC_NAMES),
    colours=voc_colours(len(_VOC_NAMES)),
)
"""PASCAL VOC 2012: background and 20 classes."""
