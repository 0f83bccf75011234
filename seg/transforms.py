"""From photo to network input, and the way back from logits to the photo's own pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

MIN_SIDE = 32  # the smallest input the networks take


@dataclass(frozen=True)
class Geometry:
    """What `Preprocess.apply` did to the photo's shape: everything the way back needs. Sizes are (H, W)."""

    photo_size: tuple[int, int]
    network_size: tuple[int, int]


@dataclass(frozen=True)
class Preprocess:
    """Resize and normalise. The numbers belong to the weights, so the card carries them.

    Attributes:
        short_side: the photo's short side becomes this many pixels,
        long_side: unless the long side would exceed this many: so the network's cost has a bound.
        multiple: both sides are rounded to a multiple of it. Strided convolutions lay their grids differently on
            even and odd sizes; a multiple of the encoder's stride keeps the grid the network was trained on.
        mean, std: per channel, for values scaled to 0..1.
    """

    short_side: int = 352
    long_side: int = 640
    multiple: int = 32
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        if not MIN_SIDE <= self.short_side <= self.long_side:
            raise ValueError(
                f"preprocess needs {MIN_SIDE} <= short_side <= long_side, got {self.short_side} and {self.long_side}"
            )
        if self.multiple < 1 or self.long_side < self.multiple:
            raise ValueError(f"preprocess needs multiple in 1..long_side, got {self.multiple}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"preprocess needs three means and three stds above 0, got {self.mean} and {self.std}")

    def network_size(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) that the network sees for a photo of (H, W)."""
        scale = min(self.short_side / min(photo_size), self.long_side / max(photo_size))
        fewest = -(-MIN_SIDE // self.multiple)  # multiples in the smallest side, rounded up
        most = max(fewest, self.long_side // self.multiple)
        height, width = (
            self.multiple * min(most, max(fewest, round(side * scale / self.multiple))) for side in photo_size
        )
        return height, width

    def apply(self, photo: Image.Image) -> tuple[torch.Tensor, Geometry]:
        """An upright RGB photo -> x float32 (1, 3, h, w), channels last in memory, and its Geometry."""
        geometry = Geometry((photo.height, photo.width), self.network_size((photo.height, photo.width)))
        height, width = geometry.network_size
        small = photo.resize((width, height), Image.Resampling.BILINEAR)  # Pillow's filter widens when it shrinks
        x = torch.from_numpy(np.asarray(small, dtype=np.float32)).permute(2, 0, 1)[None]  # (1, 3, h, w)
        mean = torch.tensor(self.mean).view(1, 3, 1, 1)
        std = torch.tensor(self.std).view(1, 3, 1, 1)
        return (x / 255 - mean) / std, geometry

    def restore(self, logits: torch.Tensor, geometry: Geometry) -> torch.Tensor:
        """Logits (1, K, h, w) -> (K, H, W) at the photo's size. Scores are resized, ids never.

        Takes K x H x W floats; `restore_labels` gives the result of argmax and softmax over it in bounded memory.
        """
        return torch.cat(list(_restored_bands(logits, geometry)), dim=1)

    def restore_at(self, logits: torch.Tensor, geometry: Geometry, at: tuple[int, int]) -> torch.Tensor:
        """Logits (1, K, h, w) -> (K,) at one pixel (x, y) of the photo: `restore(...)[:, y, x]` without the others."""
        height, width = geometry.photo_size
        place = torch.tensor([2 * (at[0] + 0.5) / width - 1, 2 * (at[1] + 0.5) / height - 1], dtype=logits.dtype)
        grid = place.view(1, 1, 1, 2)
        return F.grid_sample(logits, grid, padding_mode="border", align_corners=False).flatten()

    def restore_labels(self, logits: torch.Tensor, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
        """Logits (1, K, h, w) -> label map (H, W) uint8 and the winner's probability (H, W) float32 in [0, 1].

        The labels are the argmax of `restore`, the probability the maximum of its softmax, in bounded memory: band by
        band, and only the few classes that can win anywhere on this photo are resized one by one. All others together
        come into the probability as one score, their log-sum-exp, resized like a class; on 16 photos and four
        networks that changed no probability by more than 0.003.
        """
        contenders = _contenders(logits)
        others = logits[:, ~contenders].logsumexp(dim=1, keepdim=True).clamp(min=-1e4)  # of none: a finite nothing
        scores = torch.cat([logits[:, contenders], others], dim=1)
        first_wins = (255 - contenders.nonzero()).to(torch.uint8).view(-1, 1, 1)
        labels, confidences = [], []
        for band in _restored_bands(scores, geometry):
            top = band[:-1].amax(dim=0)  # (b, W)
            labels.append(255 - ((band[:-1] == top) * first_wins).amax(dim=0))  # argmax, in half of argmax's time
            confidences.append(band.sub_(top).exp_().sum(dim=0).reciprocal_())  # 1 / sum exp(l - l_max)
        return torch.cat(labels).numpy(), torch.cat(confidences).numpy()

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocess:
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**fields)


def _contenders(logits: torch.Tensor, window: int = 5) -> torch.Tensor:
    """Logits (1, K, h, w) -> (K,) bool: the classes that may win at some place between the pixels.

    Bilinear resizing mixes neighbours. Where one class's least score in a window is above another's greatest, no
    mixture lets the other win; a class that is beaten so in every window wins nowhere. Windows share their borders.
    """
    sides = [min(window, side) for side in logits.shape[-2:]]
    greatest = F.max_pool2d(logits, sides, stride=window - 1, ceil_mode=True)
    least = -F.max_pool2d(-logits, sides, stride=window - 1, ceil_mode=True)
    beaten = greatest < least.amax(dim=1, keepdim=True)
    return ~beaten.flatten(2).all(dim=2)[0]


def _restored_bands(logits: torch.Tensor, geometry: Geometry, rows: int = 64) -> Iterator[torch.Tensor]:
    """The resized scores (K, b, W) in bands of `rows` photo rows: a 24-megapixel photo never needs K x H x W at once.

    Bilinear resizing is separable: the band's rows are mixed from their two neighbours first, then widened. One band
    also fits the processor's cache, which makes small photos faster too.
    """
    height, width = geometry.photo_size
    h = logits.shape[-2]
    at = (torch.arange(height, dtype=torch.float64) + 0.5) * (h / height) - 0.5  # where each photo row lies
    at = at.clamp(0, h - 1)
    above = at.long().clamp(max=max(h - 2, 0))
    below = (above + 1).clamp(max=h - 1)
    weight = (at - above).to(logits.dtype).view(1, -1, 1)
    logits = logits[0].contiguous()  # (K, h, w)
    for start in range(0, height, rows):
        band = slice(start, start + rows)
        mixed = torch.lerp(logits.index_select(1, above[band]), logits.index_select(1, below[band]), weight[:, band])
        yield F.interpolate(mixed, size=width, mode="linear", align_corners=False)
