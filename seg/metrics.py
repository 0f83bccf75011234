"""The field's measures of a segmentation, from one confusion matrix; classes that never occur are nan, not zero."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from seg.classes import IGNORE_INDEX


@dataclass
class ConfusionMatrix:
    """Counts pixels by true class (rows) and predicted class (columns), then answers questions about them.

    Attributes:
        num_classes: K, background included.
        counts: (K, K) int64.
    """

    num_classes: int
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.num_classes, self.num_classes), np.int64)

    def update(self, target: np.ndarray, label_map: np.ndarray) -> None:
        """Add one picture: target and label map (H, W) of ids; pixels whose target is IGNORE_INDEX do not count.

        Raises:
            ValueError: different shapes, or an id outside 0..K-1.
        """
        if target.shape != label_map.shape:
            raise ValueError(f"target is {target.shape}, label map {label_map.shape}; score at the target's own size")
        labelled = target != IGNORE_INDEX
        truth, predicted = target[labelled].astype(np.int64), label_map[labelled].astype(np.int64)
        for what, ids in (("target", truth), ("label map", predicted)):
            if ids.size and not 0 <= ids.min() <= ids.max() < self.num_classes:
                wrong = ids.max() if ids.max() >= self.num_classes else ids.min()
                raise ValueError(
                    f"{what} has id {wrong}; ids of {self.num_classes} classes are 0..{self.num_classes - 1}"
                )
        size = self.num_classes
        self.counts += np.bincount(truth * size + predicted, minlength=size * size).reshape(size, size)

    @property
    def pixel_acc(self) -> float:
        """Share of labelled pixels that are right."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    @property
    def mean_acc(self) -> float:
        """Mean over the classes in the target of the share of their pixels that are right."""
        return _nanmean(_ratio(np.diag(self.counts), self.counts.sum(axis=1)))

    @property
    def iou(self) -> np.ndarray:
        """(K,) float64 intersection over union per class; nan where a class is in neither target nor prediction."""
        hits = np.diag(self.counts)
        return _ratio(hits, self.counts.sum(axis=0) + self.counts.sum(axis=1) - hits)

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that occur."""
        return _nanmean(self.iou)

    @property
    def fwiou(self) -> float:
        """IoU weighted by how often each class occurs in the target."""
        frequency = _ratio(self.counts.sum(axis=1), self.counts.sum())
        return float(np.nansum(frequency * self.iou)) if self.counts.sum() else float("nan")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part, np.float64) / whole


def _nanmean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
