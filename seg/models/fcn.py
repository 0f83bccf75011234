"""FCN: Fully Convolutional Networks for Semantic Segmentation (Long, Shelhamer, Darrell, CVPR 2015).

The idea in three steps:
1. A classification network without its fully connected layers is convolutional, so it accepts any input size and
   gives a coarse map of class scores instead of one label (the paper's section 3.1).
2. The scores of finer layers are *added* to it, one skip at a time (section 4.2, figure 3): coarse layers know
   what, fine layers know where.
3. Upsampling is a transposed convolution, started as bilinear interpolation (section 3.3). Those between the skips
   learn; the last one stays as it is (section 4.3, "Dense prediction").
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from seg.models._registry import register
from seg.models.backbone import DEFAULT_BACKBONE, Backbone


class FCN(nn.Module):
    """FCN-32s, FCN-16s or FCN-8s on a timm encoder: the name tells the finest stride whose scores are added.

    The paper's VGG16 ends in fc6 and fc7, turned into convolutions; here they are a 3x3 and a 1x1 convolution on the
    encoder's stride-32 features, with dropout as in the paper.
    """

    def __init__(
        self, *, num_classes: int, finest_stride: int, backbone: str = DEFAULT_BACKBONE, fc_channels: int = 512
    ) -> None:
        super().__init__()
        self.finest_stride = finest_stride
        self.backbone = Backbone(backbone)
        self.at = [self.backbone.at_stride(stride) for stride in (8, 16, 32)]
        channels8, channels16, channels32 = (self.backbone.channels[i] for i in self.at)

        self.fc = nn.Sequential(
            nn.Conv2d(channels32, fc_channels, 3, padding=1, bias=False),  # "fc6"
            nn.BatchNorm2d(fc_channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(fc_channels, fc_channels, 1, bias=False),  # "fc7"
            nn.BatchNorm2d(fc_channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
        )
        self.score32 = nn.Conv2d(fc_channels, num_classes, 1)
        if finest_stride == 32:
            self.up32to1 = BilinearUpsample(num_classes, factor=32).requires_grad_(False)
            return
        self.up32to16 = BilinearUpsample(num_classes, factor=2)
        self.score16 = zeroed(nn.Conv2d(channels16, num_classes, 1))
        if finest_stride == 16:
            self.up16to1 = BilinearUpsample(num_classes, factor=16).requires_grad_(False)
            return
        self.up16to8 = BilinearUpsample(num_classes, factor=2)
        self.score8 = zeroed(nn.Conv2d(channels8, num_classes, 1))
        self.up8to1 = BilinearUpsample(num_classes, factor=8).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.backbone(x)
        stride8, stride16, stride32 = (features[i] for i in self.at)

        score = self.score32(self.fc(stride32))  # (N, K, h/32, w/32)
        if self.finest_stride == 32:
            return crop(self.up32to1(score), like=x)  # (N, K, h, w)

        score = fuse(self.up32to16(score), self.score16(stride16))  # (N, K, h/16, w/16)
        if self.finest_stride == 16:
            return crop(self.up16to1(score), like=x)  # (N, K, h, w)

        score = fuse(self.up16to8(score), self.score8(stride8))  # (N, K, h/8, w/8)
        return crop(self.up8to1(score), like=x)  # (N, K, h, w)


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """A skip starts silent, so that a network grown from a coarser one begins with what that one knew (section 4.2)."""
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class BilinearUpsample(nn.ConvTranspose2d):
    """Transposed convolution that starts as bilinear interpolation by `factor` and may learn something better.

    Kernel 2f, stride f, padding f/2: the output is exactly f times the input, and pixel areas stay aligned.
    """

    def __init__(self, channels: int, *, factor: int) -> None:
        super().__init__(channels, channels, 2 * factor, stride=factor, padding=factor // 2, bias=False)
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(channels), range(channels)] = bilinear_kernel(factor)


def bilinear_kernel(factor: int) -> torch.Tensor:
    """The (2f, 2f) kernel with which a stride-f transposed convolution interpolates bilinearly; f must be even.

    Example, one axis, f = 2: 0.25 0.75 0.75 0.25.
    """
    if factor % 2:
        raise ValueError(f"factor must be even to keep pixel areas aligned, got {factor}")
    position = torch.arange(2 * factor, dtype=torch.float32) + 0.5
    ramp = 1 - (position - factor).abs() / factor  # rises from the edge to the centre and falls again
    return torch.outer(ramp, ramp)


def fuse(coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    """The FCN skip: add the upsampled coarse scores to the finer ones, element by element."""
    return crop(coarse, like=fine) + fine


def crop(score: torch.Tensor, *, like: torch.Tensor) -> torch.Tensor:
    """Cut what upsampling made too much at the bottom and right when a size was odd.

    Encoders that round an odd size down instead (patch embeddings) make it too little: the last scores are repeated.
    """
    height, width = like.shape[-2:]
    below, right = max(0, height - score.shape[-2]), max(0, width - score.shape[-1])
    if below or right:
        score = F.pad(score, (0, right, 0, below), mode="replicate")
    return score[..., :height, :width]


@register
def fcn32s(*, num_classes: int, backbone: str = DEFAULT_BACKBONE, fc_channels: int = 512) -> FCN:
    """FCN-32s: scores of stride 32, upsampled 32 times."""
    return FCN(num_classes=num_classes, finest_stride=32, backbone=backbone, fc_channels=fc_channels)


@register
def fcn16s(*, num_classes: int, backbone: str = DEFAULT_BACKBONE, fc_channels: int = 512) -> FCN:
    """FCN-16s: scores of strides 32 and 16 added, then upsampled 16 times."""
    return FCN(num_classes=num_classes, finest_stride=16, backbone=backbone, fc_channels=fc_channels)


@register
def fcn8s(*, num_classes: int, backbone: str = DEFAULT_BACKBONE, fc_channels: int = 512) -> FCN:
    """FCN-8s: scores of strides 32, 16 and 8 added, then upsampled 8 times."""
    return FCN(num_classes=num_classes, finest_stride=8, backbone=backbone, fc_channels=fc_channels)
