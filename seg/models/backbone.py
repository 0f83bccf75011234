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
            if name.startswith("vgg"):  # timm dilates every family but this one
                self.net = _dilate_vgg(timm.create_model(name, features_only=True, pretrained=False), output_stride)
            else:
                self.net = timm.create_model(name, features_only=True, pretrained=False, output_stride=output_stride)
        except (RuntimeError, TypeError, AttributeError, NotImplementedError, AssertionError) as error:
            raise ValueError(
                f"backbone '{name}' cannot serve as an encoder at output stride {output_stride}: {error}; "
                "choose one of timm.list_models() that supports features_only"
            ) from error
        info: Any = self.net.feature_info
        self.channels: list[int] = info.channels()
        self.strides: list[int] = [min(stride, output_stride) for stride in info.reduction()]

    def at_stride(self, stride: int) -> int:
        """Index of the deepest map with this stride."""
        if stride not in self.strides:
            raise ValueError(f"this backbone has no features at stride {stride}; it has {self.strides}")
        return len(self.strides) - 1 - self.strides[::-1].index(stride)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return self.net(x)


def _dilate_vgg(net: nn.Module, output_stride: int) -> nn.Module:
    """What DeepLab v1 does to VGG16 (section 3.1): later pools stop shrinking, and the kernels after them spread.

    No weight changes its shape, so ImageNet weights still fit.
    """
    stride = dilation = 1
    for layer in net.modules():
        if isinstance(layer, nn.MaxPool2d):
            if stride >= output_stride:
                layer.kernel_size, layer.stride, layer.padding = 3, 1, 1  # as the paper's pool4 and pool5
                dilation *= 2
            else:
                stride *= 2
        elif isinstance(layer, nn.Conv2d):
            layer.dilation = layer.padding = (dilation, dilation)
    return net


def resize(x: torch.Tensor, size: tuple[int, int] | torch.Size) -> torch.Tensor:
    """Bilinear resize of feature or score maps (N, C, h, w) to `size` (H, W), pixel areas aligned, never label ids."""
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
