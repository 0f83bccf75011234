"""The shape of an answer, in numbers: how much outline, how many pieces, holes, and how much is thin.

Two networks may label the same share of a photo as cat and still draw it differently. These measures say how, without
a label: they tell answers apart, they do not say which is right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from skimage.measure import label as components

from seg.metrics import distance_to
from seg.render import outlines

THIN = 0.02  # of the diagonal: what a disc of this radius does not fit into is thin


@dataclass(frozen=True)
class Shape:
    """The shape of one label map.

    Attributes:
        outline: outline pixels per thousand pixels of things; nan where nothing but background is found.
        pieces: connected regions of one class, background left out; pixels touch by their sides.
        holes: background regions enclosed by things, not touching the picture's edge; pixels touch by sides or corners.
        thin: (H, W) bool, pixels of things into which no disc of the radius fits.
        thin_share: their share of the pixels of things; nan where nothing but background is found.
    """

    outline: float
    pieces: int
    holes: int
    thin: np.ndarray
    thin_share: float


def shape_of(label_map: np.ndarray) -> Shape:
    """Measure one label map (H, W) uint8; id 0 is the background."""
    things = label_map != 0
    count = int(things.sum())
    thin = thin_parts(things, THIN * math.hypot(*label_map.shape))
    return Shape(
        outline=1000 * float(outlines(label_map).sum()) / count if count else math.nan,
        pieces=int(components(label_map, background=0, connectivity=1).max()),
        holes=count_holes(things),
        thin=thin,
        thin_share=float(thin.sum()) / count if count else math.nan,
    )


def count_holes(things: np.ndarray) -> int:
    """Regions of False in a mask (H, W) that do not touch the picture's edge."""
    regions = components(~things, background=0, connectivity=2)
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    return int(regions.max()) - len(np.setdiff1d(edge, [0]))


def thin_parts(mask: np.ndarray, radius: float) -> np.ndarray:
    """(H, W) bool: pixels of the mask that no disc inside it covers: the mask without its opening.

    A disc of whole pixels: those at most `radius` (rounded down, at least 1) away from its middle. Outside the picture
    the mask is taken to go on, as the thing in the photo does.
    """
    reach = max(1, math.floor(radius))
    middles = distance_to(~mask, reach + 1) > reach  # where a disc fits
    return mask & ~(distance_to(middles, reach + 1) <= reach)


def busiest(mask: np.ndarray, size: int) -> tuple[int, int]:
    """(x, y) of the upper left corner of the square of this side with the most True pixels, inside the mask (H, W)."""
    height, width = mask.shape
    size = min(size, height, width)
    sums = np.zeros((height + 1, width + 1), np.int64)
    sums[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    inside = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    return int(x), int(y)
