"""DeepLab v1, v2 and v3: seeing wide without shrinking (Chen et al. 2015, 2016, 2017).

All three take downsampling out of the end of the encoder and spread its kernels instead: atrous convolution. They
differ in what stands on top.

v1: one atrous 3x3 convolution with a large field of view (ICLR 2015, section 4.1, "LargeFOV").
v2: Atrous Spatial Pyramid Pooling, four atrous branches whose scores are summed (PAMI 2017, section 3.2, figure 7).
v3: ASPP with BatchNorm, a 1x1 branch and image-level pooling, joined by concatenation (2017, section 3.3, figure 5).

v1 and v2 sharpen their scores with a fully connected CRF afterwards (`seg.explain.crf`); v3 needs none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from seg.models._registry import register
from seg.models.backbone import DEFAULT_BACKBONE, Backbone, resize


class DeepLabV1(nn.Module):
    """DeepLab-LargeFOV on a timm encoder: output stride 8, then fc6 (3x3, rate 12), fc7 and the scores."""

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: str = DEFAULT_BACKBONE,
        output_stride: int = 8,
        atrous_rate: int = 12,
        fc_channels: int = 256,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(backbone, output_stride=output_stride)
        self.head = LargeFOV(self.backbone.channels[-1], fc_channels, num_classes, atrous_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.backbone(x)[-1]  # (N, C, h/8, w/8)
        y = self.head(features)  # (N, K, h/8, w/8)
        return resize(y, x.shape[-2:])  # (N, K, h, w)


class DeepLabV2(nn.Module):
    """DeepLab v2 on a timm encoder: output stride 8, then one LargeFOV head per rate, scores summed.

    The paper's rates 6, 12, 18, 24 ("ASPP-L") belong to crops of 321 px.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: str = DEFAULT_BACKBONE,
        output_stride: int = 8,
        atrous_rates: Sequence[int] = (6, 12, 18, 24),
        fc_channels: int = 128,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(backbone, output_stride=output_stride)
        channels = self.backbone.channels[-1]
        self.branches = nn.ModuleList(LargeFOV(channels, fc_channels, num_classes, rate) for rate in atrous_rates)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.backbone(x)[-1]  # (N, C, h/8, w/8)
        y = torch.stack([branch(features) for branch in self.branches]).sum(dim=0)  # (N, K, h/8, w/8)
        return resize(y, x.shape[-2:])  # (N, K, h, w)


class LargeFOV(nn.Sequential):
    """VGG16's fc6, fc7 and fc8 as convolutions, fc6 atrous: few weights, a wide view. BatchNorm is newer than v1."""

    def __init__(self, in_channels: int, fc_channels: int, num_classes: int, atrous_rate: int) -> None:
        super().__init__(
            ConvBNReLU(in_channels, fc_channels, kernel_size=3, dilation=atrous_rate),  # "fc6"
            nn.Dropout2d(0.1),
            ConvBNReLU(fc_channels, fc_channels, kernel_size=1),  # "fc7"
            nn.Dropout2d(0.1),
            nn.Conv2d(fc_channels, num_classes, 1),  # "fc8"
        )


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
def deeplabv1(
    *,
    num_classes: int,
    backbone: str = DEFAULT_BACKBONE,
    output_stride: int = 8,
    atrous_rate: int = 12,
    fc_channels: int = 256,
) -> DeepLabV1:
    """DeepLab v1 (LargeFOV): atrous encoder, then one atrous convolution with a large field of view."""
    return DeepLabV1(
        num_classes=num_classes,
        backbone=backbone,
        output_stride=output_stride,
        atrous_rate=atrous_rate,
        fc_channels=fc_channels,
    )


@register
def deeplabv2(
    *,
    num_classes: int,
    backbone: str = DEFAULT_BACKBONE,
    output_stride: int = 8,
    atrous_rates: Sequence[int] = (6, 12, 18, 24),
    fc_channels: int = 128,
) -> DeepLabV2:
    """DeepLab v2: atrous encoder, then ASPP with four branches, scores summed."""
    return DeepLabV2(
        num_classes=num_classes,
        backbone=backbone,
        output_stride=output_stride,
        atrous_rates=atrous_rates,
        fc_channels=fc_channels,
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
