"""Several trainings of one network, averaged weight by weight: one network, as fast as each and often better.

Wortsman et al.: "Model soups", ICML 2022. The trainings must have begun from the same weights, or one from another's:
then no wall of high loss stands between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from seg.card import ModelCard
from seg.checkpoint import check_checkpoint, save_checkpoint
from seg.models import build_model

_TOLD = ("command", "commit", "seed", "pictures_seen", "average_of")  # in the card, of each that was averaged


def average(checkpoints: Sequence[str | Path], folder: Path) -> ModelCard:
    """Write the mean of the checkpoints' weights to `folder`; BatchNorm's running statistics are averaged like them.

    The card is the last checkpoint's, without its figures; `average_of` in its `training` tells of all of them.

    Args:
        checkpoints: names or paths of cards, two or more; one given twice counts twice.

    Raises:
        ValueError: fewer than two, or they differ in network, options, classes or preprocessing.
        FileExistsError: `folder` has a checkpoint of that name already.
        CheckpointError: as `check_checkpoint`.
    """
    if len(checkpoints) < 2:
        raise ValueError("an average needs two checkpoints or more")
    cards, states = [], []
    for name in checkpoints:
        card, data = check_checkpoint(name)
        cards.append(card)
        states.append(safetensors.torch.load(data))
    last = cards[-1]
    for name, card in zip(checkpoints, cards, strict=True):
        for fact in ("model", "model_options", "classes", "preprocess"):
            if getattr(card, fact) != getattr(last, fact):
                raise ValueError(f"{name} and {checkpoints[-1]} differ in {fact}: their weights have no common mean")
    if (folder / f"{last.name}.json").exists():
        raise FileExistsError(f"{folder} has a checkpoint {last.name} already; choose another folder")
    mean = {
        # As stored: what is computed in float32 from a half-precision kernel is what the file will hold.
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(tensor.dtype)
        for name, tensor in states[-1].items()
    }
    model = build_model(last.model, num_classes=len(last.classes), **last.model_options)
    model.load_state_dict(mean)
    training = {**last.training, "average_of": [_told(card) for card in cards], "date": date.today().isoformat()}
    return save_checkpoint(model.eval(), replace(last, training=training, metrics={}), folder)


def _told(card: ModelCard) -> dict[str, Any]:
    """What the average's card says of one that went into it."""
    known = {key: card.training[key] for key in _TOLD if key in card.training}
    return {"from": card.name, "sha256": card.weights["sha256"], **known}
