"""Predictor: photo in, Segmentation out. Holds no state between calls, so many people can use one at once."""

from __future__ import annotations

import copy
import threading
import time
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from seg.card import ModelCard
from seg.checkpoint import card_path, load_checkpoint
from seg.classes import ClassSet
from seg.explain.crf import dense_crf
from seg.image import Photo, read_image
from seg.models.folding import fold_batchnorm
from seg.transforms import Geometry, Preprocess

CRF_SIDE = 500  # long side of the photo that the CRF sees, pixels: its time grows with the pixels


@dataclass(frozen=True)
class Segmentation:
    """What one network says about one photo of H x W pixels.

    Attributes:
        label_map: (H, W) uint8 class ids, at the upright photo's own size.
        confidence: (H, W) float32 in [0, 1], the winning class's probability.
        class_set: what the ids mean.
        checkpoint: name of the weights.
        seconds: wall time of `predict`, decoding included; what networks share (`PreparedPhoto`) counts for each.
        network_seconds: the part of it spent in the network.
        network_size: (h, w) the network saw.
    """

    label_map: np.ndarray
    confidence: np.ndarray
    class_set: ClassSet
    checkpoint: str
    seconds: float
    network_seconds: float
    network_size: tuple[int, int]

    @cached_property
    def class_areas(self) -> dict[str, float]:
        """Share of the photo per class, largest first, classes present only; the shares add up to 1."""
        counts = np.bincount(self.label_map.ravel(), minlength=len(self.class_set))
        present = sorted(np.flatnonzero(counts), key=lambda i: -counts[i])
        return {self.class_set.names[i]: float(counts[i] / self.label_map.size) for i in present}


class PreparedPhoto:
    """One photo for several networks: read once, and resized and normalised once for all that see it alike.

    Attributes:
        image: upright RGB; do not change.
        seconds: that reading took.
    """

    def __init__(self, photo: Photo) -> None:
        """Read the photo, as `read_image` does."""
        start = time.perf_counter()
        self.image = read_image(photo)
        self.seconds = time.perf_counter() - start
        self._inputs: dict[Preprocess, tuple[torch.Tensor, Geometry, float]] = {}

    def input_for(self, preprocess: Preprocess) -> tuple[torch.Tensor, Geometry, float]:
        """What `preprocess.apply` makes of the photo, not to be changed, and the seconds that it took."""
        if preprocess not in self._inputs:
            start = time.perf_counter()
            x, geometry = preprocess.apply(self.image)
            self._inputs[preprocess] = (x, geometry, time.perf_counter() - start)
        return self._inputs[preprocess]


class Predictor:
    """A loaded network with its card.

    Attributes:
        card: what the weights are and what was measured.
    """

    def __init__(self, model: nn.Module, card: ModelCard, *, device: str | torch.device = "cpu") -> None:
        """Take a private, folded copy of `model` for inference on `device`."""
        self.card = card
        self.device = torch.device(device)
        self._network = fold_batchnorm(copy.deepcopy(model).to("cpu", torch.float32))
        self._network = self._network.to(self.device).to(memory_format=torch.channels_last)

    @property
    def network(self) -> nn.Module:
        """The network itself, in eval mode, its BatchNorm folded into convolutions; shared by everybody: do not change.

        Submodules have the names that `seg.models` gives them.
        """
        return self._network

    def predict(self, photo: Photo | PreparedPhoto, *, crf: bool = False) -> Segmentation:
        """Label every pixel of one photo.

        Args:
            photo: path, bytes, PIL image or (H, W, 3) uint8 RGB array; or prepared, to show it to several networks.
            crf: move label borders onto the photo's edges with `seg.explain.crf`, DeepLab v1's and v2's last step. It
                sees the photo with a long side of at most `CRF_SIDE` pixels, and takes a second or more.

        Raises:
            InvalidImageError: not a usable picture; says why and what to do.
        """
        prepared = photo if isinstance(photo, PreparedPhoto) else PreparedPhoto(photo)
        x, geometry, input_seconds = prepared.input_for(self.card.preprocess)
        start = time.perf_counter()
        logits = self.logits(x)
        network_seconds = time.perf_counter() - start
        if crf:
            logits, geometry = self._sharpened(prepared.image, logits, geometry)
        label_map, confidence = self.card.preprocess.restore_labels(logits, geometry)
        return Segmentation(
            label_map=label_map,
            confidence=confidence,
            class_set=self.card.classes,
            checkpoint=self.card.name,
            seconds=prepared.seconds + input_seconds + time.perf_counter() - start,
            network_seconds=network_seconds,
            network_size=(x.shape[2], x.shape[3]),
        )

    def _sharpened(self, image: Image.Image, logits: torch.Tensor, geometry: Geometry) -> tuple[torch.Tensor, Geometry]:
        """Log-probabilities (1, K, h', w') after the CRF at the photo's size, or at `CRF_SIDE` if that is smaller."""
        small = image.copy()
        small.thumbnail((CRF_SIDE, CRF_SIDE), Image.Resampling.LANCZOS)
        size = (small.height, small.width)
        scores = self.card.preprocess.restore(logits, replace(geometry, photo_size=size))  # (K, h', w')
        refined = dense_crf(np.asarray(small), scores.softmax(dim=0).numpy())
        return torch.from_numpy(refined).clamp(min=1e-6).log()[None], replace(geometry, network_size=size)

    @torch.inference_mode()
    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Preprocessed x (1, 3, h, w) -> logits (1, K, h, w), float32 on the CPU."""
        torch.set_flush_denormal(True)  # per thread; numbers too small to matter make some networks ten times slower
        x = x.to(self.device, memory_format=torch.channels_last)
        return self._network(x).float().cpu()


def load_predictor(name_or_path: str | Path, *, device: str | torch.device = "cpu") -> Predictor:
    """The predictor of a checkpoint, by name or by the path of its card; loaded once per process.

    Raises:
        CheckpointError: unknown name, missing or damaged files.
    """
    # Two people at once must not load it twice. And weights made in inference mode, if the caller is in it, would never
    # again let a gradient through.
    with _loading, torch.inference_mode(False):
        return _load(card_path(name_or_path).resolve(), str(device))


_loading = threading.Lock()


@cache
def _load(card: Path, device: str) -> Predictor:
    return Predictor(*load_checkpoint(card), device=device)
