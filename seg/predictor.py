"""Predictor: photo in, Segmentation out. Holds no state between calls, so many people can use one at once."""

from __future__ import annotations

import copy
import threading
import time
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seg.card import ModelCard
from seg.checkpoint import card_path, load_checkpoint
from seg.classes import ClassSet
from seg.image import Photo, read_image
from seg.models.folding import fold_batchnorm


@dataclass(frozen=True)
class Segmentation:
    """What one network says about one photo of H x W pixels.

    Attributes:
        label_map: (H, W) uint8 class ids, at the upright photo's own size.
        confidence: (H, W) float32 in [0, 1], the winning class's probability.
        class_set: what the ids mean.
        checkpoint: name of the weights.
        seconds: wall time of `predict`, decoding included.
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
        """The network itself, in eval mode, BatchNorm folded; many threads share it, so nobody changes or hooks it."""
        return self._network

    def predict(self, photo: Photo) -> Segmentation:
        """Label every pixel of one photo.

        Args:
            photo: path, bytes, PIL image or (H, W, 3) uint8 RGB array.

        Raises:
            InvalidImageError: not a usable picture; says why and what to do.
        """
        start = time.perf_counter()
        image = read_image(photo)
        x, geometry = self.card.preprocess.apply(image)
        network_start = time.perf_counter()
        logits = self.logits(x)
        network_seconds = time.perf_counter() - network_start
        label_map, confidence = self.card.preprocess.restore_labels(logits, geometry)
        return Segmentation(
            label_map=label_map,
            confidence=confidence,
            class_set=self.card.classes,
            checkpoint=self.card.name,
            seconds=time.perf_counter() - start,
            network_seconds=network_seconds,
            network_size=geometry.network_size,
        )

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
    with _loading:  # two people at once must not load it twice
        return _load(card_path(name_or_path).resolve(), str(device))


_loading = threading.Lock()


@cache
def _load(card: Path, device: str) -> Predictor:
    return Predictor(*load_checkpoint(card), device=device)
