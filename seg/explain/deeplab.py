"""DeepLab inside: atrous kernels, what gridding is, and ASPP branch by branch (Chen et al. 2015, 2016, 2017).

Nothing is watched from outside: the network's own parts are called in the order of its `forward`, so many threads may
ask at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from seg.models import build_model
from seg.models.backbone import resize
from seg.models.deeplab import ASPP, DeepLabV3

# Atrous convolution


def taps(rate: int, *, kernel_size: int = 3) -> list[tuple[int, int]]:
    """Offsets (x, y) in features at which an atrous kernel looks; the one in the middle is (0, 0)."""
    reach = kernel_size // 2
    steps = [rate * step for step in range(-reach, reach + 1)]
    return [(x, y) for y in steps for x in steps]


def coverage(rates: Sequence[int], *, kernel_size: int = 3) -> np.ndarray:
    """How many ways lead from each input position to one output position through a stack of atrous layers.

    One layer per rate. A 0 inside the map is a hole: that position is never looked at, the "gridding" of Wang et al.
    ("Understanding Convolution for Semantic Segmentation", WACV 2018).

    Returns:
        (n, n) int64, n = 1 + 2 * (sum of rates) * (kernel_size // 2), the output's own position in the middle.
    """
    line = np.ones(1, np.int64)
    for rate in rates:
        kernel = np.zeros(rate * (kernel_size - 1) + 1, np.int64)
        kernel[::rate] = 1
        line = np.convolve(line, kernel)
    return np.outer(line, line)  # a square kernel of ones is a row times a column


def at_output_stride(model: DeepLabV3, output_stride: int, *, num_classes: int, options: dict[str, Any]) -> DeepLabV3:
    """The same weights on another output stride: fewer stages that shrink, and wider kernels after them.

    Atrous convolution needs no new weights (2017, section 3.1). The rates of ASPP belong to an output stride: they are
    doubled when it is halved, as in the paper (section 3.3), and halved when it is doubled, but at least 1.

    Args:
        model: as built, BatchNorm not folded.
        options: keyword arguments of its builder, `output_stride` and `atrous_rates` among them.
    """
    rates = [max(1, rate * options["output_stride"] // output_stride) for rate in options["atrous_rates"]]
    changed = {**options, "output_stride": output_stride, "atrous_rates": rates}
    other = build_model("deeplabv3", num_classes=num_classes, **changed)
    assert isinstance(other, DeepLabV3)
    other.load_state_dict(model.state_dict())
    return other.eval()


# ASPP


@dataclass(frozen=True)
class Branch:
    """One branch of ASPP.

    Attributes:
        kind: "1x1", "atrous" or "pooling".
        rate: of the atrous kernel; 1 for the 1x1 branch, 0 for image-level pooling.
        output: (N, C, h, w).
        contribution: (N, C, h, w), this branch's summand in the projection, a convolution and so linear.
    """

    kind: str
    rate: int
    output: torch.Tensor
    contribution: torch.Tensor


@dataclass(frozen=True)
class AsppView:
    """ASPP with some branches muted.

    Attributes:
        branches: all of them, in the order of their channels.
        logits: (N, K, h, w) at the input's size, of the branches that speak.
    """

    branches: tuple[Branch, ...]
    logits: torch.Tensor


def branch_names(network: DeepLabV3) -> list[tuple[str, int]]:
    """(kind, rate) of every branch, in the order of their channels."""
    found = []
    for branch in network.aspp.branches:
        conv = next(module for module in branch.modules() if isinstance(module, nn.Conv2d))
        found.append(("1x1", 1) if conv.kernel_size == (1, 1) else ("atrous", int(conv.dilation[0])))
    return [*found, ("pooling", 0)]


def aspp_view(network: DeepLabV3, x: torch.Tensor, *, muted: Collection[int] = ()) -> AsppView:
    """`network(x)`, and what every branch of ASPP brings to it.

    A muted branch hands zeros to the projection, which is what a projection without weights on its channels would
    compute. The summands add up before the projection's bias, BatchNorm and ReLU; after that the branches are no longer
    a sum, so what a branch is worth for a class is told by muting it.

    Args:
        muted: numbers of branches, as in `branch_names`.
    """
    features = network.backbone(x)[-1]
    aspp = network.aspp
    outputs = [branch(features) for branch in aspp.branches] + [aspp.image_pooling(features)]
    heard = [torch.zeros_like(y) if i in muted else y for i, y in enumerate(outputs)]
    y = network.classifier(aspp.project(torch.cat(heard, dim=1)))
    parts = _summands(aspp, outputs)
    branches = tuple(
        Branch(kind, rate, output, part)
        for (kind, rate), output, part in zip(branch_names(network), outputs, parts, strict=True)
    )
    return AsppView(branches, resize(y, x.shape[-2:]))


def _summands(aspp: ASPP, outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    conv = projection(aspp)
    weights = conv.weight.split([y.shape[1] for y in outputs], dim=1)
    return [F.conv2d(y, weight) for y, weight in zip(outputs, weights, strict=True)]


def projection(aspp: ASPP) -> nn.Conv2d:
    """The 1x1 convolution that joins the branches."""
    return next(module for module in aspp.project.modules() if isinstance(module, nn.Conv2d))
