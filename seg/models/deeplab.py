"""DeepLabV3: Rethinking Atrous Convolution for Semantic Image Segmentation (Chen et al., 2017).

The encoder stops shrinking at stride 16: its last stage keeps the resolution and spreads its kernels instead (atrous
convolution, section 3.1). On top, Atrous Spatial Pyramid Pooling looks at the same features through several rates at
once and through the whole image (section 3.3, figure 5). No CRF afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from seg.models._registry import register
from seg.models.backbone import DEFAULT_BACKBONE, Backbone, resize


class DeepLabV3(nn.Module):
    """DeepLabV3 on a timm encoder.

    `atrous_rates` belong to the output stride and to the crop the network is trained on: the paper's 6, 12, 18 are
    for 513 px crops at output stride 16. On a crop of 256 px the features are 16 wide, and a 3x3 kernel of rate 18
    would only ever see its centre tap (section 3.3): scale the rates with the crop.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: str = DEFAULT_BACKBONE,
        output_stride: int = 16,
        atrous_rates: Sequence[int] = (6, 12, 18),
        aspp_channels: int = 256,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(backbone, output_stride=output_stride)
        self.aspp = ASPP(self.backbone.channels[-1], aspp_channels, atrous_rates)
        self.classifier = nn.Conv2d(aspp_channels, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.backbone(x)[-1]  # (N, C, h/16, w/16)
        y = self.aspp(features)  # (N, 256, h/16, w/16)
        y = self.classifier(y)  # (N, K, h/16, w/16)
        return resize(y, x.shape[-2:])  # (N, K, h, w)


class ASPP(nn.Module):
    """Atrous Spatial Pyramid Pooling (figure 5): one 1x1, three atrous 3x3, image-level pooling; joined, projected."""

    def __init__(self, in_channels: int, channels: int, atrous_rates: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvBNReLU(in_channels, channels, kernel_size=1)])
        for rate in atrous_rates:
            self.branches.append(ConvBNReLU(in_channels, channels, kernel_size=3, dilation=rate))
        self.image_pooling = ImagePooling(in_channels, channels)
        self.project = nn.Sequential(
            ConvBNReLU((len(self.branches) + 1) * channels, channels, kernel_size=1),
            nn.Dropout(0.1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [branch(x) for branch in self.branches] + [self.image_pooling(x)]
        return self.project(torch.cat(branches, dim=1))  # (N, 5*256, h, w) -> (N, 256, h, w)


class ImagePooling(nn.Module):
    """The whole image's average, told to every position: what ParseNet calls global context (section 3.3)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(in_channels, channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x.mean(dim=(2, 3), keepdim=True))  # (N, 256, 1, 1)
        return y.expand(-1, -1, *x.shape[-2:])  # (N, 256, h, w)


class ConvBNReLU(nn.Sequential):
    """Convolution that keeps the size, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int, dilation: int = 1) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


@register
def deeplabv3(
    *,
    num_classes: int,
    backbone: str = DEFAULT_BACKBONE,
    output_stride: int = 16,
    atrous_rates: Sequence[int] = (6, 12, 18),
    aspp_channels: int = 256,
) -> DeepLabV3:
    """DeepLabV3: atrous encoder, then ASPP with image-level pooling."""
    return DeepLabV3(
        num_classes=num_classes,
        backbone=backbone,
        output_stride=output_stride,
        atrous_rates=atrous_rates,
        aspp_channels=aspp_channels,
    )
