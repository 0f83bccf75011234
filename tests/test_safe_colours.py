"""The colours of the view for the colour-blind, looked at through simulated eyes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from seg.classes import PATTERNS, SAFE_COLOURS, VOC, Look, safe_looks
from seg.render import patterned

# What a dichromat sees, in linear RGB: Machado, Oliveira, Fernandes 2009, severity 1.0, as the authors publish them.
EYES = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
MINIMUM = 20  # CIEDE2000; Okabe and Ito's eight colours reach 11 by the same count
BLACK = (0, 0, 0)  # the background of a mask


def seen(colours, eyes: str) -> np.ndarray:
    """RGB 0..255 (N, 3) -> RGB 0..1 as these eyes see them."""
    encoded = np.asarray(colours) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.asarray(EYES[eyes]).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def smallest_distance(colours, eyes: str) -> float:
    lab = rgb2lab(seen(colours, eyes)[None])[0]
    pairs = itertools.combinations(range(len(colours)), 2)
    return min(float(deltaE_ciede2000(lab[i], lab[j])) for i, j in pairs)


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("count", range(1, 9))
def test_classes_of_one_photo_are_told_apart(eyes, count):
    """Whichever classes they are, in whatever order: the looks go by place."""
    looks = safe_looks([0, *range(20, 20 - count, -1)])
    colours = [BLACK, *(colour for colour, _ in looks.values())]
    assert len(colours) == 1 + count
    assert smallest_distance(colours, eyes) >= MINIMUM


@pytest.mark.parametrize("eyes", ["protan", "deutan", "tritan"])
def test_simulation_finds_what_is_known_to_be_confused(eyes):
    """The measure would notice: VOC's own colours are not told apart, nor a pair on each line of confusion."""
    confused = {"protan": [(200, 0, 0), (70, 55, 0)], "deutan": [(0, 140, 0), (150, 100, 0)]}
    confused["tritan"] = [(0, 120, 160), (0, 130, 80)]
    assert smallest_distance(confused[eyes], eyes) < MINIMUM
    assert smallest_distance(VOC.colours, eyes) < 10


def test_every_class_has_a_look_of_its_own():
    looks = safe_looks(range(len(VOC)))
    assert list(looks) == list(range(1, len(VOC)))  # the background keeps its black
    assert len(set(looks.values())) == len(VOC) - 1
    first = list(looks.values())[: len(SAFE_COLOURS)]
    assert len({colour for colour, _ in first}) == len({pattern for _, pattern in first}) == len(SAFE_COLOURS)


def test_a_look_stays_when_other_classes_are_found():
    few, more = safe_looks([15, 5]), safe_looks([15, 5, 0, 5, 8])
    assert few == {15: more[15], 5: more[5]}


def test_patterns_are_told_apart_wherever_they_begin():
    assert not PATTERNS[0].any()
    assert all(0.2 < tile.mean() < 0.5 for tile in PATTERNS[1:])  # neither colour nor ink gets lost
    for one, other in itertools.combinations(PATTERNS, 2):
        shifts = itertools.product(range(8), repeat=2)
        assert min((one != np.roll(other, by, (0, 1))).mean() for by in shifts) > 0.1


@pytest.mark.parametrize("colour", SAFE_COLOURS)
def test_ink_stands_out(colour):
    looks = np.array([colour, Look(colour, 1).ink])
    assert all(smallest_distance(looks, eyes) > 35 for eyes in EYES)


def test_patterned_keeps_to_the_looks():
    ids = np.zeros((60, 90), np.uint8)
    ids[:, 30:60], ids[:, 60:], ids[:5] = 8, 15, 255
    shown = np.asarray(patterned(ids, VOC, {8: Look(SAFE_COLOURS[0], 0), 15: Look(SAFE_COLOURS[1], 2)}))
    assert (shown[ids == 0] == 0).all()
    assert (shown[ids == 255] == VOC.colormap[255]).all()
    assert (shown[ids == 8] == SAFE_COLOURS[0]).all()
    inked = (shown[:, 60:] == Look(SAFE_COLOURS[1], 2).ink).all(axis=2)[5:]
    assert (inked == inked[:, :1]).all()  # level lines
    assert inked[:, 0].mean() == pytest.approx(0.25, abs=0.05)
    assert (shown[5:, 60:][~inked] == SAFE_COLOURS[1]).all()
