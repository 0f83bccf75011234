"""Fully connected CRF (Krähenbühl and Koltun, NIPS 2011): label borders move onto edges of the photo.

Every pixel talks to every other one. Two pixels that are alike want the same label, by how alike they are (equation 3),
with p the position in pixels and c the colour 0..255:

    k(i, j) = bilateral_weight * exp(-|p_i - p_j|^2 / 2 sigma_alpha^2 - |c_i - c_j|^2 / 2 sigma_beta^2)
            + smooth_weight * exp(-|p_i - p_j|^2 / 2 sigma_gamma^2)

Potts model: unlike labels cost k, equal ones nothing. Mean field (algorithm 1) finds Q, one distribution per pixel: sum
what the others say, weighted by k; add the network's own log-probability; softmax; again.

The sum over all pairs is a Gaussian filter, which needs no pairs. The second kernel lies in two dimensions and is
filtered exactly, rows and columns one after the other. The first lies in five (x, y, red, green, blue) and goes through
the permutohedral lattice (Adams, Baek and Davis, Eurographics 2010): splat onto the corners of simplices, blur there,
slice back. That is an approximation, within about a tenth of the exact sum.

Each kernel is normalised on both sides, k(i, j) / sqrt(n_i n_j) with n_i the sum of k(i, j) over all j. So the weights
mean the same on a small and on a large photo. As in the authors' program, j = i is part of the sums.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

_Filter = Callable[[torch.Tensor], torch.Tensor]  # (k, H*W) -> (k, H*W)


@dataclass(frozen=True)
class CrfSettings:
    """Numbers of the CRF; the defaults lie in DeepLab's ranges (Chen et al. 2015, section 5.1).

    There smooth weight 3, sigma_gamma 3 and ten iterations are fixed; bilateral weight, sigma_alpha and sigma_beta are
    searched in 3..6, 30..100 and 3..6. Here they were chosen on 16 images of VOC's train list, by the pixel accuracy
    in a band of five pixels; 4 and 49 do nearly as well.

    Attributes:
        bilateral_weight, sigma_alpha, sigma_beta: weight of the first kernel, its width in pixels and in colour steps.
        smooth_weight, sigma_gamma: weight of the second kernel and its width in pixels.
        iterations: steps of mean field; 0 gives the probabilities back.
        least: a class that wins no pixel and nowhere reaches this probability is left out, which saves its time.
    """

    bilateral_weight: float = 6.0
    sigma_alpha: float = 80.0
    sigma_beta: float = 5.0
    smooth_weight: float = 3.0
    sigma_gamma: float = 3.0
    iterations: int = 10
    least: float = 0.1

    def __post_init__(self) -> None:
        if (
            min(self.sigma_alpha, self.sigma_beta, self.sigma_gamma) <= 0
            or min(self.bilateral_weight, self.smooth_weight, self.iterations, self.least) < 0
        ):
            raise ValueError(f"the CRF needs sigmas above 0 and no number below 0, got {self}")


def dense_crf(photo: np.ndarray, probabilities: np.ndarray, settings: CrfSettings = CrfSettings()) -> np.ndarray:
    """Refine a network's probabilities so that their borders follow the photo's.

    Time and memory grow with the pixels: shrink a large photo, and its probabilities, first.

    Args:
        photo: (H, W, 3) uint8 RGB.
        probabilities: (K, H, W) floats, at least 0, summing to 1 over K.

    Returns:
        (K, H, W) float32, summing to 1 over K; 0 for classes left out.

    Raises:
        ValueError: wrong shapes, types or sizes; says which.
    """
    kept, steps = _mean_field(photo, probabilities, settings)
    return _whole(deque(steps, maxlen=1).pop(), kept, probabilities.shape)


def dense_crf_steps(
    photo: np.ndarray, probabilities: np.ndarray, settings: CrfSettings = CrfSettings()
) -> Iterator[np.ndarray]:
    """`dense_crf` to watch: Q (K, H, W) before the first iteration and after each, iterations + 1 arrays."""
    kept, steps = _mean_field(photo, probabilities, settings)
    return (_whole(q, kept, probabilities.shape) for q in steps)


def colour_steps(photo: np.ndarray, label_map: np.ndarray) -> tuple[float, float]:
    """How much the photo's colour steps between neighbours whose labels differ, and between any two neighbours.

    Neighbours share a side; a step is the distance of their colours in RGB, 0 to 441. Where outlines lie on edges of
    the photo, the first number is larger than the second.

    Args:
        photo: (H, W, 3) uint8 RGB.
        label_map: (H, W).

    Returns:
        Two means; nan where there is nothing to average over.
    """
    colours = photo.astype(np.float32)
    steps, unlike = [], []
    for axis in (0, 1):
        steps.append(np.sqrt(np.square(np.diff(colours, axis=axis)).sum(axis=2)).ravel())
        unlike.append((np.diff(label_map.astype(np.int16), axis=axis) != 0).ravel())
    every, across = np.concatenate(steps), np.concatenate(unlike)
    return (
        float(every[across].mean()) if across.any() else math.nan,
        float(every.mean()) if every.size else math.nan,
    )


def _mean_field(
    photo: np.ndarray, probabilities: np.ndarray, settings: CrfSettings
) -> tuple[np.ndarray, Iterator[torch.Tensor]]:
    """The classes kept (k,), and Q (k, H*W) before the first iteration and after each."""
    _check(photo, probabilities)
    wins = np.bincount(probabilities.argmax(axis=0).ravel(), minlength=len(probabilities)) > 0
    kept = np.flatnonzero(wins | (probabilities.max(axis=(1, 2)) >= settings.least))
    unary = torch.from_numpy(np.log(probabilities[kept].astype(np.float32).clip(min=1e-8))).flatten(1)  # (k, H*W)
    return kept, _iterate(unary, _kernels(photo, settings), settings.iterations)


def _iterate(unary: torch.Tensor, kernels: list[tuple[float, _Filter]], iterations: int) -> Iterator[torch.Tensor]:
    q = unary.softmax(dim=0)
    yield q
    for _ in range(iterations):
        with torch.inference_mode():
            scores = unary.clone()
            for weight, smooth in kernels:
                # Potts: what speaks for other labels costs. The sum over all labels is the same for each, so adding
                # what speaks for this one gives the same softmax.
                scores += weight * smooth(q)
            q = scores.softmax(dim=0)
        yield q


def _kernels(photo: np.ndarray, settings: CrfSettings) -> list[tuple[float, _Filter]]:
    size = photo.shape[:2]
    kernels = []
    if settings.iterations and settings.bilateral_weight:
        features = _bilateral_features(photo, settings.sigma_alpha, settings.sigma_beta)
        kernels.append((settings.bilateral_weight, _normalised(_lattice_filter(features), size)))
    if settings.iterations and settings.smooth_weight:
        kernels.append((settings.smooth_weight, _normalised(_gaussian_filter(size, settings.sigma_gamma), size)))
    return kernels


def _check(photo: np.ndarray, probabilities: np.ndarray) -> None:
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or not photo.size:
        raise ValueError(f"the CRF takes a photo (H, W, 3) uint8 RGB, got {photo.shape} of {photo.dtype}")
    if probabilities.ndim != 3 or not len(probabilities) or probabilities.shape[1:] != photo.shape[:2]:
        raise ValueError(
            f"probabilities are {probabilities.shape}, the photo {photo.shape}; the CRF takes (K, H, W) at the photo's "
            "size: restore them with Preprocess.restore"
        )
    if not (np.isfinite(probabilities).all() and probabilities.min() >= 0):
        raise ValueError("probabilities must be finite and at least 0; take the softmax of the logits first")


def _whole(q: torch.Tensor, kept: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(k, H*W) of the classes kept -> (K, H, W), 0 for the others."""
    result = np.zeros((shape[0], shape[1] * shape[2]), np.float32)
    result[kept] = q.numpy()
    return result.reshape(shape)


def _normalised(smooth: _Filter, size: tuple[int, int]) -> _Filter:
    """The filter with the kernel k(i, j) / sqrt(n_i n_j)."""
    with torch.inference_mode():
        root = smooth(torch.ones(1, size[0] * size[1])).clamp(min=1e-20).rsqrt()  # (1, H*W)
    return lambda q: root * smooth(root * q)


def _gaussian_filter(size: tuple[int, int], sigma: float) -> _Filter:
    """Sum over all pixels j of exp(-|p_i - p_j|^2 / 2 sigma^2) q_j; nothing lies outside the photo."""
    down, across = (_gaussian_matrix(side, sigma) for side in size)

    def smooth(q: torch.Tensor) -> torch.Tensor:
        return (down @ q.view(-1, *size) @ across).flatten(1)  # a Gaussian in the plane is one per direction

    return smooth


def _gaussian_matrix(side: int, sigma: float) -> torch.Tensor:
    """(side, side): exp(-(i - j)^2 / 2 sigma^2); what is too small to matter is 0, because tiny floats are slow."""
    steps = torch.arange(side, dtype=torch.float32)
    values = torch.exp(-(steps[:, None] - steps).square() / (2 * sigma**2))
    return torch.where(values > 1e-12, values, 0.0)


def _bilateral_features(photo: np.ndarray, sigma_alpha: float, sigma_beta: float) -> np.ndarray:
    """(5, H*W) float32: x, y, red, green, blue, in units of their sigma."""
    height, width = photo.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32).reshape(2, -1)
    colours = photo.reshape(-1, 3).T.astype(np.float32)
    return np.stack([x / sigma_alpha, y / sigma_alpha, *(colours / sigma_beta)]).astype(np.float32)


def _lattice_filter(features: np.ndarray) -> _Filter:
    """Gaussian filter of standard deviation 1 over features (d, N), on the permutohedral lattice.

    Right up to a constant factor, which `_normalised` takes out.
    """
    d, count = features.shape
    corner0, rank = _enclosing_simplex(elevated := _elevate(features))
    weights = _barycentric(
        elevated - corner0.astype(np.float32), rank
    )  # (d+1, N): how near the pixel is to each corner
    step = _key_steps(corner0)
    keys = _corner_keys(corner0, rank, step)  # (d+1, N): one number per corner

    order = np.argsort(keys, axis=None)  # corners side by side that are one lattice point
    in_order = keys.reshape(-1)[order]
    first = np.flatnonzero(np.diff(in_order, prepend=in_order[0] - 1))
    points = in_order[first]  # (M,) the lattice points in use
    point_of = np.empty(keys.size, np.int64)
    point_of[order] = np.repeat(np.arange(len(points)), np.diff(first, append=keys.size))

    neighbours = [
        (_find(points, points + offset), _find(points, points - offset)) for offset in (d + 1) * step - step.sum()
    ]
    splat_from, splat_at = torch.from_numpy(order % count), torch.from_numpy(first)
    splat_weights = torch.from_numpy(weights.reshape(-1)[order])
    slice_from = torch.from_numpy(point_of.reshape(d + 1, count).T.copy())  # (N, d+1)
    slice_weights = torch.from_numpy(weights.T.copy())

    def smooth(q: torch.Tensor) -> torch.Tensor:
        rows = q.T.contiguous()  # (N, k); `embedding_bag` is a weighted sum of rows
        values = F.embedding_bag(splat_from, rows, splat_at, mode="sum", per_sample_weights=splat_weights)  # (M, k)
        nowhere = values.new_zeros(1, values.shape[1])
        for one_side, other_side in neighbours:  # blur [1/2, 1, 1/2] along each of the d+1 axes
            padded = torch.cat([values, nowhere])
            values = values + 0.5 * (padded.index_select(0, one_side) + padded.index_select(0, other_side))
        return F.embedding_bag(slice_from, values, mode="sum", per_sample_weights=slice_weights).T  # (k, N)

    return smooth


def _elevate(features: np.ndarray) -> np.ndarray:
    """(d, N) -> (d+1, N) on the plane whose coordinates sum to 0, scaled so that the blur has standard deviation 1."""
    d = len(features)
    axis = np.arange(1, d + 1, dtype=np.float32)
    scaled = features * ((d + 1) * math.sqrt(2 / 3) / np.sqrt(axis * (axis + 1)))[:, None].astype(np.float32)
    elevated = np.zeros((d + 1, features.shape[1]), np.float32)
    elevated[:d] = np.cumsum(scaled[::-1], axis=0)[::-1]  # the sum of this and all later ones
    elevated[1:] -= axis[:, None] * scaled
    return elevated


def _enclosing_simplex(elevated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lattice point of remainder 0 next to each pixel, and the order of the pixel's distances to it.

    Returns:
        corner0 (d+1, N) int32, multiples of d+1 that sum to 0, and rank (d+1, N) int64, a permutation of 0..d.
    """
    size = len(elevated)  # d + 1
    corner0 = np.rint(elevated / size).astype(np.int32)
    excess = corner0.sum(axis=0, dtype=np.int32)  # rounding each coordinate alone may leave the plane
    rest = elevated - (size * corner0).astype(np.float32)
    rank = np.tile(excess, (size, 1))
    for i in range(size):
        for j in range(i + 1, size):
            smaller = rest[i] < rest[j]
            rank[i] += smaller
            rank[j] += ~smaller
    below, above = rank < 0, rank >= size
    corner0 += below.astype(np.int32) - above.astype(np.int32)
    rank += size * (below.astype(np.int32) - above.astype(np.int32))
    return corner0 * size, rank.astype(np.int64)


def _barycentric(rest: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """(d+1, N) float32 weights of the simplex' corners, from remainder 0 to d; they sum to 1."""
    size = len(rest)
    in_order = np.empty_like(rest)
    np.put_along_axis(in_order, size - 1 - rank, rest / size, axis=0)  # smallest first
    weights = in_order.copy()
    weights[1:] -= in_order[:-1]
    weights[0] += 1 - in_order[-1]
    return weights


def _key_steps(corner0: np.ndarray) -> np.ndarray:
    """(d+1,) int64: a lattice point's key is the sum of coordinate * step; the last coordinate is not needed."""
    size = len(corner0)
    spans = [int(span) + 4 * size for span in np.ptp(corner0[:-1], axis=1)]  # room for neighbours
    if math.prod(spans) >= 2**62:
        raise ValueError("the CRF's sigmas are too small for this photo; make them larger or the photo smaller")
    return np.array([*(math.prod(spans[:i]) for i in range(size - 1)), 0], np.int64)


def _corner_keys(corner0: np.ndarray, rank: np.ndarray, step: np.ndarray) -> np.ndarray:
    """(d+1, N) int64 keys of the simplex' corners; each differs from the one before in one axis' direction."""
    size = len(corner0)
    keys = np.empty(corner0.shape, np.int64)
    keys[0] = step @ corner0
    axis_of = np.empty_like(rank)
    np.put_along_axis(axis_of, rank, np.arange(size)[:, None], axis=0)  # the inverse permutation
    for r in range(1, size):
        keys[r] = keys[r - 1] + step.sum() - size * step[axis_of[size - r]]
    return keys


def _find(points: np.ndarray, wanted: np.ndarray) -> torch.Tensor:
    """Where the sorted `points` hold each of `wanted`; len(points) where they do not."""
    at = np.searchsorted(points, wanted)
    found = points[at.clip(max=len(points) - 1)] == wanted
    return torch.from_numpy(np.where(found, at, len(points)))
