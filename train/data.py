"""Pairs of photograph and label from a folder in the VOCdevkit layout, drawn in an order that can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from tqdm import tqdm

from seg.classes import IGNORE_INDEX

_OFFICIAL_SIZES = {"train": 1464, "trainaug": 10582, "val": 1449}


def of_official(list_name: str, count: int) -> str:
    """How many of a list's images there were, for a card: "1,100 of 1,449 images"; a list of one's own has no total."""
    official = _OFFICIAL_SIZES.get(list_name)
    return f"{count:,} of {official:,} images" if official else f"{count:,} images"


@dataclass(frozen=True)
class Pair:
    """One photograph and its label PNG."""

    image: Path
    label: Path

    def load(self) -> tuple[Image.Image, Image.Image]:
        """RGB photograph and P-mode label, the same size.

        Raises:
            ValueError: their sizes differ.
        """
        image = Image.open(self.image).convert("RGB")
        label = Image.open(self.label)
        if image.size != label.size:
            raise ValueError(f"{self.image} is {image.size}, its label {self.label} is {label.size}")
        return image, label


def voc_pairs(root: Path, list_name: str) -> list[Pair]:
    """The pairs that ImageSets/Segmentation/<list_name>.txt names.

    Raises:
        FileNotFoundError: the list, a photograph or a label is missing; the message names the first one.
        ValueError: the list is empty.
    """
    list_file = root / "ImageSets" / "Segmentation" / f"{list_name}.txt"
    if not list_file.is_file():
        raise FileNotFoundError(f"no list {list_file}; set `data` in the recipe to a VOC2012 folder")
    pairs = [
        Pair(root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClassAug" / f"{name}.png")
        for name in list_file.read_text("utf-8").split()
    ]
    if not pairs:
        raise ValueError(f"{list_file} names no pictures; one name per line is expected")
    for pair in pairs:
        for file in (pair.image, pair.label):
            if not file.is_file():
                raise FileNotFoundError(f"{list_name}.txt names {file.stem}, but there is no {file}")
    return pairs


def classes_present(pairs: list[Pair], num_classes: int) -> np.ndarray:
    """(len(pairs), K) bool: which classes each label shows.

    Raises:
        ValueError: a label has an id that is neither a class nor IGNORE_INDEX.
    """
    present = np.zeros((len(pairs), 256), bool)
    for row, pair in enumerate(tqdm(pairs, desc="reading labels", unit="label", leave=False)):
        present[row, np.unique(np.asarray(Image.open(pair.label)))] = True
        unknown = [i for i in np.flatnonzero(present[row]) if i >= num_classes and i != IGNORE_INDEX]
        if unknown:
            raise ValueError(f"{pair.label} has id {unknown[0]}; there are {num_classes} classes")
    return present[:, :num_classes]


def balanced_weights(present: np.ndarray, balance: float) -> np.ndarray:
    """(n,) drawing weights: an image counts as much as its rarest class is rare, to the power `balance`."""
    images_per_class = present.sum(axis=0).clip(min=1)
    rarest = np.where(present, images_per_class, images_per_class.max()).min(axis=1)
    weights = (1.0 / rarest) ** balance
    return weights / weights.sum()


class DrawnSamples(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Position p of a run -> augmented (x, target). Everything random depends on (seed, p) alone.

    So a run that goes on from step s after a crash sees exactly the pictures an uninterrupted run would have seen,
    and several processes share one order without talking to each other.
    """

    def __init__(
        self,
        pairs: list[Pair],
        weights: np.ndarray,
        augment: Callable[[Image.Image, Image.Image], tuple[torch.Tensor, torch.Tensor]],
        *,
        start: int,
        stop: int,
        seed: int,
    ) -> None:
        self.pairs, self.augment, self.start, self.seed = pairs, augment, start, seed
        self.order = np.random.default_rng(seed).choice(len(pairs), size=stop, p=weights)

    def __len__(self) -> int:
        return len(self.order) - self.start

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        position = self.start + index
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 1_000_003 + position)
            return self.augment(*self.pairs[self.order[position]].load())
