"""PASCAL VOC 2012 and the Semantic Boundaries Dataset through torchvision, in the one layout that the loader reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision.datasets import SBDataset, VOCSegmentation
from tqdm import tqdm

from seg.classes import VOC
from train.labels import indexed_label, read_label


def download_voc(folder: Path) -> Path:
    """Download VOC 2012 and SBD (together about 3.4 GB) into `folder`; returns the VOC2012 folder.

    What is there already is not downloaded again.

    Raises:
        ConnectionError: a server cannot be reached, or sent something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    voc, sbd = folder / "VOCdevkit" / "VOC2012", folder / "SBD"
    if not (voc / "ImageSets" / "Segmentation" / "trainval.txt").is_file():
        _fetch("PASCAL VOC 2012", lambda: VOCSegmentation(folder, year="2012", image_set="trainval", download=True))
    if not (sbd / "val.txt").is_file():
        _fetch("SBD", lambda: SBDataset(sbd, image_set="train", mode="segmentation", download=True))
    add_sbd(voc, sbd)
    return voc


def add_sbd(voc: Path, sbd: Path) -> int:
    """Write `SegmentationClassAug` and `trainaug.txt` into a VOC2012 folder; returns the length of that list.

    trainaug is VOC's train and all of SBD without VOC's val: 10,582 images. Where VOC has a label it is taken, for it
    is finer; SBD's labels have no border without a label. VOC's val gets its labels too. Stopped and started again, it
    goes on; the list is written last.

    Args:
        voc: the official kit's VOC2012 folder.
        sbd: folder with cls/, img/, train.txt and val.txt, as torchvision's SBDataset leaves it.
    """
    lists = voc / "ImageSets" / "Segmentation"
    train, val = (_names(lists / f"{name}.txt") for name in ("train", "val"))
    boundaries = _names(sbd / "train.txt") | _names(sbd / "val.txt")
    labels = voc / "SegmentationClassAug"
    labels.mkdir(exist_ok=True)
    trainaug = sorted((train | boundaries) - val)
    for name in tqdm([*trainaug, *sorted(val)], desc="labels", unit="label"):
        if not (labels / f"{name}.png").is_file():
            if name in train or name in val:
                ids = read_label(voc / "SegmentationClass" / f"{name}.png", VOC)
            else:
                ids = sbd_label(sbd / "cls" / f"{name}.mat")
            _save(indexed_label(ids, VOC), labels / f"{name}.png")
        photo = voc / "JPEGImages" / f"{name}.jpg"
        if not photo.is_file():
            shutil.copyfile(sbd / "img" / f"{name}.jpg", photo)
    part = lists / "trainaug.txt.part"
    part.write_text("\n".join(trainaug) + "\n", "utf-8")
    part.replace(lists / "trainaug.txt")
    return len(trainaug)


def sbd_label(file: Path) -> np.ndarray:
    """One of SBD's MATLAB files -> (H, W) uint8 ids of VOC's classes."""
    from scipy.io import loadmat  # takes a while to import, and only this needs it

    return loadmat(file)["GTcls"][0]["Segmentation"][0].astype(np.uint8)


def _names(file: Path) -> set[str]:
    return set(file.read_text("utf-8").split())


def _save(picture: Image.Image, file: Path) -> None:
    part = file.with_suffix(".part")
    picture.save(part, format="PNG")
    part.replace(file)


def _fetch(what: str, fetch: Callable[[], Any]) -> None:
    try:
        fetch()
    except (OSError, RuntimeError) as error:
        raise ConnectionError(
            f"{what} could not be downloaded: {error}; try again later, or put a copy into the VOCdevkit layout"
        ) from error
