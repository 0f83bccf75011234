"""FCN inside: the scores of each stride, and their sum step by step (Long, Shelhamer, Darrell, CVPR 2015, figure 3).

    score32 -> upsampled 2x -> + score16 -> upsampled 2x -> + score8 -> upsampled 8x

Nothing is watched from outside: the network's own parts are called in the order of its `forward`, so many threads may
ask at once. After the 1x1 convolutions everything is linear and without bias. So the logits are a plain sum with one
summand per stride, and a skip is taken away by leaving its scores out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from seg.models.fcn import FCN, BilinearUpsample, bilinear_kernel, crop

STRIDES = (32, 16, 8)  # coarsest first


@dataclass(frozen=True)
class Stage:
    """What happens at one stride; all maps are (N, K, h, w) at that stride.

    Attributes:
        stride: input pixels per score, in both directions.
        upsampled: the coarser stage's `total`, twice as large and cut to this size; None at stride 32.
        own: scores of this stride's features; zeros where they were left out.
        total: `upsampled` + `own`.
    """

    stride: int
    upsampled: torch.Tensor | None
    own: torch.Tensor
    total: torch.Tensor


@dataclass(frozen=True)
class Fusion:
    """The way from scores to logits.

    Attributes:
        stages: coarsest first; as many as the network has strides.
        logits: (N, K, h, w) at the input's size.
    """

    stages: tuple[Stage, ...]
    logits: torch.Tensor


def score_maps(model: FCN, x: torch.Tensor) -> dict[int, torch.Tensor]:
    """x (N, 3, h, w) -> for each stride the network uses, coarsest first, its class scores (N, K, h/stride, w/stride).

    An odd size is rounded as the encoder does it.
    """
    features = model.backbone(x)
    stride8, stride16, stride32 = (features[i] for i in model.at)
    scores = {32: model.score32(model.fc(stride32))}
    if model.finest_stride <= 16:
        scores[16] = model.score16(stride16)
    if model.finest_stride == 8:
        scores[8] = model.score8(stride8)
    return scores


def fuse_scores(
    model: FCN, scores: Mapping[int, torch.Tensor], x: torch.Tensor, *, keep: Collection[int] = STRIDES
) -> Fusion:
    """Add up `score_maps(model, x)` as the network does, and look at every step.

    Args:
        keep: strides whose scores count; the others are replaced by zeros, which is what the network computes when
            weights and bias of that `score` layer are zero.
    """
    upsampling = {16: "up32to16", 8: "up16to8"}
    stages: list[Stage] = []
    for stride, measured in scores.items():
        own = measured if stride in keep else torch.zeros_like(measured)
        if not stages:
            stages.append(Stage(stride, None, own, own))
            continue
        up = model.get_submodule(upsampling[stride])
        upsampled = crop(up(stages[-1].total), like=own)  # (N, K, h/stride, w/stride)
        stages.append(Stage(stride, upsampled, own, upsampled + own))
    to_input = model.get_submodule(f"up{model.finest_stride}to1")
    return Fusion(tuple(stages), crop(to_input(stages[-1].total), like=x))


def summands(model: FCN, scores: Mapping[int, torch.Tensor], x: torch.Tensor) -> dict[int, torch.Tensor]:
    """What each stride alone brings to the logits, (N, K, h, w) each; together they are the logits, up to rounding."""
    return {stride: fuse_scores(model, scores, x, keep=(stride,)).logits for stride in scores}


def rim(inside: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of `inside` (H, W) with a 4-neighbour that is not; the picture's border does not count."""
    padded = np.pad(inside, 1, mode="edge")
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~surrounded


def transition_width(probability: np.ndarray) -> float | None:
    """How many pixels a class's probability (H, W) needs from 1/10 to 9/10, at the slope that it has on its outline.

    The outline is where it passes 1/2. There it rises by so much per pixel, in whatever direction; 0.8 divided by that
    is the width. The answer is the median over the outline; None where the class has no outline.
    """
    outline = rim(probability >= 0.5)
    if not outline.any():
        return None
    down, right = np.gradient(probability.astype(np.float64))
    slope = np.hypot(down, right)[outline]
    return float(0.8 / np.median(slope))


@dataclass(frozen=True)
class UpsamplingKernel:
    """What one upsampling layer does with one class.

    Attributes:
        layer: its name in the network.
        factor: how many times larger it makes the scores.
        start: (2f, 2f) bilinear weights, from which training began.
        learned: (2f, 2f) weights from the class to itself, as they are now.
        other: id of the class whose scores reach this one most, other than itself; training started it at 0.
        other_weight: the largest of those weights, with its sign.
    """

    layer: str
    factor: int
    start: np.ndarray
    learned: np.ndarray
    other: int
    other_weight: float


def upsampling_kernels(model: FCN, class_id: int) -> list[UpsamplingKernel]:
    """The kernels of every upsampling layer for one class, in the order in which scores pass them."""
    kernels = []
    for name, layer in model.named_children():
        if not isinstance(layer, BilinearUpsample):
            continue
        factor = int(layer.stride[0])
        into = layer.weight.detach()[:, class_id]  # (K, 2f, 2f): from every class into this one
        others = into.clone()
        others[class_id] = 0
        strongest = int(others.abs().argmax())
        other = strongest // others[0].numel()
        weight = float(others.flatten()[strongest])
        start = bilinear_kernel(factor).numpy()
        kernels.append(UpsamplingKernel(name, factor, start, into[class_id].numpy(), other, weight))
    return kernels
