"""Pictures of an evaluation: original | label | prediction of the best, the worst and evenly chosen images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg.image import read_image
from seg.predictor import Predictor
from seg.render import comparison
from train.data import Pair
from train.evaluate import Protocol, Scores, predict_labels


def write_figures(
    folder: Path, predictor: Predictor, pairs: Sequence[Pair], scores: Scores, protocol: Protocol, *, each: int = 4
) -> list[Path]:
    """Write a PNG per chosen image, named after the network, why it was chosen, and the image; returns the paths.

    Args:
        pairs: what `scores` was measured on, in that order.
        each: how many of the best, of the worst, and of those spread evenly over the ranking.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for why, index in chosen(scores.image_mious, each):
        pair, miou = pairs[index], scores.image_mious[index]
        target, label_map = pair.target(), predict_labels(predictor, pair, protocol)
        title = " · ".join(filter(None, (predictor.card.title, protocol.name, pair.image.stem, f"mIoU {miou:.3f}")))
        picture = comparison(read_image(pair.image), target, label_map, predictor.card.classes, title=title)
        files.append(folder / f"{predictor.card.name}-{why}-{pair.image.stem}.png")
        picture.save(files[-1])
    return files


def chosen(mious: np.ndarray, each: int) -> list[tuple[str, int]]:
    """(why and rank, index) of the images to show: best, worst, and evenly between them; none twice, no nan.

    >>> chosen(np.array([0.5, 0.9, 0.1, 0.3]), each=1)
    [('best1', 1), ('worst1', 2), ('even1', 0)]
    """
    ranking = np.argsort(-mious, kind="stable")[: np.isfinite(mious).sum()].tolist()
    best = ranking[:each]
    worst = ranking[::-1][: min(each, len(ranking) - len(best))]
    rest = ranking[len(best) : len(ranking) - len(worst)]
    places = np.linspace(0, len(rest), min(each, len(rest)), endpoint=False) + len(rest) / (2 * each)
    even = [rest[int(place)] for place in places.clip(max=len(rest) - 1)]
    groups = {"best": best, "worst": worst, "even": even}
    return [(f"{why}{rank}", index) for why, group in groups.items() for rank, index in enumerate(group, 1)]
