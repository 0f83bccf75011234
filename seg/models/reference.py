"""torchvision's own segmentation networks, to stand beside ours; their published weights come in through `train`."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import get_model, list_models
from torchvision.models import segmentation as torchvision_segmentation

from seg.models._registry import register


class TorchvisionReference(nn.Module):
    """A network of `torchvision.models.segmentation` with this package's contract: logits only, no dictionary."""

    def __init__(self, *, num_classes: int, arch: str) -> None:
        super().__init__()
        known = list_models(torchvision_segmentation)
        if arch not in known:
            raise ValueError(f"torchvision has no segmentation network '{arch}'; it has {', '.join(known)}")
        self.net = get_model(arch, weights=None, weights_backbone=None, num_classes=num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)["out"]  # (N, K, h, w); there is no "aux", it only serves training


@register
def torchvision_reference(*, num_classes: int, arch: str = "lraspp_mobilenet_v3_large") -> TorchvisionReference:
    """FCN, DeepLabV3 or LR-ASPP as torchvision builds them: `arch` is a name there, for example "fcn_resnet50"."""
    return TorchvisionReference(num_classes=num_classes, arch=arch)
