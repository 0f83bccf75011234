"""Score a network with the very predictor the page uses, at the labels' own size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from seg.metrics import ConfusionMatrix
from seg.predictor import Predictor
from train.data import Pair


def evaluate(predictor: Predictor, pairs: Sequence[Pair]) -> ConfusionMatrix:
    """Confusion matrix over all pairs: no crop, no resized label, IGNORE_INDEX left out."""
    confusion = ConfusionMatrix(len(predictor.card.classes))
    progress = tqdm(pairs, desc=predictor.card.name, unit="image", mininterval=5)
    for pair in progress:
        confusion.update(pair.target(), predictor.predict(pair.image).label_map)
        progress.set_postfix(miou=f"{confusion.miou:.3f}", refresh=False)
    return confusion


def metrics_dict(confusion: ConfusionMatrix, class_names: Sequence[str]) -> dict[str, Any]:
    """The four figures of the FCN paper and IoU per class, rounded for a card; a class that never occurs is None."""
    return {
        "miou": round(confusion.miou, 4),
        "pixel_acc": round(confusion.pixel_acc, 4),
        "mean_acc": round(confusion.mean_acc, 4),
        "fwiou": round(confusion.fwiou, 4),
        "iou": {
            name: None if np.isnan(iou) else round(float(iou), 4)
            for name, iou in zip(class_names, confusion.iou, strict=True)
        },
    }
