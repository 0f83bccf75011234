"""One photo's answer against a label of it: overlap per class, borders, and what of it lies near label borders."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from seg.classes import IGNORE_INDEX
from seg.metrics import BoundaryF, ConfusionMatrix, TrimapBands

WIDTHS = 20  # of the widest band along label borders, pixels
MAX_SCORED = 1_000_000  # pixels; larger pictures are thinned out first, so that an answer takes seconds


@dataclass(frozen=True)
class Score:
    """How one label map lies on one label. What does not occur is nan.

    Attributes:
        iou: (K,) float64 per class, nan where neither the label nor the network has it.
        miou: mean of `iou` over the classes that occur.
        pixel_acc: share of the labelled pixels that are right.
        boundary_f: mean contour F-measure over the classes that occur.
        band_miou: (WIDTHS,) mIoU of the labelled pixels in the band 1, 2, ... pixels wide along label borders.
    """

    iou: np.ndarray
    miou: float
    pixel_acc: float
    boundary_f: float
    band_miou: np.ndarray


def score(target: np.ndarray, label_map: np.ndarray, num_classes: int) -> Score:
    """Measure one answer, target and label map (H, W) uint8; pixels whose target is IGNORE_INDEX do not count.

    Raises:
        ValueError: different shapes, or an id outside 0..num_classes - 1.
    """
    confusion = ConfusionMatrix(num_classes)
    trimap, boundary = TrimapBands(num_classes, WIDTHS), BoundaryF(num_classes)
    for measure in (confusion, trimap, boundary):
        measure.update(target, label_map)
    bands = np.array([band.miou for band in trimap.bands])
    return Score(confusion.iou, confusion.miou, confusion.pixel_acc, boundary.mean, bands)


def wrong_pixels(target: np.ndarray, label_map: np.ndarray) -> np.ndarray:
    """(H, W) bool: labelled, and with another id than the label's."""
    return (target != IGNORE_INDEX) & (target != label_map)


def scored_size(height: int, width: int) -> tuple[int, int]:
    """(h, w) at which a picture is scored: its own, or with the same shape and at most MAX_SCORED pixels."""
    scale = min(1.0, math.sqrt(MAX_SCORED / (height * width)))
    return max(1, int(height * scale)), max(1, int(width * scale))


def nearest(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Ids (H, W) at another size (h, w): every pixel takes the id under its centre, because ids cannot be mixed."""
    if ids.shape == size:
        return ids
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp) for new, old in zip(size, ids.shape, strict=True)
    )
    return np.ascontiguousarray(ids[rows][:, columns])
