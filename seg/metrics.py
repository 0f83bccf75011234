"""The field's measures of a segmentation: overlap and borders. Classes that never occur are nan, not zero.

Overlap (IoU, accuracy) comes from one confusion matrix. It hardly notices borders, since most pixels lie inside
things; `TrimapBands` and `BoundaryF` look at nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
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

    @classmethod
    def of_counts(cls, counts: np.ndarray) -> ConfusionMatrix:
        """The matrix with these (K, K) counts."""
        confusion = cls(len(counts))
        confusion.counts += counts
        return confusion

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


@dataclass
class TrimapBands:
    """Accuracy and mIoU of the pixels near label borders only, for bands 1, 2, ... `widths` pixels wide.

    The trimap of Kohli, Ladicky and Torr (IJCV 2009) and of Krähenbühl and Koltun (2011, figure 5). A pixel is on the
    border where one of its four neighbours has another id; the band of width w holds the labelled pixels nearer than w
    (Euclidean, centre to centre) to a border pixel, so width 1 is the border pixels alone. IGNORE_INDEX is an id like
    any other here, as in DeepLab v1 (Chen et al. 2015, section 5.2): VOC's unlabelled strip never counts itself, but
    the labelled pixels on both of its sides are border pixels. The edge of the picture is no border.

    Attributes:
        num_classes: K, background included.
        widths: the widest band, in pixels.
        rings: (widths, K, K) int64 confusion counts; ring w - 1 is what band w has and band w - 1 has not.
    """

    num_classes: int
    widths: int = 20
    rings: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.rings = np.zeros((self.widths, self.num_classes, self.num_classes), np.int64)

    def update(self, target: np.ndarray, label_map: np.ndarray) -> None:
        """Add one picture: target and label map (H, W) of ids, checked by `ConfusionMatrix.update` before."""
        ring = np.floor(distance_to(_rim(target), self.widths)).astype(np.int64)  # (H, W), `widths` means outside
        near = (target != IGNORE_INDEX) & (ring < self.widths)
        size = self.num_classes
        cells = (ring[near] * size + target[near]) * size + label_map[near]
        self.rings += np.bincount(cells, minlength=self.rings.size).reshape(self.rings.shape)

    @property
    def bands(self) -> list[ConfusionMatrix]:
        """The confusion matrix of each band, from 1 to `widths` pixels wide."""
        return [ConfusionMatrix.of_counts(counts) for counts in self.rings.cumsum(axis=0)]


@dataclass
class BoundaryF:
    """How well contours lie: the contour F-measure of Csurka, Larlus and Perronnin (BMVC 2013), per class.

    The contour of a class are its pixels with a 4-neighbour of another id. Precision is the share of the network's
    contour pixels with a contour pixel of that class in the label at most `tolerance` away, recall the share of the
    label's with one of the network's; F = 2PR / (P + R). The tolerance is a share of the picture's diagonal, 0.75 % as
    there (4.7 px at 500 x 375). Contour pixels are pooled over all pictures before P and R are taken, as IoU pools its
    pixels and as Berkeley's benchmark does (Martin, Fowlkes and Malik 2004). Csurka et al. average F over pictures
    instead, where a speck of a class that is not there counts as much as a missed object.

    Pixels of IGNORE_INDEX: the strip that VOC draws on borders hides the true one, so it is filled from both sides,
    and the contour runs along its middle. What is still empty after as many pixels as the tolerance has (rounded up) is
    no strip but a thing without a label: no contour counts nearer to it than twice that and two pixels.

    Attributes:
        num_classes: K, background included.
        tolerance: share of the diagonal.
        found: (2, K) int64, contour pixels of the label: those near the network's contour, and all.
        right: (2, K) int64, contour pixels of the network: those near the label's contour, and all.
    """

    num_classes: int
    tolerance: float = 0.0075
    found: np.ndarray = field(init=False)
    right: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.found = np.zeros((2, self.num_classes), np.int64)
        self.right = np.zeros((2, self.num_classes), np.int64)

    def update(self, target: np.ndarray, label_map: np.ndarray) -> None:
        """Add one picture: target and label map (H, W) of ids, checked by `ConfusionMatrix.update` before."""
        radius = max(1.0, self.tolerance * math.hypot(*target.shape))
        steps = math.ceil(radius)
        filled = _fill_from_sides(target, steps)
        true_rim, rim = _rim(filled), _rim(label_map)
        if (empty := filled == IGNORE_INDEX).any():
            known = distance_to(empty, 2 * steps + 2) == 2 * steps + 2
            true_rim, rim = true_rim & known, rim & known
        true_contour = np.where(true_rim, filled, IGNORE_INDEX)
        contour = np.where(rim, label_map, IGNORE_INDEX)
        self.found += _count_near(true_contour, contour, radius, self.num_classes)
        self.right += _count_near(contour, true_contour, radius, self.num_classes)

    @property
    def per_class(self) -> np.ndarray:
        """(K,) F in [0, 1]; 0 if only the label or only the network has the class, nan if neither."""
        recall, precision = _ratio(*self.found), _ratio(*self.right)
        harmonic = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
        return np.where(self.found[1] + self.right[1] > 0, harmonic, np.nan)

    @property
    def mean(self) -> float:
        """Mean of `per_class` over the classes that occur."""
        return _nanmean(self.per_class)


def miou_interval(
    counts: np.ndarray, *, level: float = 0.95, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of mIoU: how far the figure would move with other pictures of the same kind.

    The percentile method (Efron and Tibshirani 1993, section 13.3): draw as many pictures as there are, with
    replacement, pool their counts, take mIoU; again and again. It says nothing about another training run.

    Args:
        counts: (n, 3, K) per picture and class: right pixels, pixels in the target, pixels the network gives it.
        level: share of the draws inside the interval.
        samples: draws.
        seed: the same draws for every network, so that intervals compare.
    """
    if counts.ndim != 3 or counts.shape[1] != 3 or not len(counts):
        raise ValueError(f"counts are (pictures, 3, classes) with at least one picture, got {counts.shape}")
    n = len(counts)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=samples)  # (samples, n)
    drawn = (times @ counts.reshape(n, -1).astype(np.float64)).reshape(samples, 3, -1)
    hits, truth, said = drawn.swapaxes(0, 1)  # (samples, K) each
    mious = np.ma.masked_invalid(_ratio(hits, truth + said - hits)).mean(axis=1).compressed()
    if not mious.size:
        return float("nan"), float("nan")
    low, high = np.quantile(mious, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def distance_to(seeds: np.ndarray, limit: int) -> np.ndarray:
    """(H, W) float32: Euclidean distance of each pixel to the nearest True of `seeds` (H, W), at most `limit`.

    Exact: the distance along the column first, then the best of the columns at most `limit` away.
    """
    column = np.full(seeds.shape, limit, np.int32)
    column[seeds] = 0
    for row in range(1, len(column)):
        np.minimum(column[row], column[row - 1] + 1, out=column[row])
    for row in range(len(column) - 2, -1, -1):
        np.minimum(column[row], column[row + 1] + 1, out=column[row])
    column *= column
    nearest = column.copy()
    for step in range(1, min(limit, seeds.shape[1])):
        np.minimum(nearest[:, step:], column[:, :-step] + step * step, out=nearest[:, step:])
        np.minimum(nearest[:, :-step], column[:, step:] + step * step, out=nearest[:, :-step])
    return np.sqrt(nearest, dtype=np.float32)


def _rim(ids: np.ndarray) -> np.ndarray:
    """(H, W) bool: a 4-neighbour has another id."""
    rim = np.zeros(ids.shape, bool)
    for here, there in _neighbour_views(ids.shape):
        rim[here] |= ids[here] != ids[there]
    return rim


def _fill_from_sides(target: np.ndarray, steps: int) -> np.ndarray:
    """The target with its pixels of IGNORE_INDEX filled by their 4-neighbours, one pixel deep per step."""
    filled = target.copy()
    for _ in range(steps):
        before = filled.copy()
        for here, there in _neighbour_views(target.shape):
            inner = filled[here]
            np.copyto(inner, before[there], where=inner == IGNORE_INDEX)
        if not (filled == IGNORE_INDEX).any():
            break
    return filled


def _neighbour_views(shape: tuple[int, ...]) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """For each of the four neighbours: the pixels that have one there, and where it is."""
    most, least, every = slice(None, -1), slice(1, None), slice(None)
    yield from (((least, every), (most, every)), ((most, every), (least, every)))
    yield from (((every, least), (every, most)), ((every, most), (every, least)))


def _count_near(contour: np.ndarray, other: np.ndarray, radius: float, num_classes: int) -> np.ndarray:
    """(2, K) per class: its pixels in `contour` with one of `other` within `radius`, and all its pixels in `contour`.

    Both (H, W), ids on contours and IGNORE_INDEX elsewhere. All classes at once: one bit each.
    """
    total = np.bincount(contour.ravel(), minlength=256)[:num_classes]
    near = np.zeros(num_classes, np.int64)
    present = np.flatnonzero(total)
    for some in (present[i : i + 64] for i in range(0, len(present), 64)):
        bit_of = np.zeros(256, np.uint64)
        bit_of[some] = np.left_shift(np.uint64(1), np.arange(len(some), dtype=np.uint64))
        reached = _dilated(bit_of[other], radius)
        hit = contour[(bit_of[contour] & reached) != 0]
        near += np.bincount(hit, minlength=256)[:num_classes]
    return np.stack([near, total])


def _dilated(bits: np.ndarray, radius: float) -> np.ndarray:
    """(H, W) uint64: every bit set that is set at most `radius` away."""
    height, width = bits.shape
    result, wide, reach = np.zeros_like(bits), bits.copy(), 0
    for dy in range(min(math.floor(radius), height - 1), -1, -1):
        half = min(math.floor(math.sqrt(radius**2 - dy**2)), width - 1)
        while reach < half:  # the disc is wider nearer its middle
            reach += 1
            wide[:, reach:] |= bits[:, :-reach]
            wide[:, :-reach] |= bits[:, reach:]
        result[dy:] |= wide[: height - dy]
        result[: height - dy] |= wide[dy:]
    return result


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part, np.float64) / whole


def _nanmean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
