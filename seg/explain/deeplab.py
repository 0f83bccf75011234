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
    ("Understanding Convolution for Semantic Segmentation", WACV 2018). Every way is a sum of rates, each taken -1, 0 or
    1 times; so where all rates share a factor g, only every g-th position is ever reached.

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


@dataclass(frozen=True)
class SharedGrid:
    """Where the features of a larger output stride lie among those of half that stride.

    Attributes:
        first: (row, column) of the first shared position, 0 or 1 each; from there on every second one.
        difference: largest difference on the shared positions, as a share of the largest coarse feature.
    """

    first: tuple[int, int]
    difference: float


def shared_grid(fine: torch.Tensor, coarse: torch.Tensor) -> SharedGrid:
    """Find the coarse features (N, C, h, w) among the fine ones (N, C, 2h, 2w) of the same weights.

    Atrous convolution skips nothing and repeats nothing: where every layer is local, the two are equal on every second
    position, up to the border. On which ones, depends on the padding: a stride-2 kernel padded on both sides is centred
    on 0, 2, 4...; TensorFlow's "SAME" padding of an even side centres it on 1, 3, 5... A layer that averages over the
    whole map, such as squeeze-and-excite or image pooling, averages over other positions, and the equality is lost.

    Args:
        fine: an odd side of 2h - 1 or 2w - 1 is fine.
    """
    size, largest = coarse.shape[-2:], max(float(coarse.abs().max()), 1e-12)
    found = []
    for first in ((0, 0), (0, 1), (1, 0), (1, 1)):
        thinned = fine[..., first[0] :: 2, first[1] :: 2]
        if thinned.shape[-2:] == size:
            found.append(SharedGrid(first, float((thinned - coarse).abs().max()) / largest))
    if not found:
        raise ValueError(f"features of {tuple(fine.shape)} are not twice as dense as those of {tuple(coarse.shape)}")
    return min(found, key=lambda grid: grid.difference)


# ASPP


@dataclass(frozen=True)
class Branch:
    """One branch of ASPP.

    Attributes:
        kind: "1x1", "atrous" or "pooling".
        rate: of the atrous kernel; 1 for the 1x1 branch, 0 for image-level pooling.
        output: (N, C, h, w).
        summand: (N, C, h, w), what this branch adds in the projection, a 1x1 convolution and so a sum over branches.
    """

    kind: str
    rate: int
    output: torch.Tensor
    summand: torch.Tensor


@dataclass(frozen=True)
class ClassShares:
    """One class's score, split into what each branch brings to it.

    Attributes:
        branches: (B, h, w), B the number of branches.
        constant: (h, w), what the biases bring.
        score: (h, w), the class's score before it is enlarged: the sum of all the others.
    """

    branches: torch.Tensor
    constant: torch.Tensor
    score: torch.Tensor


def branch_names(network: DeepLabV3) -> list[tuple[str, int]]:
    """(kind, rate) of every branch, in the order of their channels."""
    found = []
    for branch in network.aspp.branches:
        conv = next(module for module in branch.modules() if isinstance(module, nn.Conv2d))
        found.append(("1x1", 1) if conv.kernel_size == (1, 1) else ("atrous", int(conv.dilation[0])))
    return [*found, ("pooling", 0)]


def encode(network: DeepLabV3, x: torch.Tensor) -> torch.Tensor:
    """x (N, 3, H, W) -> the features that ASPP sees, (N, C, H/stride, W/stride)."""
    return network.backbone(x)[-1]


def decode(network: DeepLabV3, features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """`encode`'s features -> logits (N, K, H, W) of `size`; both together are `network(x)`."""
    return resize(network.classifier(network.aspp(features)), size)


def aspp_branches(network: DeepLabV3, features: torch.Tensor) -> tuple[Branch, ...]:
    """What every branch makes of `encode`'s features, in the order of their channels."""
    aspp = network.aspp
    outputs = [branch(features) for branch in aspp.branches] + [aspp.image_pooling(features)]
    weights = projection(aspp).weight.split([y.shape[1] for y in outputs], dim=1)
    return tuple(
        Branch(kind, rate, output, F.conv2d(output, weight))
        for (kind, rate), output, weight in zip(branch_names(network), outputs, weights, strict=True)
    )


def logits_of(
    network: DeepLabV3, branches: Sequence[Branch], size: tuple[int, int], *, muted: Collection[int] = ()
) -> torch.Tensor:
    """Logits (N, K, H, W) of the branches that speak; of all of them they are `network(x)`.

    A muted branch hands zeros to the projection, which is what a projection without weights on its channels computes.

    Args:
        size: (H, W) of the network's input.
        muted: numbers of branches, as in `branch_names`.
    """
    heard = [torch.zeros_like(b.output) if i in muted else b.output for i, b in enumerate(branches)]
    return resize(network.classifier(network.aspp.project(torch.cat(heard, dim=1))), size)


def class_shares(network: DeepLabV3, branches: Sequence[Branch], class_id: int) -> ClassShares:
    """Split the score of one class into what each branch brings, at every position of the first picture.

    The projection sums over branches, its BatchNorm scales, its ReLU lets a number through or not, the classifier sums
    again. With the ReLU held as it is on this picture, all of that is linear, and the split is exact: the shares add up
    to the score. It does not tell what happens without a branch, because then the ReLU lets other numbers through:
    `logits_of` tells that.
    """
    conv, norm = projection(network.aspp), network.aspp.project.get_submodule("0.1")
    bias = torch.zeros(1, conv.out_channels, 1, 1) if conv.bias is None else conv.bias.view(1, -1, 1, 1)
    constant = norm(bias)  # in eval mode BatchNorm is an affine map per channel; folded, it is none at all
    scale = norm(torch.ones_like(bias)) - norm(torch.zeros_like(bias))  # (1, C, 1, 1)
    parts = torch.stack([scale * branch.summand for branch in branches])[:, 0]  # (B, C, h, w)
    before = parts.sum(dim=0) + constant[0]  # (C, h, w)
    gate = (before > 0).to(before.dtype)  # the ReLU
    weight = network.classifier.weight[class_id, :, 0, 0]  # (C,)
    shares = torch.einsum("c,bchw->bhw", weight, parts * gate)
    rest = torch.einsum("c,chw->hw", weight, constant[0] * gate)
    if network.classifier.bias is not None:
        rest = rest + network.classifier.bias[class_id]
    return ClassShares(shares, rest, shares.sum(dim=0) + rest)


def projection(aspp: ASPP) -> nn.Conv2d:
    """The 1x1 convolution that joins the branches."""
    return next(module for module in aspp.project.modules() if isinstance(module, nn.Conv2d))
