"""How far one answer looks: the receptive field, as the network's construction allows it and as it is really used.

The theoretical receptive field of an output pixel is the box of input pixels that can change it at all. The effective
one is how much each of them does (Luo, Li, Urtasun, Zemel: "Understanding the Effective Receptive Field in Deep
Convolutional Neural Networks", NIPS 2016): the gradient of the output with respect to the input. Its middle counts
most, and what counts much is far smaller than the box.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from seg.models.deeplab import ImagePooling

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the network's input; x1 and y1 are outside


@dataclass(frozen=True)
class EffectiveField:
    """How strongly each input pixel moves one logit.

    Attributes:
        weight: (h, w) float32, |gradient| summed over the three colours, divided by its sum; all 0 if there is none.
        class_id: whose logit.
        scores: (K,) float32, all logits of the place.
    """

    weight: np.ndarray
    class_id: int
    scores: np.ndarray

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
    network: nn.Module,
    x: torch.Tensor,
    read: Callable[[torch.Tensor], torch.Tensor],
    class_id: int | None = None,
) -> EffectiveField:
    """Gradient of one logit at one place with respect to the whole input.

    Args:
        x: (1, 3, h, w), preprocessed.
        read: the network's logits (1, K, h, w) -> those of the place (K,), for example `Preprocess.restore_at`.
        class_id: whose logit; default the class that wins there.
    """
    torch.set_flush_denormal(True)  # as in Predictor.logits
    with torch.inference_mode(False), torch.enable_grad():
        given = x.detach().clone().requires_grad_()
        scores = read(network(given))  # (K,)
        chosen = int(scores.argmax()) if class_id is None else class_id
        (gradient,) = torch.autograd.grad(scores[chosen], given)  # of the input only: the weights stay untouched
    strength = gradient[0].abs().sum(dim=0)  # (h, w)
    total = strength.sum()
    weight = strength / total if total > 0 else strength
    return EffectiveField(weight.numpy(), chosen, scores.detach().numpy())


def theoretical_field(network: nn.Module, size: tuple[int, int], at: tuple[int, int]) -> Box:
    """The box of input pixels that can change the answer at a pixel: everything outside it changes nothing.

    The network is copied with one channel per layer and positive weights, without activations and normalisation, and
    with the mean of a window for its largest; then no two ways from an input pixel to the output can cancel, and the
    gradient differs from 0 exactly where there is a way at all. Image-level pooling and squeeze-and-excitation see the
    whole picture, and so does the box then.

    Args:
        size: (h, w) of the network's input.
        at: (x, y) of the output pixel.

    Raises:
        ValueError: a layer with weights that is neither convolution nor BatchNorm, as in vision transformers.
    """
    ways = _only_ways(network)
    given = torch.ones(1, 1, *size, dtype=torch.float64, requires_grad=True)  # ones: a gate multiplies by its input
    with torch.inference_mode(False), torch.enable_grad(), _MeanForLargest():
        (gradient,) = torch.autograd.grad(ways(given.expand(-1, 3, -1, -1))[0, 0, at[1], at[0]], given)
    rows, columns = (gradient[0, 0].sum(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def reach(network: nn.Module, place: int, *, canvas: int = 4096) -> tuple[int, int] | None:
    """How far an output pixel looks to both sides in input pixels, in a picture without edges; kernels are square.

    None: over the whole picture whatever its size (or farther than half of `canvas`).

    Args:
        place: the pixel's x for left and right, its y for up and down. A stride lays a grid, and the sides depend on
            where in its cell the pixel lies.
        canvas: length of the picture to look in, a multiple of the network's strides.

    Raises:
        ValueError: as `theoretical_field`.
    """
    middle = canvas // 2 + place % 64  # no encoder here strides farther
    x0, _, x1, _ = theoretical_field(network, (32, canvas), (middle, 16))
    return None if x0 == 0 or x1 == canvas else (middle - x0, x1 - 1 - middle)


@lru_cache(maxsize=16)
def without_image_pooling(network: nn.Module) -> nn.Module:
    """A copy, of the same weights, in which image-level pooling says nothing: what the other branches see is left."""
    changed = _copy(network)
    _replace(changed, lambda module: _Silent(module) if isinstance(module, ImagePooling) else None)
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


class _Way(nn.Module):
    """A convolution for one channel: the same pixels meet, and each of them counts alike."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.conv = copy.copy(conv)  # its own class pads in its own way
        self.conv._parameters = {"weight": None, "bias": None}
        self.conv.in_channels = self.conv.out_channels = self.conv.groups = 1
        kernel = torch.ones(1, 1, *conv.kernel_size, dtype=torch.float64)
        self.conv.weight = nn.Parameter(kernel / kernel.numel(), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.mean(dim=1, keepdim=True))


class _MeanForLargest(TorchFunctionMode):
    """The gradient of a window's largest goes to one pixel, but any of them might have been it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.max_pool2d:
            return func(*args, **kwargs)
        return _mean_for_largest(*args, **kwargs)


def _mean_for_largest(
    x: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> torch.Tensor:
    if return_indices or dilation not in (1, (1, 1)):
        raise ValueError("the receptive field of max pooling with indices or dilation is not computed here")
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)


@lru_cache(maxsize=32)
def _only_ways(network: nn.Module) -> nn.Module:
    """A copy that adds up positive numbers along every way from input to output."""
    ways = nn.Sequential(_copy(network))
    _replace(ways, _way)
    if left := [name for name, parameter in ways[0].named_parameters() if parameter.dtype != torch.float64]:
        raise ValueError(f"the receptive field of a network with '{left[0]}' is not computed here")
    return ways.double().eval()


def _way(module: nn.Module) -> nn.Module | None:
    """What stands for a layer in `_only_ways`; None: the layer itself, or its parts one by one."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        return _Way(module)
    if list(module.children()):
        return None
    alone = isinstance(module, _BatchNorm) or type(module).__module__ in _PIXEL_BY_PIXEL
    return nn.Identity() if alone else None


_PIXEL_BY_PIXEL = ("torch.nn.modules.activation", "timm.layers.activations", "torch.nn.modules.dropout")


def _copy(network: nn.Module) -> nn.Module:
    """Its own modules, the same weights."""
    return copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})


def _replace(module: nn.Module, change: Callable[[nn.Module], nn.Module | None]) -> None:
    """Put `change(child)` in the place of every module below, where it is not None."""
    for name, child in list(module.named_children()):
        changed = change(child)
        if changed is None:
            _replace(child, change)
        else:
            setattr(module, name, changed)


def entropy_bits(probabilities: np.ndarray) -> float:
    """Shannon entropy of one distribution (K,) in bits: 0 certain, log2 K no idea."""
    p = probabilities[probabilities > 0].astype(np.float64)
    return float(-(p * np.log2(p)).sum()) + 0.0


def margin(probabilities: Sequence[float] | np.ndarray) -> float:
    """How far the likeliest class leads the second, 0 to 1."""
    first, second = sorted(map(float, probabilities))[:-3:-1]
    return first - second
