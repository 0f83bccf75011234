"""COCO run lengths, decoded by a second way that knows nothing of the encoder."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg.classes import IGNORE_INDEX, VOC
from seg.coco import categories, coco_annotations, encode_mask


def decoded(rle: dict) -> np.ndarray:
    """As the COCO API says: runs of zeros and ones in turn, down the columns."""
    height, width = rle["size"]
    pixels, value = [], 0
    for count in rle["counts"]:
        pixels += [value] * count
        value = 1 - value
    assert len(pixels) == height * width
    return np.array([[pixels[x * height + y] for x in range(width)] for y in range(height)], bool)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_a_mask_comes_back_from_its_run_lengths(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decoded(encode_mask(mask)), mask)


def test_runs_go_down_the_columns_and_begin_with_zeros() -> None:
    assert encode_mask(np.array([[0, 1], [1, 1]], bool)) == {"size": [2, 2], "counts": [1, 3]}
    assert encode_mask(np.array([[1, 0], [0, 0]], bool)) == {"size": [2, 2], "counts": [0, 1, 3]}
    assert encode_mask(np.zeros((2, 3), bool)) == {"size": [2, 3], "counts": [6]}


@given(hnp.arrays(np.uint8, (7, 5), elements=st.sampled_from([0, 3, 8, 20, IGNORE_INDEX])))
def test_annotations_put_the_label_map_together_again(label_map: np.ndarray) -> None:
    found = coco_annotations(label_map, image_id=4, first_id=10)
    rebuilt = np.zeros_like(label_map)
    for number, annotation in enumerate(found):
        mask = decoded(annotation["segmentation"])
        rebuilt[mask] = annotation["category_id"]
        x, y, width, height = annotation["bbox"]
        inside = mask[y : y + height, x : x + width]
        assert inside.sum() == mask.sum() == annotation["area"]
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
        assert (annotation["id"], annotation["image_id"]) == (10 + number, 4)
    np.testing.assert_array_equal(rebuilt, np.where(label_map == IGNORE_INDEX, 0, label_map))
    assert {annotation["category_id"] for annotation in found} <= {entry["id"] for entry in categories(VOC)}
