"""Augmentation of photograph and label together, with torchvision's transforms.v2."""

from __future__ import annotations

import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from seg.classes import IGNORE_INDEX
from seg.transforms import Preprocess
from train.config import Recipe


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
                    fill={tv_tensors.Image: grey, tv_tensors.Mask: IGNORE_INDEX},
                ),
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation)], p=0.8),
                v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}, scale=True),
                v2.Normalize(preprocess.mean, preprocess.std),
            ]
        )

    def __call__(self, image: Image.Image, label: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
        x, target = self.transform(
            tv_tensors.Image(v2.functional.pil_to_tensor(image)), tv_tensors.Mask(v2.functional.pil_to_tensor(label)[0])
        )
        return x.as_subclass(torch.Tensor), target.as_subclass(torch.Tensor)
