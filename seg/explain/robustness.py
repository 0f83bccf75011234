"""Robustness: a photo disturbed step by step, and how far the answers stay what they were.

Every disturbance is a pure function of the photo and a strength from 0 (nothing) to 1. Where it moves pixels, it says
which pixel of the clean photo each one shows, so that answers are compared place by place.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from seg.classes import IGNORE_INDEX
from seg.image import read_image
from seg.metrics import ConfusionMatrix

MOST_BLUR = 4.0  # sigma in pixels of a photo whose short side is 300
MOST_NOISE = 80.0  # standard deviation in steps of 0..255
LEAST_QUALITY = 2  # of the JPEG
MOST_LIGHT = 3.0  # times the photo's own; what goes beyond 255 is cut off
MOST_TURN = 90.0  # degrees
SMALLEST = 0.1  # of the photo's sides


@dataclass(frozen=True)
class Disturbed:
    """A disturbed photo, and the way back.

    Attributes:
        photo: what the network sees.
        amount: the strength in words: "sigma 4.0 px".
        back: label map of `photo` -> label map (H, W) of the clean photo; IGNORE_INDEX where nothing is known.
    """

    photo: Image.Image
    amount: str
    back: Callable[[np.ndarray], np.ndarray]


def disturb(photo: Image.Image, kind: str, strength: float) -> Disturbed:
    """The photo, disturbed. Strength 0 gives it back as it is.

    Args:
        kind: "blur", "noise", "jpeg", "dark", "bright", "size" or "turn".
        strength: 0 to 1.

    Raises:
        ValueError: an unknown kind, or a strength outside 0..1.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown disturbance '{kind}'; known: {', '.join(KINDS)}")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must lie between 0 and 1, got {strength}")
    return KINDS[kind](photo, strength)


def _stays(label_map: np.ndarray) -> np.ndarray:
    return label_map


def _blur(photo: Image.Image, strength: float) -> Disturbed:
    sigma = strength * MOST_BLUR * min(photo.size) / 300
    blurred = photo.filter(ImageFilter.GaussianBlur(sigma)) if sigma else photo
    return Disturbed(blurred, f"σ {sigma:.1f} px", _stays)


def _noise(photo: Image.Image, strength: float) -> Disturbed:
    sigma = strength * MOST_NOISE
    noise = np.random.default_rng(0).normal(0, sigma, (photo.height, photo.width, 3)) if sigma else 0
    noisy = np.clip(np.rint(np.asarray(photo) + noise), 0, 255).astype(np.uint8)
    return Disturbed(Image.fromarray(noisy), f"σ {sigma:.0f} / 255", _stays)


def _jpeg(photo: Image.Image, strength: float) -> Disturbed:
    if not strength:
        return Disturbed(photo, "–", _stays)
    quality = round(95 - strength * (95 - LEAST_QUALITY))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=quality)
    return Disturbed(read_image(buffer.getvalue()), f"Q {quality}", _stays)


def _dark(photo: Image.Image, strength: float) -> Disturbed:
    left = 1 - 0.95 * strength
    return Disturbed(ImageEnhance.Brightness(photo).enhance(left), f"× {left:.2f}", _stays)


def _bright(photo: Image.Image, strength: float) -> Disturbed:
    factor = 1 + (MOST_LIGHT - 1) * strength
    return Disturbed(ImageEnhance.Brightness(photo).enhance(factor), f"× {factor:.2f}", _stays)


def _size(photo: Image.Image, strength: float) -> Disturbed:
    share = 1 - (1 - SMALLEST) * strength
    size = max(16, round(photo.width * share)), max(16, round(photo.height * share))
    small = photo.resize(size, Image.Resampling.LANCZOS) if strength else photo

    def back(label_map: np.ndarray) -> np.ndarray:
        return _nearest(label_map, (photo.height, photo.width))

    return Disturbed(small, f"{small.width} × {small.height} px", back)


def _turn(photo: Image.Image, strength: float) -> Disturbed:
    degrees = strength * MOST_TURN
    grey = (128, 128, 128)
    turned = photo.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=grey) if degrees else photo

    def back(label_map: np.ndarray) -> np.ndarray:
        """Every pixel of the clean photo looks up the turned label map where it has gone."""
        y, x = np.indices((photo.height, photo.width)) + 0.5
        dx, dy = x - photo.width / 2, y - photo.height / 2
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        column = np.floor(cos * dx + sin * dy + turned.width / 2).astype(int)  # counter-clockwise, y points down
        row = np.floor(-sin * dx + cos * dy + turned.height / 2).astype(int)
        inside = (row >= 0) & (row < turned.height) & (column >= 0) & (column < turned.width)
        found = np.full(x.shape, IGNORE_INDEX, np.uint8)
        found[inside] = label_map[row[inside], column[inside]]
        return found

    return Disturbed(turned, f"{degrees:.0f}°", back)


KINDS: dict[str, Callable[[Image.Image, float], Disturbed]] = {
    "blur": _blur, "noise": _noise, "jpeg": _jpeg, "dark": _dark, "bright": _bright, "size": _size, "turn": _turn,
}  # fmt: skip


def _nearest(label_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (
        np.minimum(((np.arange(to) + 0.5) * of / to).astype(int), of - 1)
        for to, of in zip(size, label_map.shape, strict=True)
    )
    return label_map[rows][:, columns]


def agreement(reference: np.ndarray, label_map: np.ndarray, *, num_classes: int) -> tuple[float, float]:
    """How far an answer is that of a reference, an answer to the clean photo or a ground truth.

    Args:
        reference, label_map: (H, W) uint8; IGNORE_INDEX in either counts nowhere.

    Returns:
        Share of pixels with the same label, and mIoU over the classes that either has; nan where nothing can be told.
    """
    known = (reference != IGNORE_INDEX) & (label_map != IGNORE_INDEX)
    confusion = ConfusionMatrix(num_classes)
    confusion.update(np.where(known, reference, IGNORE_INDEX), np.where(known, label_map, 0).astype(np.uint8))
    return confusion.pixel_acc, confusion.miou
