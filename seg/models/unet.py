"""U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger, Fischer, Brox, MICCAI 2015).

Down the left side of the U the encoder trades resolution for meaning; up the right side every step doubles the
resolution and *concatenates* the encoder's features of the same scale (figure 1), so the next convolutions see both
what the coarse layers understood and where the fine layers saw it. FCN adds scores; U-Net joins features.

UNet++ (Zhou et al. 2018) fills the gap between the two sides with more such steps: every skip passes through nodes that
have already seen coarser features, and each node is joined with all nodes before it on its row (figure 1a).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from seg.models._registry import register
from seg.models.backbone import DEFAULT_BACKBONE, Backbone, resize


class UNet(nn.Module):
    """U-Net on a timm encoder, with as many steps up as the encoder takes down.

    Five steps down to stride 32 need five steps up. The first four are joined with the encoder's features at strides
    16, 8, 4 and 2; at full size the encoder has no features, so the last step only refines. (VGG16 has them: there all
    five steps are joined, and no other follows.)
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
        up_channels, last_channels = split_channels(decoder_channels, self.encoder)
        self.decoder = nn.ModuleList()
        for skip, out in zip(reversed(skip_channels), up_channels, strict=True):
            self.decoder.append(Up(channels, skip, out))
            channels = out
        self.last = Up(channels, 0, last_channels) if last_channels else None
        self.classifier = nn.Conv2d(last_channels or channels, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *skips, y = self.encoder(x)  # the deepest map turns round and goes up
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            y = up(y, skip)
        if self.last is not None:
            y = self.last(y, x[:, :0])  # (N, 16, h, w); a skip of no channels, which only tells the size
        return self.classifier(y)  # (N, K, h, w)


class UNetPlusPlus(nn.Module):
    """UNet++ on a timm encoder: a triangle of steps up in place of plain skips.

    Node (i, j) stands on row i (row 0 is the finest) in column j; column 0 is the encoder. It takes node (i + 1, j - 1)
    up and joins it with every node before it on its own row (equation 1). As in `UNet`, one more step leads to full
    size. For deep supervision (section 3.2) name nodes of row 0 as `aux_layers` in the recipe.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        backbone: str = DEFAULT_BACKBONE,
        decoder_channels: Sequence[int] = (128, 64, 32, 16, 16),
    ) -> None:
        super().__init__()
        self.encoder = Backbone(backbone)
        encoder_channels = self.encoder.channels
        up_channels, last_channels = split_channels(decoder_channels, self.encoder)
        row_channels = up_channels[::-1]  # finest first, like the encoder's
        self.rows = len(encoder_channels)
        self.nodes = nn.ModuleDict()
        for column in range(1, self.rows):
            for row in range(self.rows - column):
                below = (encoder_channels if column == 1 else row_channels)[row + 1]
                before = encoder_channels[row] + (column - 1) * row_channels[row]
                self.nodes[f"{row}_{column}"] = Up(below, before, row_channels[row])
        self.last = Up(row_channels[0], 0, last_channels) if last_channels else None
        self.classifier = nn.Conv2d(last_channels or row_channels[0], num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = [[features] for features in self.encoder(x)]  # the nodes of each row so far
        for column in range(1, self.rows):
            for row in range(self.rows - column):
                node = self.nodes[f"{row}_{column}"]
                rows[row].append(node(rows[row + 1][column - 1], torch.cat(rows[row], dim=1)))
        y = rows[0][-1]  # (N, 16, h/2, w/2)
        if self.last is not None:
            y = self.last(y, x[:, :0])  # (N, 16, h, w)
        return self.classifier(y)  # (N, K, h, w)


def split_channels(decoder_channels: Sequence[int], encoder: Backbone) -> tuple[list[int], int]:
    """Channels of the steps that have a skip, coarsest first, and of the last one, which has none (0: not needed)."""
    skips = len(encoder.channels) - 1
    needs_last = encoder.strides[0] > 1
    if len(decoder_channels) != skips + needs_last:
        raise ValueError(
            f"decoder_channels needs one entry per step up, {skips + needs_last} for this backbone; "
            f"got {len(decoder_channels)}"
        )
    return list(decoder_channels[:skips]), decoder_channels[-1] if needs_last else 0


class UNetClassic(nn.Module):
    """The network of 2015 (figure 1): its own encoder, learned from scratch, 64 to 1024 channels, four steps down.

    Two things are newer: convolutions pad, so that the output is as large as the input, and BatchNorm.
    """

    def __init__(self, *, num_classes: int, base_channels: int = 64) -> None:
        super().__init__()
        widths = [base_channels * 2**level for level in range(5)]  # 64 128 256 512 1024
        self.encoder = nn.ModuleList()
        self.up_convs = nn.ModuleList()
        self.decoder = nn.ModuleList()
        channels = 3
        for width in widths:
            self.encoder.append(DoubleConv(channels, width))
            channels = width
        for width in reversed(widths[:-1]):
            self.up_convs.append(nn.ConvTranspose2d(2 * width, width, 2, stride=2))  # halves the channels
            self.decoder.append(DoubleConv(2 * width, width))
        self.classifier = nn.Conv2d(base_channels, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        y = self.encoder[0](x)  # (N, 64, h, w)
        for down in self.encoder[1:]:
            skips.append(y)
            y = down(F.max_pool2d(y, 2))  # (N, 2c, h/2, w/2)
        for up_conv, double_conv, skip in zip(self.up_convs, self.decoder, reversed(skips), strict=True):
            y = resize(up_conv(y), skip.shape[-2:])  # odd sizes lost a row on the way down
            y = double_conv(torch.cat([skip, y], dim=1))  # (N, c, h, w)
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


@register
def unetpp(
    *,
    num_classes: int,
    backbone: str = DEFAULT_BACKBONE,
    decoder_channels: Sequence[int] = (128, 64, 32, 16, 16),
) -> UNetPlusPlus:
    """UNet++: nested, dense skips between encoder and decoder."""
    return UNetPlusPlus(num_classes=num_classes, backbone=backbone, decoder_channels=decoder_channels)


@register
def unet_classic(*, num_classes: int, base_channels: int = 64) -> UNetClassic:
    """The U-Net of 2015 with its own encoder."""
    return UNetClassic(num_classes=num_classes, base_channels=base_channels)
