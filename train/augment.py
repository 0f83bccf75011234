"""Augmentation: photograph and label together, with torchvision's transforms.v2; then pictures of a batch, mixed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from seg.classes import IGNORE_INDEX
from seg.transforms import Preprocess
from train.config import Recipe
from train.soft_labels import OFFSET, STRIDE


class Positions(tv_tensors.Mask):
    """(2, h, w) int32, row and column of the photograph that each pixel shows; -1 outside it."""


class Augment:
    """Random scale, crop, flip and colour; photograph (PIL, RGB) and label (PIL, ids) -> x and target.

    x is float32 (3, c, c), normalised as the card's preprocessing will; target is int64 (c, c). Where the picture is
    smaller than the crop, x is mid-grey (before the colours change) and the target is IGNORE_INDEX.
    """

    def __init__(self, recipe: Recipe, preprocess: Preprocess) -> None:
        grey = tuple(round(255 * m) for m in preprocess.mean)
        crop = (recipe.crop_size, recipe.crop_size)
        self.transform = v2.Compose(
            [
                v2.RandomResize(*recipe.scale),
                v2.RandomCrop(
                    crop,
                    pad_if_needed=True,
                    fill={tv_tensors.Image: grey, tv_tensors.Mask: IGNORE_INDEX, Positions: -1},
                ),
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation)], p=0.8),
                v2.ToDtype(
                    {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, Positions: torch.int32}, scale=True
                ),
                v2.Normalize(preprocess.mean, preprocess.std),
            ]
        )

    def __call__(self, image: Image.Image, label: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
        x, target = self.transform(*_tensors(image, label))
        return x.as_subclass(torch.Tensor), target.as_subclass(torch.Tensor)

    def with_positions(self, image: Image.Image, label: Image.Image) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same x and target, and int32 (2, c, c): row and column of the photograph; -1 outside it."""
        rows, columns = torch.arange(image.height, dtype=torch.int32), torch.arange(image.width, dtype=torch.int32)
        positions = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
        x, target, positions = self.transform(*_tensors(image, label), Positions(positions))
        return tuple(tensor.as_subclass(torch.Tensor) for tensor in (x, target, positions))


def cutmix(batch: Sequence[torch.Tensor], probability: float) -> list[torch.Tensor]:
    """Paste a rectangle of its neighbour in the batch over each picture, with this probability; labels go with pixels.

    Yun et al.: "CutMix", ICCV 2019; for segmentation French et al., BMVC 2020. A sofa then no longer stands in the one
    room that it was learned in. The rectangle covers a quarter to a half of the picture, in any shape up to 1 : 4.

    Args:
        batch: x (n, 3, c, c) and target (n, c, c); with a teacher also what `SoftLabels.at` returns, for the pixels
            2, 6, 10, ... of both axes.
    """
    n, _, side, _ = batch[0].shape
    area = torch.empty(n).uniform_(0.25, 0.5) * (torch.rand(n) < probability)
    shape = torch.empty(n).uniform_(-1, 1).exp2()  # square root of height to width
    rows, columns = (_stretches(side, area.sqrt() * ratio) for ratio in (shape, 1 / shape))
    pixels = (rows[:, :, None] & columns[:, None, :]).to(batch[0].device)  # (n, c, c)
    coarse = pixels[:, OFFSET::STRIDE, OFFSET::STRIDE]
    masks = [pixels[:, None], pixels, coarse[:, None], coarse]
    return [torch.where(mask, own.roll(1, dims=0), own) for mask, own in zip(masks, batch, strict=False)]


def _stretches(side: int, shares: torch.Tensor) -> torch.Tensor:
    """(n, side) bool: for each share of `side` a stretch as long, somewhere; its ends are multiples of `STRIDE`."""
    lengths = (shares.clamp(max=1) * side / STRIDE).round() * STRIDE
    firsts = (torch.rand(len(shares)) * (side - lengths + 1) / STRIDE).floor() * STRIDE
    at = torch.arange(side)
    return (at >= firsts[:, None]) & (at < (firsts + lengths)[:, None])


def _tensors(image: Image.Image, label: Image.Image) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    to_tensor = v2.functional.pil_to_tensor
    return tv_tensors.Image(to_tensor(image)), tv_tensors.Mask(to_tensor(label)[0])
