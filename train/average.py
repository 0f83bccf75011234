"""Several trainings of one network, averaged weight by weight: one network, as fast as each and often better.

Wortsman et al.: "Model soups", ICML 2022. The trainings must have begun from the same weights, or one from another's:
then no wall of high loss stands between them. What BatchNorm knows of the features belongs to the old weights, so it is
measured anew (Izmailov et al.: "Averaging Weights Leads to Wider Optima", UAI 2018, section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader
from tqdm import tqdm

from seg.card import ModelCard
from seg.checkpoint import check_checkpoint, save_checkpoint
from seg.models import build_model
from train.augment import Augment
from train.config import Recipe
from train.data import DrawnSamples, listed_pairs
from train.environment import keep_freed_memory

_TOLD = ("command", "commit", "seed", "pictures_seen")  # in the card, of each that was trained


def average(
    checkpoints: Sequence[str | Path], folder: Path, *, recipe: Recipe | None = None, batches: int = 100
) -> ModelCard:
    """Write the mean of the checkpoints' weights to `folder`.

    The card is the last checkpoint's, without its figures; `average_of` in its `training` tells of all of them.

    Args:
        checkpoints: names or paths of cards, two or more; one given twice counts twice.
        recipe: whose training pictures, cut and coloured as it says but drawn evenly, measure BatchNorm's running
            statistics anew; without it they are averaged like the weights.
        batches: of these pictures, 1 or more.

    Raises:
        ValueError: fewer than two, no batch, or they differ in network, options, classes or preprocessing.
        FileExistsError: `folder` has a checkpoint of that name already.
        CheckpointError: as `check_checkpoint`.
    """
    if len(checkpoints) < 2:
        raise ValueError("an average needs two checkpoints or more")
    if batches < 1:
        raise ValueError(f"BatchNorm can be measured on 1 batch or more, got {batches}")
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
    training.pop("batchnorm", None)
    if recipe:
        keep_freed_memory()
        update_bn(_batches(recipe, last, batches), model)
        training["batchnorm"] = {"pictures": batches * recipe.batch_size, "seed": recipe.seed}
    return save_checkpoint(model.eval(), replace(last, training=training, metrics={}), folder)


def _batches(recipe: Recipe, card: ModelCard, count: int) -> Iterator[torch.Tensor]:
    """Training pictures (n, 3, c, c), augmented as when training, but as they come: rare classes stay rare."""
    pairs = listed_pairs(Path(recipe.data), recipe.train_list, recipe.class_set)
    evenly = np.full(len(pairs), 1 / len(pairs))
    augment = Augment(recipe, card.preprocess)
    samples = DrawnSamples(pairs, evenly, augment, start=0, stop=count * recipe.batch_size, seed=recipe.seed)
    loader = DataLoader(samples, recipe.batch_size, num_workers=recipe.workers)
    for x, _ in tqdm(loader, "measuring for BatchNorm", unit="batch", mininterval=5):
        yield x


def _told(card: ModelCard) -> dict[str, Any]:
    """What the average's card says of one that went into it: how it was trained, or of what it is an average itself."""
    keys = ("average_of", "batchnorm") if "average_of" in card.training else _TOLD
    known = {key: card.training[key] for key in keys if key in card.training}
    return {"from": card.name, "sha256": card.weights["sha256"], **known}
