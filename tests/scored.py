"""Cards with figures as `eval --write` makes them, of networks that guess: right more often, the higher `skill` is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from conftest import TINY_BACKBONE, tiny_card

from seg.card import ModelCard
from seg.checkpoint import save_checkpoint
from seg.classes import VOC, ClassSet, voc_colours
from seg.metrics import BoundaryF, ConfusionMatrix, TrimapBands
from seg.models import build_model
from train.evaluate import Scores, scores_dict

SHAPES = ClassSet("shapes", ("background", "circle", "<b>square</b>"), ("背景", "圆", "方"), voc_colours(3))
CARDS = {"guess-a": 0.8, "guess-b": 0.6}
NAUGHTY = '<img src=x onerror="console.error(1)">'


def metrics(class_set: ClassSet = VOC, *, skill: float, seed: int = 0, images: int = 3) -> dict[str, Any]:
    """Made by the code that scores real networks. The last class never occurs."""
    random = np.random.default_rng(seed)
    count = len(class_set)
    scores = Scores(ConfusionMatrix(count), TrimapBands(count), BoundaryF(count))
    for number in range(images):
        target = np.kron(random.integers(0, count - 1, (6, 6)), np.ones((12, 12))).astype(np.uint8)
        wrong = random.random(target.shape) > skill
        answer = np.where(wrong, random.integers(0, count - 1, target.shape), target).astype(np.uint8)
        before = scores.confusion.counts.copy()
        scores.confusion.update(target, answer)
        scores.bands.update(target, answer)
        scores.boundary.update(target, answer)
        counts = scores.confusion.counts - before
        scores.images.append(str(number))
        scores.per_image.append(np.stack([np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)]))
    return {"data": "made by the test", "images": images, **scores_dict(scores, class_set.names)}


PAST = "the encoder of guess-b (0123456789ab), which began as: " * 5 + "ImageNet weights"


def scored_card(name: str, *, skill: float, classes: ClassSet = VOC, **changes: object) -> ModelCard:
    return tiny_card(name=name, title=name.title(), classes=classes, metrics=metrics(classes, skill=skill), **changes)


def write_checkpoints(folder: Path) -> None:
    """Two scored networks with VOC's classes, one without figures, and one with classes of its own."""
    cards = [scored_card(name, skill=skill) for name, skill in CARDS.items()]
    cards.append(tiny_card(name="guess-c", title="Guess-C", training={"encoder_init": PAST}))
    naughty = {"title": f"Shapes {NAUGHTY}", "known_failures": (NAUGHTY,)}
    cards.append(tiny_card(name="shapes", classes=SHAPES, metrics=metrics(SHAPES, skill=0.7), **naughty))
    for card in cards:
        model = build_model("fcn8s", num_classes=len(card.classes), backbone=TINY_BACKBONE, fc_channels=16)
        save_checkpoint(model, card, folder)
