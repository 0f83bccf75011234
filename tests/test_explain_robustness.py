"""Disturbances and their ways back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from seg.classes import IGNORE_INDEX
from seg.explain.robustness import KINDS, agreement, disturb

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


def square(size: tuple[int, int]) -> Image.Image:
    """A white square on black, off the middle."""
    picture = Image.new("RGB", size)
    ImageDraw.Draw(picture).rectangle((20, 14, 60, 44), fill="white")
    return picture


@pytest.mark.parametrize("kind", KINDS)
def test_no_strength_changes_nothing(photo: Image.Image, kind: str) -> None:
    found = disturb(photo, kind, 0)
    np.testing.assert_array_equal(np.asarray(found.photo), np.asarray(photo))
    labels = np.random.default_rng(0).integers(0, 21, (photo.height, photo.width), dtype=np.uint8)
    np.testing.assert_array_equal(found.back(labels), labels)
    assert agreement(labels, found.back(labels), num_classes=21) == (1.0, 1.0)


@pytest.mark.parametrize("kind", ["size", "turn"])
@pytest.mark.parametrize("size", [(90, 70), (101, 77), (64, 121)])
@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
def test_a_drawn_square_comes_back_to_its_place(kind: str, size: tuple[int, int], strength: float) -> None:
    clean = square(size)
    if kind == "size":
        strength /= 2  # at a tenth of its size a pixel is a tenth of the picture
    found = disturb(clean, kind, strength)
    seen = (np.asarray(found.photo)[..., 0] > 190).astype(np.uint8)  # a network that knows white
    back = found.back(seen)
    assert back.shape == (size[1], size[0])
    truth = (np.asarray(clean)[..., 0] > 190).astype(np.uint8)
    wrong = (back != truth) & (back != IGNORE_INDEX)
    scale = size[0] / found.photo.width if kind == "size" else 1
    border = np.zeros_like(wrong)  # within a pixel of the square's edge, a pixel of the small picture
    reach = int(np.ceil(scale)) + 1
    ys, xs = np.nonzero(truth)
    border[max(0, ys.min() - reach) : ys.max() + reach + 1, max(0, xs.min() - reach) : xs.max() + reach + 1] = True
    border[ys.min() + reach : ys.max() - reach + 1, xs.min() + reach : xs.max() - reach + 1] = False
    assert not (wrong & ~border).any()


def test_a_turn_by_a_right_angle_is_exact() -> None:
    labels = np.random.default_rng(1).integers(0, 21, (30, 50), dtype=np.uint8)
    found = disturb(Image.new("RGB", (50, 30)), "turn", 1.0)
    np.testing.assert_array_equal(found.back(np.rot90(labels)), labels)


@pytest.mark.parametrize("kind", ["blur", "noise", "jpeg", "dark", "bright"])
def test_more_strength_is_more_distance_from_the_clean_photo(photo: Image.Image, kind: str) -> None:
    clean = np.asarray(photo).astype(float)
    far = [np.square(np.asarray(disturb(photo, kind, s).photo) - clean).mean() for s in STRENGTHS]
    assert far == sorted(far)
    assert far[0] > 0
    assert disturb(photo, kind, 0.5).photo.size == photo.size


def test_noise_is_the_same_every_time(photo: Image.Image) -> None:
    first, second = (np.asarray(disturb(photo, "noise", 0.5).photo) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_agreement_leaves_out_what_nobody_knows_and_makes_up_no_zero() -> None:
    clean = np.array([[0, 0, 1, IGNORE_INDEX]], np.uint8)
    other = np.array([[0, 1, 1, 5]], np.uint8)
    same, miou = agreement(clean, other, num_classes=21)
    assert same == pytest.approx(2 / 3)
    assert miou == pytest.approx((1 / 2 + 1 / 2) / 2)
    nothing = agreement(np.full((2, 2), IGNORE_INDEX, np.uint8), np.zeros((2, 2), np.uint8), num_classes=21)
    assert all(np.isnan(nothing))


def test_nonsense_is_named(photo: Image.Image) -> None:
    with pytest.raises(ValueError, match="unknown disturbance 'fog'; known: blur"):
        disturb(photo, "fog", 0.5)
    with pytest.raises(ValueError, match="between 0 and 1, got 2"):
        disturb(photo, "blur", 2)
