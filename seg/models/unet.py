"""U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger, Fischer, Brox, MICCAI 2015).

Down the left side of the U the encoder trades resolution for meaning; up the right side every step doubles the
resolution and *concatenates* the encoder's features of the same scale (figure 1), so the next convolutions see both
what the coarse layers understood and where the fine layers saw it. FCN adds scores; U-Net joins features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from seg.models._registry import register
from seg.models.backbone import DEFAULT_BACKBONE, Backbone, resize


class UNet(nn.Module):
    """U-Net on a timm encoder, with as many steps up as the encoder takes down.

    Five steps down to stride 32 need five steps up. The first four are joined with the encoder's features at strides
    16, 8, 4 and 2; at full size the encoder has no features, so the last step only refines.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: str = DEFAULT_BACKBONE,
        decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
    ) -> None:
        super().__init__()
        self.encoder = Backbone(backbone)
        *skip_channels, channels = self.encoder.channels
        if len(decoder_channels) != len(self.encoder.channels):
            raise ValueError(
                f"decoder_channels needs one entry per step up, {len(self.encoder.channels)} for '{backbone}'; "
                f"got {len(decoder_channels)}"
            )
        *up_channels, last_channels = decoder_channels
        self.decoder = nn.ModuleList()
        for skip, out in zip(reversed(skip_channels), up_channels, strict=True):
            self.decoder.append(Up(channels, skip, out))
            channels = out
        self.last = Up(channels, 0, last_channels)
        self.classifier = nn.Conv2d(last_channels, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: list[torch.Tensor] = self.encoder(x)
        *skips, y = features  # the deepest map turns round and goes up
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            y = up(y, skip)
        y = self.last(y, x[:, :0])  # (N, 16, h, w); a skip of no channels, which only tells the size
        return self.classifier(y)  # (N, K, h, w)


class Up(nn.Module):
    """One step up the U: halve the channels, double the size, concatenate the skip, two convolutions.

    Three things are newer than the paper. Halving is a 1x1 convolution before the enlarging, instead of a 2x2 one after
    it: the same wish, a quarter of the work. The skip is normalised: EfficientNet hands out sums of residuals, with
    about ten times the spread of what comes up from below. And what came from below is added to the result, as ResUNet
    does (Zhang et al. 2018). Without such a shortcut the narrow steps learned slowly to pass on what the step below
    them knew: after 187 training steps the classifiers on the way up named 54, 39, 29 and 23 % of the objects' pixels
    right.
    """

    def __init__(self, channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.halve = nn.Conv2d(channels, out_channels, 1)
        self.norm = nn.BatchNorm2d(skip_channels) if skip_channels else nn.Identity()
        self.conv = DoubleConv(out_channels + skip_channels, out_channels)

    def forward(self, y: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        # The paper crops the skip instead of enlarging to its size, because its convolutions do not pad.
        y = resize(self.halve(y), skip.shape[-2:])  # (N, out, h, w)
        return y + self.conv(torch.cat([self.norm(skip), y], dim=1))  # (N, out, h, w)


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, as everywhere in the U-Net figure; BatchNorm is newer than the paper."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


@register
def unet(
    *,
    num_classes: int,
    backbone: str = DEFAULT_BACKBONE,
    decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
) -> UNet:
    """U-Net: encoder features of every scale concatenated on the way up."""
    return UNet(num_classes=num_classes, backbone=backbone, decoder_channels=decoder_channels)
