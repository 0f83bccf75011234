"""Score a network at the labels' own size, with the very predictor the page uses or with several views and a CRF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from seg.explain.crf import dense_crf
from seg.image import read_image
from seg.metrics import BoundaryF, ConfusionMatrix, TrimapBands, miou_interval
from seg.predictor import Predictor
from train.data import Pair


@dataclass(frozen=True)
class Protocol:
    """How a label map is made. The default is the predictor alone: one view of the photo, at the card's size.

    Attributes:
        scales: the photo is shown at each of these times the card's size; probabilities are averaged.
        flip: every view is shown mirrored too.
        crf: as in `Predictor.predict`; with several views, their averaged probabilities go through
            `seg.explain.crf.dense_crf` at the photo's size.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    crf: bool = False

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales must be numbers above 0, for example 0.75,1,1.25; got {self.scales}")

    @property
    def name(self) -> str:
        """What is added to the predictor, for example "scales 0.75 1 1.25 + flip + CRF"; "" for the predictor alone."""
        scales = "" if self.scales == (1.0,) else "scales " + " ".join(f"{scale:g}" for scale in self.scales)
        return " + ".join(filter(None, (scales, "flip" * self.flip, "CRF" * self.crf)))


@dataclass
class Scores:
    """Everything measured of one network on one list of images.

    Attributes:
        confusion, bands, boundary: see `seg.metrics`.
        images: the images' names, in the order of `per_image`; their paths where two have one name.
        per_image: for each image (3, K): right pixels, pixels in the label, pixels the network gives the class.
    """

    confusion: ConfusionMatrix
    bands: TrimapBands
    boundary: BoundaryF
    images: list[str] = field(default_factory=list)
    per_image: list[np.ndarray] = field(default_factory=list)

    @property
    def miou_interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of mIoU over the images."""
        return miou_interval(np.stack(self.per_image))

    @property
    def image_mious(self) -> np.ndarray:
        """(n,) mIoU of each image over the classes that it or the network's answer has; nan without any label."""
        hits, truth, said = np.stack(self.per_image, axis=1).astype(float)  # (n, K) each
        whole = truth + said - hits
        return np.ma.masked_array(hits / whole.clip(min=1), whole == 0).mean(axis=1).filled(np.nan)


def evaluate(predictor: Predictor, pairs: Sequence[Pair]) -> ConfusionMatrix:
    """Confusion matrix over all pairs: no crop, no resized label, IGNORE_INDEX left out. `score` measures more."""
    confusion = ConfusionMatrix(len(predictor.card.classes))
    for pair, target, label_map in _answers(predictor, pairs, Protocol(), confusion):
        _count(confusion, pair, target, label_map)
    return confusion


def score(predictor: Predictor, pairs: Sequence[Pair], protocol: Protocol = Protocol()) -> Scores:
    """All measures over all pairs, at the labels' own size, IGNORE_INDEX left out.

    Raises:
        ValueError: no pair, or a label that does not fit its photo or the classes; names the file.
    """
    if not pairs:
        raise ValueError("there is no image to score; give a list that names at least one")
    classes = len(predictor.card.classes)
    names = [pair.image.stem for pair in pairs]
    if len(set(names)) < len(names):
        names = [pair.image.as_posix() for pair in pairs]
    scores = Scores(ConfusionMatrix(classes), TrimapBands(classes), BoundaryF(classes), images=names)
    for pair, target, label_map in _answers(predictor, pairs, protocol, scores.confusion):
        before = scores.confusion.counts.copy()
        _count(scores.confusion, pair, target, label_map)
        counts = scores.confusion.counts - before
        scores.per_image.append(np.stack([np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)]))
        scores.bands.update(target, label_map)
        scores.boundary.update(target, label_map)
    return scores


def predict_labels(predictor: Predictor, pair: Pair, protocol: Protocol) -> np.ndarray:
    """(H, W) uint8: the label map of the pair's photo; the predictor's own where there is one view."""
    if protocol.scales == (1.0,) and not protocol.flip:
        return predictor.predict(pair.image, crf=protocol.crf).label_map
    photo = read_image(pair.image)
    probabilities = _probabilities(predictor, photo, protocol)
    if protocol.crf:
        probabilities = dense_crf(np.asarray(photo), probabilities)
    return probabilities.argmax(axis=0).astype(np.uint8)


def metrics_dict(confusion: ConfusionMatrix, class_names: Sequence[str]) -> dict[str, Any]:
    """The four figures of the FCN paper and IoU per class, rounded for a card; a class that never occurs is None."""
    return {
        "miou": _rounded(confusion.miou),
        "pixel_acc": _rounded(confusion.pixel_acc),
        "mean_acc": _rounded(confusion.mean_acc),
        "fwiou": _rounded(confusion.fwiou),
        "iou": _by_class(confusion.iou, class_names),
    }


def scores_dict(scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """`metrics_dict` and the rest, rounded for a card.

    `miou_interval` is the 95 % bootstrap interval. `boundary_f` is the mean of `boundary_f_by_class`, and
    `boundary_tolerance` the tolerance as a share of the diagonal. Number w of the lists in `trimap` is about the band
    w pixels wide. Row c of `confusion_per_mille` says what the network calls 1,000 pixels of class c; all 0 where the
    class never occurs.
    """
    bands = scores.bands.bands
    counts = scores.confusion.counts
    per_mille = np.rint(1000 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)).astype(int)
    return {
        **metrics_dict(scores.confusion, class_names),
        "miou_interval": [_rounded(end) for end in scores.miou_interval],
        "boundary_f": _rounded(scores.boundary.mean),
        "boundary_f_by_class": _by_class(scores.boundary.per_class, class_names),
        "boundary_tolerance": scores.boundary.tolerance,
        "trimap": {
            "pixel_acc": [_rounded(band.pixel_acc) for band in bands],
            "miou": [_rounded(band.miou) for band in bands],
        },
        "confusion_per_mille": per_mille.tolist(),
    }


def report_dict(scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """`scores_dict` with what is too long for a card: the confusion matrix in pixels, and a figure per image."""
    names_and_mious = zip(scores.images, scores.image_mious, strict=True)
    return {
        **scores_dict(scores, class_names),
        "classes": list(class_names),
        "confusion": scores.confusion.counts.tolist(),
        "miou_by_image": {name: _rounded(miou) for name, miou in names_and_mious},
    }


def with_scores(metrics: dict[str, Any], found: dict[str, Any], protocol: Protocol) -> dict[str, Any]:
    """A card's metrics with `found` in them; what was found with more than the predictor stands under "with".

    So `metrics["miou"]` is always what the predictor gives, and the gain of, say, the CRF can be read beside it.
    """
    if not protocol.name:
        return {**metrics, **found}  # what else the card says of its figures stays
    short = {key: value for key, value in found.items() if key not in ("confusion_per_mille", "boundary_f_by_class")}
    return {**metrics, "with": {**metrics.get("with", {}), protocol.name: short}}


def _answers(
    predictor: Predictor, pairs: Sequence[Pair], protocol: Protocol, confusion: ConfusionMatrix
) -> Iterator[tuple[Pair, np.ndarray, np.ndarray]]:
    progress = tqdm(pairs, desc=predictor.card.name, unit="image", mininterval=5)
    for pair in progress:
        yield pair, pair.target(), predict_labels(predictor, pair, protocol)
        progress.set_postfix(miou=f"{confusion.miou:.3f}", refresh=False)


def _count(confusion: ConfusionMatrix, pair: Pair, target: np.ndarray, label_map: np.ndarray) -> None:
    try:
        confusion.update(target, label_map)
    except ValueError as error:
        raise ValueError(f"{pair.label}: {error}") from None


def _probabilities(predictor: Predictor, photo: Image.Image, protocol: Protocol) -> np.ndarray:
    """(K, H, W) float32: softmax at the photo's size, averaged over scales and mirror images."""
    preprocess = predictor.card.preprocess
    total = torch.zeros(())
    for scale, mirrored in product(protocol.scales, (False, True) if protocol.flip else (False,)):
        view = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else photo
        short, long = (max(32, round(scale * side)) for side in (preprocess.short_side, preprocess.long_side))
        x, geometry = replace(preprocess, short_side=short, long_side=long).apply(view)
        probabilities = preprocess.restore(predictor.logits(x), geometry).softmax(dim=0)  # (K, H, W)
        total = total + (probabilities.flip(-1) if mirrored else probabilities)
    return (total / (len(protocol.scales) * (1 + protocol.flip))).numpy()


def _by_class(values: np.ndarray, class_names: Sequence[str]) -> dict[str, float | None]:
    return {name: _rounded(value) for name, value in zip(class_names, values, strict=True)}


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
