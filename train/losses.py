"""What training minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from seg.classes import IGNORE_INDEX
from train.soft_labels import OFFSET, STRIDE


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


def distillation_sums(
    logits: torch.Tensor, soft: torch.Tensor, counted: torch.Tensor, *, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum over the counted positions of T^2 KL(teacher || student) at temperature T, and the number of positions.

    Hinton, Vinyals, Dean 2015, section 2: T^2 keeps the gradients' size when T changes. KL is their cross-entropy
    without the teacher's own entropy, which no student can change.

    Args:
        logits: (N, K, h, w) of the student.
        soft: (N, K, h/4, w/4) of the teacher, for the pixels 2, 6, 10, ... of both axes.
        counted: (N, h/4, w/4) bool.

    Returns:
        float32 and int64, both without axes.
    """
    theirs = F.log_softmax(soft.float() / temperature, dim=1)
    ours = F.log_softmax(logits[..., OFFSET::STRIDE, OFFSET::STRIDE].float() / temperature, dim=1)
    divergence = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=1)  # (N, h/4, w/4)
    return temperature**2 * (divergence * counted).sum(), counted.sum()


def lovasz_softmax(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Lovász-Softmax loss, a smooth stand-in for 1 - IoU, over the batch as one picture; 0 where nothing is labelled.

    Berman, Rannen Triki, Blaschko: "The Lovász-Softmax Loss", CVPR 2018, equations 8, 9 and 11, algorithm 1. The mean
    goes over the classes that occur in `target`; pixels 2, 6, 10, ... of both axes count, those of IGNORE_INDEX do not.
    It is no sum over pixels: several processes compute it each on its own pictures and average the gradients, which is
    not quite the loss of all pictures together.

    Args:
        logits: (N, K, h, w) raw scores.
        target: (N, h, w) int64 ids.
    """
    thin = (..., slice(OFFSET, None, STRIDE), slice(OFFSET, None, STRIDE))
    ids = target[thin].flatten()
    scores = logits[thin].float().movedim(1, -1).flatten(0, -2)[ids != IGNORE_INDEX]  # (P, K)
    ids = ids[ids != IGNORE_INDEX]
    if not len(ids):
        return 0 * scores.sum()
    present = ids.unique()
    truth = (ids[:, None] == present).float()  # (P, C)
    errors = (truth - scores.softmax(dim=1)[:, present]).abs()  # eq. 8
    errors, order = errors.sort(dim=0, descending=True)
    truth = truth.gather(0, order)
    missed = truth.cumsum(dim=0)  # of the class, among the worst 1, 2, ..., P pixels
    invented = (1 - truth).cumsum(dim=0)
    size = missed[-1:]
    jaccard = 1 - (size - missed) / (size + invented)  # Jaccard loss if just these pixels were wrong
    gain = jaccard.diff(dim=0, prepend=torch.zeros_like(size))
    return (errors * gain).sum(dim=0).mean()  # eq. 9 and 11


def _thinned(target: torch.Tensor, size: torch.Size) -> torch.Tensor:
    if target.shape[-2:] == size:
        return target
    return F.interpolate(target[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()
