"""Pairs of photograph and label, from VOC's lists or CSV files; checked, then drawn in an order that can be resumed."""

from __future__ import annotations

import csv
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from tqdm import tqdm

from seg.classes import VOC, ClassSet
from seg.image import InvalidImageError, read_image
from train.augment import Augment
from train.labels import read_label
from train.soft_labels import SoftLabels

_OFFICIAL_SIZES = {"train": 1464, "trainaug": 10582, "val": 1449}


def of_official(list_name: str, count: int) -> str:
    """How many of a list's images there were, for a card: "1,100 of 1,449 images"; a list of one's own has no total."""
    official = _OFFICIAL_SIZES.get(list_name)
    return f"{count:,} of {official:,} images" if official else f"{count:,} images"


def data_title(data: Path, list_name: str, classes: ClassSet, count: int) -> str:
    """What a card says about a list: "VOC 2012 val, 1,100 of 1,449 images"; "shapes/val.csv, 40 images"."""
    if classes == VOC and not list_name.endswith(".csv"):
        labels = " (VOC and SBD labels)" if list_name == "trainaug" else ""
        return f"VOC 2012 {list_name}{labels}, {of_official(list_name, count)}"
    file = (data / list_name).resolve()
    return f"{file.parent.name}/{file.name}, {count:,} images"


class BadPairsError(ValueError):
    """Pairs that cannot be used; the message counts them all and names the first."""


@dataclass(frozen=True)
class Pair:
    """One photograph, its label picture, and the classes that the label's ids or colours mean."""

    image: Path
    label: Path
    classes: ClassSet = VOC

    def target(self) -> np.ndarray:
        """(H, W) uint8 ids, IGNORE_INDEX where nothing is labelled.

        Raises:
            ValueError: as `train.labels.read_label`.
        """
        return read_label(self.label, self.classes)

    def load(self) -> tuple[Image.Image, Image.Image]:
        """Upright RGB photograph and one-channel label of ids, the same size.

        Raises:
            ValueError: one cannot be read, or their sizes differ; names the file.
        """
        try:
            image = read_image(self.image)
        except InvalidImageError as error:
            raise ValueError(f"{self.image}: {error}") from error
        label = Image.fromarray(self.target())
        if image.size != label.size:
            sizes = [f"{width} x {height} pixels" for width, height in (image.size, label.size)]
            raise ValueError(f"{self.image} is {sizes[0]}, its label {self.label} is {sizes[1]}")
        return image, label


def listed_pairs(data: Path, list_name: str, classes: ClassSet = VOC) -> list[Pair]:
    """The pairs of a list: a CSV file in `data` where the name ends in .csv, else a list of the VOCdevkit layout.

    Files are not looked at; `check_pairs` does.

    Raises:
        FileNotFoundError, ValueError: as `csv_pairs` and `voc_pairs`.
    """
    return csv_pairs(data / list_name, classes) if list_name.endswith(".csv") else voc_pairs(data, list_name, classes)


def voc_pairs(root: Path, list_name: str, classes: ClassSet = VOC) -> list[Pair]:
    """The pairs that ImageSets/Segmentation/<list_name>.txt names.

    Labels come from SegmentationClassAug; in an official kit without that folder, from SegmentationClass.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: the list is empty.
    """
    list_file = root / "ImageSets" / "Segmentation" / f"{list_name}.txt"
    if not list_file.is_file():
        raise FileNotFoundError(
            f"no list {list_file}; set `data` in the recipe, or --data of `eval` and `teach`, "
            "to a VOC2012 folder; or name a list that ends in .csv"
        )
    augmented = root / "SegmentationClassAug"
    labels = augmented if augmented.is_dir() else root / "SegmentationClass"
    names = list_file.read_text("utf-8").split()
    if not names:
        raise ValueError(f"{list_file} names no pictures; one name per line is expected")
    return [Pair(root / "JPEGImages" / f"{name}.jpg", labels / f"{name}.png", classes) for name in names]


def csv_pairs(file: Path, classes: ClassSet = VOC) -> list[Pair]:
    """The pairs of a CSV file with the header `image,label`; paths are relative to the file's own folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such header, a row without two paths, or no rows at all.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no list {file}; `python -m train split` writes lists from a folder or a CSV file")
    pairs = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:  # spreadsheets like to start with a mark
            rows = csv.DictReader(lines)
            if not {"image", "label"} <= set(rows.fieldnames or ()):
                raise ValueError(f"{file} starts with {rows.fieldnames}; its first line must be: image,label")
            for row in rows:
                if not row["image"] or not row["label"]:
                    raise ValueError(f"{file}, line {rows.line_num}: give the paths of an image and of its label")
                pairs.append(Pair(file.parent / row["image"], file.parent / row["label"], classes))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read as CSV: {error}; save it as CSV in UTF-8") from error
    if not pairs:
        raise ValueError(f"{file} names no pictures; one pair per line is expected")
    return pairs


def evenly_chosen(pairs: list[Pair], count: int) -> list[Pair]:
    """`count` of the pairs, spread evenly over the list; all of them where there are no more."""
    count = min(count, len(pairs))
    return [pairs[i * len(pairs) // count] for i in range(count)]


def check_pairs(pairs: list[Pair], *, named: int = 5) -> np.ndarray:
    """Read every pair once: (n, K) bool, which classes each label shows.

    About 3 ms per pair and core at 400 x 288 pixels: a picture that was cut off shows only when it is decoded.

    Raises:
        BadPairsError: counts all pairs with a missing or unreadable file, different sizes or an unknown id or colour,
            and tells what is wrong with the first `named`.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        found = list(tqdm(threads.map(_check, pairs), "checking pairs", len(pairs), unit="pair", leave=False))
    problems = [problem for problem in found if isinstance(problem, str)]
    if problems:
        more = [f"... and {len(problems) - named} more"] if len(problems) > named else []
        counted = f"{len(problems):,} of {len(pairs):,} pairs cannot be used; mend them or take them off the list:"
        raise BadPairsError("\n  ".join([counted, *problems[:named], *more]))
    return np.array(found)


def _check(pair: Pair) -> np.ndarray | str:
    """(K,) bool, the classes that the label shows; or what is wrong with the pair."""
    for file in (pair.image, pair.label):
        if not file.is_file():
            return f"there is no {file}"
    try:
        _, label = pair.load()
    except ValueError as error:
        return str(error)
    return np.array(label.histogram()[: len(pair.classes)]) > 0


def balanced_weights(present: np.ndarray, balance: float) -> np.ndarray:
    """(n,) drawing weights: an image counts as much as its rarest class is rare, to the power `balance`."""
    images_per_class = present.sum(axis=0).clip(min=1)
    rarest = np.where(present, images_per_class, images_per_class.max()).min(axis=1)
    weights = (1.0 / rarest) ** balance
    return weights / weights.sum()


class DrawnSamples(Dataset[tuple[torch.Tensor, ...]]):
    """Position p of a run -> augmented (x, target). Everything random depends on (seed, p) alone.

    With a teacher there is more: its logits, and which of them count, as `SoftLabels.at` returns them.

    So a run that goes on from step s after a crash sees exactly the pictures an uninterrupted run would have seen,
    and several processes share one order without talking to each other.
    """

    def __init__(
        self,
        pairs: list[Pair],
        weights: np.ndarray,
        augment: Augment,
        *,
        start: int,
        stop: int,
        seed: int,
        teacher: SoftLabels | None = None,
    ) -> None:
        self.teacher = teacher
        self.pairs, self.augment, self.start, self.seed = pairs, augment, start, seed
        self.order = np.random.default_rng(seed).choice(len(pairs), size=stop, p=weights)

    def __len__(self) -> int:
        return len(self.order) - self.start

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        position = self.start + index
        pair = self.pairs[self.order[position]]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 1_000_003 + position)
            image, label = pair.load()
            if self.teacher is None:
                return self.augment(image, label)
            x, target, positions = self.augment.with_positions(image, label)
        return x, target, *self.teacher.at(pair.image.stem, positions, (image.height, image.width))
