"""Data flow: a network as a strip of stages, what shape leaves each, what it costs, and what it reacts to.

A stage is one of the network's own parts, named as in its file. Hooks would be seen by everybody who uses the shared
network, so the pass that is watched runs on a private copy, made once, by one thread at a time.
"""

from __future__ import annotations

import copy
import threading
import weakref
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from seg.models.backbone import Backbone
from seg.models.deeplab import DeepLabV1, DeepLabV2, DeepLabV3
from seg.models.fcn import FCN
from seg.models.unet import UNet, UNetPlusPlus


@dataclass(frozen=True)
class Stage:
    """One part of a network, watched on one photo.

    Attributes:
        name: of the submodule, for example "aspp" or "backbone.blocks.2".
        output: (C, h, w) float32, what leaves it, for the one photo.
        stride: input pixels per position, in both directions, rounded.
        parameters: learnable numbers inside it.
        macs: multiply-adds of its convolutions for this photo.
    """

    name: str
    output: torch.Tensor
    stride: int
    parameters: int
    macs: int

    @property
    def channels(self) -> int:
        return self.output.shape[0]


def stage_names(network: nn.Module) -> list[str]:
    """The parts that make up a network's strip, in the order in which data passes them.

    Raises:
        ValueError: a network of no known family.
    """
    if isinstance(network, FCN):
        ups = [name for name, _ in network.named_children() if name.startswith(("score", "up"))]
        return [*encoder_stages(network.backbone, "backbone"), "fc", *ups]
    if isinstance(network, UNet):
        last = ["last"] if network.last is not None else []
        ups = [f"decoder.{i}" for i in range(len(network.decoder))]
        return [*encoder_stages(network.encoder, "encoder"), *ups, *last, "classifier"]
    if isinstance(network, UNetPlusPlus):
        last = ["last"] if network.last is not None else []
        return [
            *encoder_stages(network.encoder, "encoder"),
            *(f"nodes.{n}" for n in network.nodes),
            *last,
            "classifier",
        ]
    if isinstance(network, DeepLabV1):
        return [*encoder_stages(network.backbone, "backbone"), "head"]
    if isinstance(network, DeepLabV2):
        return [*encoder_stages(network.backbone, "backbone"), *(f"branches.{i}" for i in range(len(network.branches)))]
    if isinstance(network, DeepLabV3):
        aspp = [f"aspp.branches.{i}" for i in range(len(network.aspp.branches))]
        return [
            *encoder_stages(network.backbone, "backbone"), *aspp, "aspp.image_pooling", "aspp.project", "classifier",
        ]  # fmt: skip
    raise ValueError(f"no strip of stages is written down for {type(network).__name__}")


def encoder_stages(encoder: Backbone, name: str) -> list[str]:
    """The encoder's stem and blocks; for encoders built otherwise, its children."""
    inside = dict(encoder.net.named_children())
    if "blocks" in inside:
        stem = [f"{name}.net.conv_stem"]
        return [*stem, *(f"{name}.net.blocks.{child}" for child, _ in inside["blocks"].named_children())]
    return [f"{name}.net.{child}" for child, module in inside.items() if list(module.parameters())]


@torch.inference_mode()
def flow(network: nn.Module, x: torch.Tensor) -> list[Stage]:
    """Watch one pass of x (1, 3, h, w) through a network.

    Convolutions are counted, forward and transposed; BatchNorm, activations, resizing and additions are not. PyTorch's
    `FlopCounterMode` would count the same, but by stage only while no other thread asks any network: its hooks are
    global.
    """
    with _watching:
        private = _copy_of(network)
        names = stage_names(private)
        outputs: dict[str, torch.Tensor] = {}
        macs = dict.fromkeys(names, 0)

        def count(conv: nn.Module, inputs: Any, output: torch.Tensor, *, name: str) -> None:
            each = inputs[0] if isinstance(conv, nn.ConvTranspose2d) else output  # every weight once per position
            macs[name] += each.shape[-2:].numel() * conv.get_parameter("weight").numel()

        def keep(_module: nn.Module, _inputs: Any, output: torch.Tensor, *, name: str) -> None:
            outputs[name] = output.detach()

        handles = []
        for name in names:
            part = private.get_submodule(name)
            convs = [module for module in part.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))]
            handles += [conv.register_forward_hook(partial(count, name=name)) for conv in convs]
            handles.append(part.register_forward_hook(partial(keep, name=name)))
        try:
            private(x)
        finally:
            for handle in handles:
                handle.remove()
    stages = []
    for name in names:
        output = outputs[name][0].float()
        parameters = sum(p.numel() for p in private.get_submodule(name).parameters())
        stages.append(Stage(name, output, round(x.shape[-1] / output.shape[-1]), parameters, macs[name]))
    return stages


def strongest(stage: Stage, count: int) -> list[tuple[int, torch.Tensor]]:
    """(channel, (h, w) map) of the channels with the largest mean size on this photo, the strongest first."""
    strength = stage.output.abs().mean(dim=(1, 2))
    order = strength.argsort(descending=True)[:count].tolist()
    return [(channel, stage.output[channel]) for channel in order]


_watching = threading.Lock()
_copies: weakref.WeakKeyDictionary[nn.Module, nn.Module] = weakref.WeakKeyDictionary()


def _copy_of(network: nn.Module) -> nn.Module:
    if network not in _copies:
        with torch.inference_mode(False):
            _copies[network] = copy.deepcopy(network)
    return _copies[network]
