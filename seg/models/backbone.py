"""The encoder every network shares, and the one helper that resizes feature maps."""

from __future__ import annotations

import difflib
from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F

DEFAULT_BACKBONE = "tf_efficientnet_lite0"


class Backbone(nn.Module):
    """A timm encoder that returns one feature map per scale, finest first.

    Example, `tf_efficientnet_lite0` on x (1, 3, 256, 256):
        output_stride=32: (1, 16, 128, 128) (1, 24, 64, 64) (1, 40, 32, 32) (1, 112, 16, 16) (1, 320, 8, 8)
        output_stride=16: the last map is (1, 320, 16, 16); its stage keeps the resolution and dilates its kernels.

    Attributes:
        channels: channels of each returned map.
        strides: downsampling factor of each returned map.
    """

    def __init__(self, name: str, *, output_stride: int = 32) -> None:
        super().__init__()
        if not timm.is_model(name):  # also keeps "hf-hub:..." names, which timm would download, out
            close = ", ".join(difflib.get_close_matches(name, timm.list_models())) or DEFAULT_BACKBONE
            raise ValueError(f"unknown backbone '{name}'; timm.list_models() names them, for example: {close}")
        try:
            self.net = timm.create_model(name, features_only=True, pretrained=False, output_stride=output_stride)
        except (RuntimeError, TypeError, AttributeError, NotImplementedError, AssertionError) as error:
            raise ValueError(
                f"backbone '{name}' cannot serve as an encoder at output stride {output_stride}: {error}; "
                "choose one of timm.list_models() that supports features_only"
            ) from error
        info: Any = self.net.feature_info
        self.channels: list[int] = info.channels()
        self.strides: list[int] = info.reduction()

    def at_stride(self, stride: int) -> int:
        """Index of the deepest map with this stride."""
        if stride not in self.strides:
            raise ValueError(f"this backbone has no features at stride {stride}; it has {self.strides}")
        return len(self.strides) - 1 - self.strides[::-1].index(stride)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return self.net(x)


def resize(x: torch.Tensor, size: tuple[int, int] | torch.Size) -> torch.Tensor:
    """Bilinear resize of feature or score maps (N, C, h, w) to `size` (H, W), pixel areas aligned, never label ids."""
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
