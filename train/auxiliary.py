"""A second, throw-away classifier inside a network, for the time of its training."""

from __future__ import annotations

import torch
from torch import nn

from seg.models.backbone import resize


class WithAuxiliary(nn.Module):
    """A network and, while it trains, a second classifier on one of its layers; only the network is kept.

    The idea is from PSPNet (Zhao et al. 2017, section 3.3): a shorter way from the loss to the early layers.

    Args:
        layer: name of a submodule of `network` whose output is a feature map; "" for no second classifier.

    Returns:
        When called: logits (N, K, h, w), and the second classifier's logits of the same size, or None without it.
    """

    def __init__(self, network: nn.Module, *, layer: str, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.classifier = nn.LazyConv2d(num_classes, 1) if layer else None
        self._features: torch.Tensor | None = None
        if self.classifier is not None:
            network.get_submodule(layer).register_forward_hook(self._keep)
            with torch.no_grad():  # one look at the layer's output tells its channels
                network.eval()(torch.zeros(1, 3, 64, 64))
                self.classifier(self._features)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        logits = self.network(x)
        if self.classifier is None:
            return logits, None
        return logits, resize(self.classifier(self._features), x.shape[-2:])

    def _keep(self, _layer: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._features = output
