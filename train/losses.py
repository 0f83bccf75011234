"""What training minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from seg.classes import IGNORE_INDEX


def cross_entropy_sums(outputs: Sequence[torch.Tensor], target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the cross-entropy over labelled pixels, and their number, for each of several logits.

    Sum and number stay apart because a mean over the pictures of several processes needs both from all of them.

    Args:
        outputs: logits (N, K, h', w') of any sizes, raw scores: the softmax is inside this loss and nowhere else.
        target: (N, h, w) int64 ids; IGNORE_INDEX pixels (borders, padding) neither help nor hurt. It is thinned out to
            each size, ids are never mixed: judging coarse logits at full size costs more and teaches no more.

    Returns:
        Sums float32 and numbers int64, both (len(outputs),).
    """
    targets = [_thinned(target, logits.shape[-2:]) for logits in outputs]
    sums = [
        F.cross_entropy(logits.float(), thinned, ignore_index=IGNORE_INDEX, reduction="sum")
        for logits, thinned in zip(outputs, targets, strict=True)
    ]
    return torch.stack(sums), torch.stack([(thinned != IGNORE_INDEX).sum() for thinned in targets])


def segmentation_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of (N, K, h, w) logits over labelled pixels; 0 where there are none."""
    sums, labelled = cross_entropy_sums([logits], target)
    return sums[0] / labelled[0].clamp(min=1)


def _thinned(target: torch.Tensor, size: torch.Size) -> torch.Tensor:
    if target.shape[-2:] == size:
        return target
    return F.interpolate(target[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()
