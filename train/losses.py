"""What training minimises."""

from __future__ import annotations

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
