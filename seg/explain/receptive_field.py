"""How far one answer looks: the receptive field, as the network's construction allows it and as it is really used.

The theoretical receptive field of an output pixel is the box of input pixels that can change it at all. The effective
one is how much each of them does (Luo, Li, Urtasun, Zemel: "Understanding the Effective Receptive Field in Deep
Convolutional Neural Networks", NIPS 2016): the gradient of the output with respect to the input. Its middle counts
most, and what counts much is far smaller than the box.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from seg.models.deeplab import ImagePooling

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the network's input; x1 and y1 are outside


@dataclass(frozen=True)
class EffectiveField:
    """How strongly each input pixel moves one logit.

    Attributes:
        weight: (h, w) float32, |gradient| summed over the three colours, divided by its sum; all 0 if there is none.
        class_id: whose logit.
        logit: its value.
    """

    weight: np.ndarray
    class_id: int
    logit: float

    def area_of(self, share: float) -> float:
        """Share of the picture that the strongest pixels need to hold `share` of the weight; nan without any weight."""
        if not self.weight.any():
            return float("nan")
        ordered = np.sort(self.weight, axis=None)[::-1].cumsum()
        return float((np.searchsorted(ordered, share * ordered[-1]) + 1) / self.weight.size)

    def radius_of(self, share: float, at: tuple[int, int]) -> float:
        """Radius in input pixels of the disc around `at` (x, y) that holds `share` of the weight; nan without any."""
        if not self.weight.any():
            return float("nan")
        y, x = np.indices(self.weight.shape)
        distance = np.hypot(x - at[0], y - at[1]).ravel()
        order = distance.argsort()
        held = self.weight.ravel()[order].cumsum()
        return float(distance[order][min(np.searchsorted(held, share * held[-1]), len(order) - 1)])


def effective_field(
    network: nn.Module, x: torch.Tensor, at: tuple[int, int], class_id: int | None = None
) -> EffectiveField:
    """Gradient of one logit at one input pixel's place with respect to the whole input.

    Args:
        x: (1, 3, h, w), preprocessed.
        at: (x, y) of the pixel, in the network's input.
        class_id: whose logit; default the class that wins there.
    """
    with torch.enable_grad():
        given = x.detach().clone().requires_grad_()
        scores = network(given)[0, :, at[1], at[0]]  # (K,)
        chosen = int(scores.argmax()) if class_id is None else class_id
        (gradient,) = torch.autograd.grad(scores[chosen], given)  # of the input only: the weights stay untouched
    strength = gradient[0].abs().sum(dim=0)  # (h, w)
    total = strength.sum()
    weight = strength / total if total > 0 else strength
    return EffectiveField(weight.numpy(), chosen, scores[chosen].item())


def theoretical_field(network: nn.Module, size: tuple[int, int], at: tuple[int, int]) -> Box:
    """The box of input pixels that can change the answer at a pixel: everything outside it changes nothing.

    The network is copied, every weight replaced by a positive constant, activations and normalisation by the identity,
    the largest of a window by its mean; then no two ways from an input pixel to the output can cancel, and the gradient
    differs from 0 exactly where there is a way at all. Image-level pooling and squeeze-and-excitation see the whole
    picture, and so does the box then.

    Args:
        size: (h, w) of the network's input.
        at: (x, y) of the output pixel.
    """
    linear = _only_ways(network)
    given = torch.ones(1, 3, *size, requires_grad=True)  # ones: a gate multiplies by its input
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(linear(given)[0, 0, at[1], at[0]], given)
    rows, columns = (gradient[0].sum(dim=(0, axis)).nonzero().flatten().tolist() for axis in (2, 1))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if rows else (at[0], at[1], at[0], at[1])


def reach(network: nn.Module, *, canvas: int = 2048) -> tuple[int, int] | None:
    """How far an output pixel looks to the left and to the right, input pixels; up and down it is as far.

    None: farther than half of `canvas`, or over the whole picture whatever its size. At another place of the encoder's
    grid it may be up to one stride more on one side and less on the other.
    """
    middle = canvas // 2
    x0, _, x1, _ = theoretical_field(network, (32, canvas), (middle, 16))
    return None if x0 == 0 or x1 == canvas else (middle - x0, x1 - 1 - middle)


def without_image_pooling(network: nn.Module) -> nn.Module:
    """A copy in which image-level pooling says nothing: what the other branches see is left."""
    changed = copy.deepcopy(network)
    for module in list(changed.modules()):
        for name, child in module.named_children():
            if isinstance(child, ImagePooling):
                setattr(module, name, _Silent(child))
    return changed


class _Silent(nn.Module):
    """The branch's place, filled with zeros."""

    def __init__(self, pooling: ImagePooling) -> None:
        super().__init__()
        self.channels = next(m for m in pooling.modules() if isinstance(m, nn.Conv2d)).out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(x.shape[0], self.channels, *x.shape[-2:])


def has_image_pooling(network: nn.Module) -> bool:
    """Whether some branch looks at the whole picture whatever the pixel."""
    return any(isinstance(module, ImagePooling) for module in network.modules())


def _only_ways(network: nn.Module) -> nn.Module:
    """A copy that adds up positive numbers along every way from input to output."""
    linear = copy.deepcopy(network).float().eval()
    for module in list(linear.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
            elif isinstance(child, nn.BatchNorm2d) or not (list(child.children()) or isinstance(child, _KEPT)):
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for module in linear.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                fan_in = module.weight[0].numel()
                module.weight.fill_(1 / fan_in)  # sums stay near 1 through fifty layers
                if module.bias is not None:
                    module.bias.zero_()
    return linear


_KEPT = (nn.Conv2d, nn.ConvTranspose2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, _Silent)


def entropy_bits(probabilities: np.ndarray) -> float:
    """Shannon entropy of one distribution (K,) in bits: 0 certain, log2 K no idea."""
    p = probabilities[probabilities > 0].astype(np.float64)
    return float(-(p * np.log2(p)).sum()) + 0.0


def margin(probabilities: Sequence[float] | np.ndarray) -> float:
    """How far the likeliest class leads the second, 0 to 1."""
    first, second = sorted(map(float, probabilities))[:-3:-1]
    return first - second
