"""What training minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from seg.classes import IGNORE_INDEX


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over labelled pixels; 0 where there are none.

    Args:
        logits: (N, K, h, w), raw scores: the softmax is inside this loss and nowhere else.
        target: (N, h, w) int64 ids; IGNORE_INDEX pixels (borders, padding) neither help nor hurt.
    """
    labelled = (target != IGNORE_INDEX).sum()
    return F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="sum") / labelled.clamp(min=1)


def auxiliary_loss(logits: Sequence[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    """Mean of `segmentation_loss` over logits (N, K, h', w') of several sizes; 0 without any.

    The target is thinned out to each size, ids are never mixed: judging coarse logits at full size costs more and
    teaches no more.
    """
    losses = []
    for coarse in logits:
        thinned = F.interpolate(target[:, None].float(), size=coarse.shape[-2:], mode="nearest-exact")[:, 0].long()
        losses.append(segmentation_loss(coarse, thinned))
    return torch.stack(losses).mean() if losses else target.new_zeros((), dtype=torch.float32)
