"""BatchNorm folded into the convolution before it: the same function, fewer passes over memory."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """A copy of `model` for inference, every BatchNorm that directly follows a convolution folded into it.

    Which BatchNorm follows which convolution is not guessed from names: one forward pass is watched, and a pair is
    folded only where the very tensor that left the convolution enters the BatchNorm. In eval mode BatchNorm is an
    affine map per channel, so outputs stay equal up to rounding. Where they do not (another layer reads the
    convolution's output too, as in pre-activation networks), the copy is returned unfolded: slower, never wrong.
    """
    model = copy.deepcopy(model).eval()
    folded = copy.deepcopy(model)
    for bn, conv in _conv_before_bn(folded).items():
        fused = fuse_conv_bn_eval(conv, bn)
        conv.weight, conv.bias = fused.weight, fused.bias
        _replace(folded, bn, getattr(bn, "act", nn.Identity()))  # timm's BatchNormAct2d carries its activation
    return folded if _same_function(model, folded) else model


def _same_function(model: nn.Module, folded: nn.Module) -> bool:
    parameter = next(model.parameters())
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).to(parameter)
    with torch.inference_mode():
        expected, found = model(noise), folded(noise)
    return bool((found - expected).abs().max() <= 1e-3 * expected.abs().max())


def _conv_before_bn(model: nn.Module) -> dict[_BatchNorm, nn.Conv2d]:
    made_by: dict[int, nn.Conv2d] = {}
    alive: list[torch.Tensor] = []  # keeps every output alive, so that no id is used twice
    pairs: dict[_BatchNorm, nn.Conv2d] = {}

    def left_conv(conv: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        made_by[id(output)] = conv  # type: ignore[assignment]
        alive.append(output)

    def enters_bn(bn: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if id(inputs[0]) in made_by:
            pairs[bn] = made_by[id(inputs[0])]  # type: ignore[index]

    hooks = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(left_conv))
        elif isinstance(module, _BatchNorm):
            hooks.append(module.register_forward_pre_hook(enters_bn))
    parameter = next(model.parameters())
    with torch.inference_mode():
        model(torch.zeros(1, 3, 64, 64, device=parameter.device, dtype=parameter.dtype))
    for hook in hooks:
        hook.remove()
    return pairs


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in model.modules():
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)
