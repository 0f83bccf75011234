"""The shape of an answer, against counts by hand and the slow, obvious way."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from seg.explain.shape import busiest, count_holes, shape_of, thin_parts


def regions(mask: np.ndarray, steps: list[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    """Connected regions of True, by walking from pixel to pixel."""
    left, found = set(map(tuple, np.argwhere(mask).tolist())), []
    while left:
        region, waiting = set(), deque([left.pop()])
        while waiting:
            y, x = waiting.popleft()
            region.add((y, x))
            for dy, dx in steps:
                if (neighbour := (y + dy, x + dx)) in left:
                    left.remove(neighbour)
                    waiting.append(neighbour)
        found.append(region)
    return found


SIDES = [(0, 1), (1, 0), (0, -1), (-1, 0)]
CORNERS = [*SIDES, (1, 1), (1, -1), (-1, 1), (-1, -1)]
ids = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=9), elements={"max_value": 2})


@settings(deadline=None)
@given(ids)
def test_pieces_and_holes_are_those_found_by_walking(label_map: np.ndarray) -> None:
    shape = shape_of(label_map)
    assert shape.pieces == sum(len(regions(label_map == i, SIDES)) for i in (1, 2))
    height, width = label_map.shape
    on_edge = lambda y, x: y in (0, height - 1) or x in (0, width - 1)  # noqa: E731
    holes = [r for r in regions(label_map == 0, CORNERS) if not any(on_edge(y, x) for y, x in r)]
    assert shape.holes == count_holes(label_map != 0) == len(holes)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(bool, (9, 8)))
def test_thin_is_what_no_disc_covers(mask: np.ndarray) -> None:
    """Every disc of radius 2 that lies in the mask, tried one by one; beyond the picture counts as inside."""
    offsets = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if dy * dy + dx * dx <= 4]
    covered = np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        disc = [(y + dy, x + dx) for dy, dx in offsets if 0 <= y + dy < 9 and 0 <= x + dx < 8]
        if all(mask[at] for at in disc):
            for at in disc:
                covered[at] = True
    np.testing.assert_array_equal(thin_parts(mask, 2.9), mask & ~covered)


def test_nothing_found_is_no_number() -> None:
    empty = shape_of(np.zeros((9, 9), np.uint8))
    assert math.isnan(empty.outline)
    assert math.isnan(empty.thin_share)
    assert (empty.pieces, empty.holes) == (0, 0)


@settings(deadline=None)
@given(hnp.arrays(bool, (7, 9)))
def test_the_busiest_square_has_the_most_pixels(mask: np.ndarray) -> None:
    x, y = busiest(mask, 3)
    most = max(mask[i : i + 3, j : j + 3].sum() for i in range(5) for j in range(7))
    assert mask[y : y + 3, x : x + 3].shape == (3, 3)
    assert mask[y : y + 3, x : x + 3].sum() == most
