"""U-Net inside: what the skips carry (Ronneberger, Fischer, Brox, MICCAI 2015, figure 1).

Nothing is watched from outside: the network's own parts are called in the order of its `forward`, so many threads may
ask at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from seg.models.backbone import resize
from seg.models.unet import UNet, UNetPlusPlus, Up

Treatment = Literal["keep", "zero", "shuffle"]
TREATMENTS: tuple[Treatment, ...] = ("keep", "zero", "shuffle")


def skip_strides(network: UNet) -> list[int]:
    """Strides of the skips, coarsest first, in the order in which the decoder meets them: [16, 8, 4, 2]."""
    return network.encoder.strides[-2::-1]


def unet_logits(
    network: UNet, x: torch.Tensor, skips: Sequence[Treatment], features: Sequence[torch.Tensor] | None = None
) -> torch.Tensor:
    """`network(x)` with every skip treated: kept, replaced by zeros, or its positions shuffled.

    The treatment comes after the skip's normalisation, so "zero" is what the network would compute if the weights on
    that skip were zero. Shuffling permutes the positions of the feature map, the same way in all channels and always
    the same way: every feature is still there, only in another place. So "zero" asks what the skip brings, and
    "shuffle" whether it is the place that counts.

    Args:
        x: (N, 3, h, w), preprocessed.
        skips: one treatment per skip, coarsest first, as `skip_strides`.
        features: those of `network.encoder(x)`, from a caller who treats the same photo several times.

    Raises:
        ValueError: another number of treatments, or an unknown one.
    """
    *carried, y = features or network.encoder(x)
    if len(skips) != len(carried):
        raise ValueError(f"this U-Net has {len(carried)} skips, got {len(skips)} treatments")
    for up, skip, treatment in zip(_steps(network), reversed(carried), skips, strict=True):
        below, beside = sides(up, y, skip)
        y = below + up.conv(torch.cat([treated(beside, treatment), below], dim=1))
    if network.last is not None:
        y = network.last(y, x[:, :0])
    return network.classifier(y)  # (N, K, h, w)


def sides(up: Up, y: torch.Tensor, skip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a step up joins: the map from below, halved and enlarged, and the normalised skip, both (N, C, h, w)."""
    return resize(up.halve(y), skip.shape[-2:]), up.norm(skip)


def treated(skip: torch.Tensor, treatment: Treatment) -> torch.Tensor:
    """The skip (N, C, h, w) after its treatment, of the same shape."""
    if treatment == "keep":
        return skip
    if treatment == "zero":
        return torch.zeros_like(skip)
    if treatment == "shuffle":
        places = skip.shape[2] * skip.shape[3]
        order = torch.randperm(places, generator=torch.Generator().manual_seed(0))
        return skip.flatten(2)[..., order].view(skip.shape)
    raise ValueError(f"unknown treatment '{treatment}'; known: {', '.join(TREATMENTS)}")


@dataclass(frozen=True)
class Joint:
    """One step up: what is joined there, and how much each side moves the first convolution.

    Attributes:
        stride: of the joined map.
        size: (h, w) of the joined map.
        below, skip: channels that come from below and through the skip.
        skip_share: share of the convolution's response that the skip brings, 0 to 1; the map from below has the rest.
    """

    stride: int
    size: tuple[int, int]
    below: int
    skip: int
    skip_share: float


def joints(network: UNet, x: torch.Tensor) -> list[Joint]:
    """The steps up that have a skip, coarsest first.

    The first convolution after the joining is linear, so its response is a sum: `responses`. The share compares the
    mean squares of the two summands, the bias left out.
    """
    *features, y = network.encoder(x)
    found = []
    for up, skip, stride in zip(_steps(network), reversed(features), skip_strides(network), strict=True):
        from_skip, from_below = responses(up, y, skip)
        energy = [float(part.square().mean()) for part in (from_skip, from_below)]
        below, beside = sides(up, y, skip)
        share = energy[0] / max(sum(energy), 1e-12)
        found.append(Joint(stride, (skip.shape[2], skip.shape[3]), below.shape[1], beside.shape[1], share))
        y = up(y, skip)
    return found


def responses(up: Up, y: torch.Tensor, skip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the first convolution makes of the skip's channels and of those from below; plus bias, that is all of it."""
    below, beside = sides(up, y, skip)
    weight: torch.Tensor = up.conv[0].weight  # type: ignore[assignment]  # (out, skip + below, 3, 3)
    on_skip, on_below = weight.split([beside.shape[1], below.shape[1]], dim=1)
    return F.conv2d(beside, on_skip, padding=1), F.conv2d(below, on_below, padding=1)


def _steps(network: UNet) -> list[Up]:
    return [up for up in network.decoder if isinstance(up, Up)]


@dataclass(frozen=True)
class Node:
    """One node of UNet++ (Zhou et al. 2018, figure 1a): row i, column j, and how many maps are joined in it."""

    row: int
    column: int
    stride: int
    joined: int


def unetpp_nodes(network: UNetPlusPlus) -> list[Node]:
    """Its nodes, column by column: node (i, j) joins the j maps before it on row i with one from the row below."""
    nodes = []
    for name in network.nodes:
        row, column = map(int, name.split("_"))
        nodes.append(Node(row, column, network.encoder.strides[row], column + 1))
    return nodes
