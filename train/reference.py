"""torchvision's published segmentation weights as a checkpoint of ours: a reference to compare with, made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import get_model_weights

from seg.card import ModelCard
from seg.checkpoint import save_checkpoint
from seg.classes import VOC
from seg.models import build_model
from seg.transforms import Preprocess

_TITLES = {"fcn": "FCN", "deeplabv3": "DeepLabV3", "lraspp": "LR-ASPP"}


def import_torchvision(arch: str, folder: Path, *, file: Path | None = None) -> ModelCard:
    """Write torchvision's weights for `arch` and a card to `folder`.

    Args:
        arch: "fcn_resnet50", "deeplabv3_mobilenet_v3_large", ...: a name in torchvision.models.segmentation.
        file: the .pth file, where it was fetched by hand; without it torchvision downloads it and checks its hash.

    Raises:
        ValueError: torchvision has no such network, or the file holds another one.
    """
    model = build_model("torchvision_reference", num_classes=len(VOC), arch=arch)
    published: Any = get_model_weights(arch).DEFAULT
    if published.meta["categories"][1:] != list(VOC.names[1:]):
        raise ValueError(f"torchvision's {published} has other classes than VOC: {published.meta['categories']}")
    if file is None:
        weights = published.get_state_dict(progress=True, check_hash=True)
    else:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    _load(model, weights, source=str(file or published.url))
    resize = published.transforms()
    architecture, _, backbone = arch.partition("_")
    card = ModelCard(
        name=f"torchvision_{arch}",
        title=f"torchvision {_TITLES.get(architecture, architecture)} ({backbone})",
        model="torchvision_reference",
        model_options={"arch": arch},
        classes=VOC,
        preprocess=Preprocess(
            short_side=resize.resize_size[0],
            long_side=2 * resize.resize_size[0],
            multiple=8,
            mean=tuple(resize.mean),
            std=tuple(resize.std),
        ),
        weights={},
        parameters=0,
        macs=0,
        macs_input=(512, 512),
        training={
            "data": "COCO train2017 pictures that show VOC's classes",
            "command": f"none here: trained by torchvision, weights {published}",
        },
        licence="BSD-3-Clause (torchvision)",
        intended_use="A reference beside the networks of this repository; trained by torchvision on far more pictures.",
    )
    return save_checkpoint(model.eval(), card, folder)


def _load(model: nn.Module, weights: dict[str, torch.Tensor], *, source: str) -> None:
    wanted = {f"net.{name}": tensor for name, tensor in weights.items() if not name.startswith("aux_classifier.")}
    try:
        model.load_state_dict(wanted)
    except RuntimeError as error:
        raise ValueError(f"{source} does not hold this network: {error}") from error
