"""Divide pairs of image and label into CSV lists for training, validation and test."""

from __future__ import annotations

import csv
import itertools
import os
import random
from collections.abc import Sequence
from pathlib import Path

from seg.image import FORMATS
from train.data import Pair, csv_pairs

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
_ENDINGS = {".jpg", ".jpeg", *(f".{name.lower()}" for name in FORMATS), ".tif"}


def split_pairs(pairs: Sequence[Pair], *, seed: int = 0) -> dict[str, list[Pair]]:
    """Every pair into exactly one of "train", "val" and "test", 0.7 : 0.1 : 0.2, at least one pair in each.

    Chance depends on `seed` and the files' names alone, not on the order in which they are given.

    Raises:
        ValueError: fewer than three pairs, or an image that occurs twice and might be trained and tested on.
    """
    if len(pairs) < 3:
        raise ValueError(f"three lists need at least 3 pairs, got {len(pairs)}")
    shuffled = sorted(pairs, key=lambda pair: pair.image.as_posix())
    for pair, following in itertools.pairwise(shuffled):
        if pair.image == following.image:
            raise ValueError(f"{pair.image} occurs twice; name every image once, or it may be trained and tested on")
    random.Random(seed).shuffle(shuffled)
    val, test = (max(1, round(SHARES[name] * len(pairs))) for name in ("val", "test"))
    train = len(pairs) - val - test
    parts = {"train": shuffled[:train], "val": shuffled[train : train + val], "test": shuffled[train + val :]}
    return {name: sorted(part, key=lambda pair: pair.image.as_posix()) for name, part in parts.items()}


def folder_pairs(images: Path, labels: Path) -> list[Pair]:
    """Pairs of the pictures in two folders that have the same name but for the ending.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: two pictures of one name in a folder, or one without a partner in the other; counted.
    """
    by_name = [_pictures_by_name(folder) for folder in (images, labels)]
    alone = sorted(by_name[0].keys() ^ by_name[1].keys())
    if alone:
        raise ValueError(
            f"{len(alone)} pictures stand in only one of {images} and {labels}, for example {alone[0]}; "
            "an image and its label need the same name but for the ending"
        )
    return [Pair(image, by_name[1][name]) for name, image in sorted(by_name[0].items())]


def write_pairs(file: Path, pairs: Sequence[Pair]) -> None:
    """Write a CSV list `image,label`, paths relative to the file's folder, with forward slashes."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        rows = csv.writer(lines, lineterminator="\n")
        rows.writerow(("image", "label"))
        for pair in pairs:
            rows.writerow([_relative(path, file.parent) for path in (pair.image, pair.label)])


def write_split(pairs: Sequence[Pair], folder: Path, *, seed: int = 0) -> dict[str, int]:
    """Write train.csv, val.csv and test.csv into `folder`; returns how many pairs each names.

    Raises:
        FileExistsError: one of them is there.
        ValueError: as `split_pairs`.
    """
    files = {name: folder / f"{name}.csv" for name in SHARES}
    for file in files.values():
        if file.exists():
            raise FileExistsError(f"{file} exists; remove it, or choose another folder with --out")
    parts = split_pairs(pairs, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        write_pairs(files[name], part)
    return {name: len(part) for name, part in parts.items()}


def split_source(source: Path, labels: Path | None) -> tuple[list[Pair], Path]:
    """The pairs of a CSV file, or of a folder of images and one of labels; and the folder where lists belong.

    Raises:
        FileNotFoundError, ValueError: as `csv_pairs` and `folder_pairs`; a folder of images without one of labels.
    """
    if labels is not None:
        return folder_pairs(source, labels), source.parent
    if source.is_dir():
        raise ValueError(f"{source} is a folder; name the folder of its labels too, or give a CSV file image,label")
    return csv_pairs(source), source.parent


def _pictures_by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    pictures: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _ENDINGS and not path.name.startswith("."):
            other = pictures.setdefault(path.stem, path)
            if other != path:
                raise ValueError(f"{other} and {path} have one name; an image and its label are paired by it")
    if not pictures:
        raise ValueError(f"no pictures in {folder}; pictures end in {', '.join(sorted(_ENDINGS))}")
    return pictures


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
