"""Augmentation of photograph and label together, with torchvision's transforms.v2."""

from __future__ import annotations

import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from seg.classes import IGNORE_INDEX
from seg.transforms import Preprocess
from train.config import Recipe


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


def _tensors(image: Image.Image, label: Image.Image) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    to_tensor = v2.functional.pil_to_tensor
    return tv_tensors.Image(to_tensor(image)), tv_tensors.Mask(to_tensor(label)[0])
