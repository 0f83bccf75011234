"""COCO's way to write masks: annotations with run lengths, which its tools read.

The format is that of the COCO API (`pycocotools`, `mask.py`): a mask is read column by column, from top to bottom, and
`counts` are the lengths of its runs, the first one of zeros (0 where the first pixel is set).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seg.classes import IGNORE_INDEX, ClassSet


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Bool mask (H, W) -> {"size": [H, W], "counts": [...]}, uncompressed run lengths in column-major order."""
    flat = np.asarray(mask, bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(edges).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def coco_annotations(label_map: np.ndarray, *, image_id: int, first_id: int = 1) -> list[dict[str, Any]]:
    """One annotation per class that occurs, background and IGNORE_INDEX left out.

    A label map does not tell one cat from the next, so each annotation is a crowd (`iscrowd` 1), as COCO calls a
    region of many objects.

    Args:
        label_map: (H, W) uint8 ids.
        image_id: of the picture they belong to.
        first_id: of the first annotation; the others follow.
    """
    found: list[dict[str, Any]] = []
    for class_id in np.unique(label_map[label_map != IGNORE_INDEX]):
        if class_id == 0:
            continue
        mask = label_map == class_id
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        found.append(
            {
                "id": first_id + len(found),
                "image_id": image_id,
                "category_id": int(class_id),
                "segmentation": encode_mask(mask),
                "area": int(mask.sum()),
                "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
                "iscrowd": 1,
            }
        )
    return found


def categories(classes: ClassSet) -> list[dict[str, Any]]:
    """COCO's list of classes; the background is none."""
    return [{"id": i, "name": name} for i, name in enumerate(classes.names) if i]
