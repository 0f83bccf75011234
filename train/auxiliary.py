"""Throw-away classifiers on inner layers of a network, for the time of its training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class WithAuxiliary(nn.Module):
    """A network and, while it trains, a 1x1 classifier on each of some layers; only the network is kept.

    A shorter way from the loss to each layer: PSPNet (Zhao et al. 2017, section 3.3) does it on one layer of the
    encoder, UNet++ (Zhou et al. 2018, section 3.2) on every step of the decoder and calls it deep supervision.

    Args:
        layers: names of submodules of `network` whose output is a feature map (N, C, h', w').
        frozen: submodules of `network` that stay in eval mode.

    Raises:
        ValueError: the network has no such layer; names those it has.

    Returns:
        When called: logits (N, K, h, w) of the network, and those of the classifiers, each at its layer's own size.
    """

    def __init__(
        self, network: nn.Module, *, layers: Sequence[str], num_classes: int, frozen: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.network = network
        self._frozen = list(frozen)  # a plain list: they are part of the network already
        self._features: list[torch.Tensor] = []
        known = dict(network.named_modules())
        for layer in layers:
            if layer not in known:
                children = ", ".join(name for name in known if name and name.count(".") < 2)
                raise ValueError(f"recipe key 'aux_layers': the network has no layer '{layer}'; it has {children}")
            known[layer].register_forward_hook(self._keep)
        with torch.no_grad():  # one look at the layers' outputs tells their channels
            network.eval()(torch.zeros(1, 3, 64, 64))
        self.classifiers = nn.ModuleList(nn.Conv2d(y.shape[1], num_classes, 1) for y in self._features)

    def train(self, mode: bool = True) -> WithAuxiliary:
        """As usual, but frozen layers stay in eval mode."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        self._features.clear()
        logits = self.network(x)
        return logits, [classify(y) for classify, y in zip(self.classifiers, self._features, strict=True)]

    def _keep(self, _layer: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._features.append(output)
