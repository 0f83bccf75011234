"""Optimizer and learning rates: two groups of parameters, one curve for both."""

from __future__ import annotations

import math

import torch

from train.auxiliary import WithAuxiliary
from train.config import Recipe
from train.encoder import encoder_of


def make_optimizer(model: WithAuxiliary, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD or AdamW over two groups: the encoder's parameters, then all others, each with its `peak_lr`."""
    encoder = list(encoder_of(model.network).parameters())  # lists: the optimizer's state goes by position
    inside = set(encoder)
    groups = [
        {"params": encoder, "peak_lr": recipe.encoder_lr},
        {"params": [p for p in model.parameters() if p not in inside], "peak_lr": recipe.head_lr},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.head_lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        groups, lr=recipe.head_lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )


def set_learning_rates(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """Each group's peak times `schedule_factor`: a pure function of the step, so there is nothing to save."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * schedule_factor(recipe, step)


def schedule_factor(recipe: Recipe, step: int) -> float:
    """Share of the peak learning rate at `step` (0 to steps - 1).

    "poly" is the policy of the DeepLab papers after a short linear warm-up. "onecycle" is Smith and Topin's (2018) as
    PyTorch draws it: half a cosine from 1/25 up to the peak, half a cosine down to almost nothing; momentum stays.
    """
    if recipe.schedule == "poly":
        warmup = min(1.0, (step + 1) / (recipe.warmup_steps + 1))
        return warmup * (1 - step / recipe.steps) ** recipe.poly_power
    low, end = 1 / 25, recipe.steps - 1
    peak = 0.3 * recipe.steps - 1
    if step <= peak:
        return _half_cosine(low, 1.0, step / peak if peak else 1.0)
    return _half_cosine(1.0, low * 1e-4, (step - peak) / (end - peak))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
