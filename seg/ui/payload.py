"""What the viewer gets: one JPEG of the photo, one indexed PNG and one confidence PNG per network, and the numbers."""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from seg.card import ModelCard
from seg.classes import ClassSet, safe_looks
from seg.predictor import Segmentation
from seg.render import disagreement, disagreement_colours, disagreement_picture, to_indexed
from seg.ui.looks import look_value

MAX_VIEW = 1600  # long side of what the browser draws, pixels; downloads have the photo's own size
MAX_CONFIDENCE = 512  # confidence is smooth, so a small picture carries it


def viewer_value(
    photo: Image.Image,
    results: Sequence[tuple[Segmentation, ModelCard]],
    *,
    comparing: bool = False,
    complete: bool = True,
) -> dict[str, Any]:
    """The viewer's value for one photo and the answers so far.

    Args:
        photo: upright RGB.
        results: one entry per network, all with the same classes.
        comparing: rows per network instead of one row.
        complete: all networks have answered, so the map of disagreement can be drawn.
    """
    width, height = _view_size(photo)
    rows, columns = _sample(photo.height, height), _sample(photo.width, width)
    label_maps = [np.ascontiguousarray(result.label_map[rows][:, columns]) for result, _ in results]
    shown = photo if (width, height) == photo.size else photo.resize((width, height), Image.Resampling.LANCZOS)
    class_set = results[0][0].class_set
    return {
        "id": secrets.token_hex(8),
        "comparing": comparing,
        "photo": {
            "src": _data_url(shown, "JPEG", quality=90),
            "width": width,
            "height": height,
            "original": list(photo.size),
        },
        "classes": _classes(class_set, results),
        "networks": [
            _network(result, card, label_map) for (result, card), label_map in zip(results, label_maps, strict=True)
        ],
        "disagreement": _disagreement(label_maps) if comparing and complete else None,
    }


def _classes(class_set: ClassSet, results: Sequence[tuple[Segmentation, ModelCard]]) -> list[dict[str, Any]]:
    """Names and colour of every class; of those found in the photo also the look that is safe for the colour-blind.

    The first network's classes come first, so that no look changes while a comparison's other networks arrive.
    """
    ids = class_ids(class_set)
    looks = safe_looks(ids[name] for result, _ in results for name in result.class_areas)
    classes: list[dict[str, Any]] = [
        {"en": english, "zh": chinese, "colour": list(colour)}
        for english, chinese, colour in zip(class_set.names, class_set.names_zh, class_set.colours, strict=True)
    ]
    for class_id, look in looks.items():
        classes[class_id]["safe"] = look_value(look)
    return classes


def _view_size(photo: Image.Image) -> tuple[int, int]:
    scale = min(1.0, MAX_VIEW / max(photo.size))
    return max(1, round(photo.width * scale)), max(1, round(photo.height * scale))


def _sample(length: int, shown: int) -> np.ndarray:
    """Which rows or columns of a label map are shown: the nearest ones, because ids cannot be mixed."""
    return ((np.arange(shown) + 0.5) * length / shown).astype(np.intp)


def _network(result: Segmentation, card: ModelCard, label_map: np.ndarray) -> dict[str, Any]:
    ids = class_ids(result.class_set)
    return {
        "name": card.name,
        "title": card.title,
        "labels": _data_url(to_indexed(label_map, result.class_set), "PNG", compress_level=3),
        "confidence": _data_url(_small_confidence(result.confidence), "PNG", compress_level=3),
        "areas": [[ids[name], share] for name, share in result.class_areas.items()],
        "seconds": result.seconds,
        "network_seconds": result.network_seconds,
        "size": list(result.network_size),
        "parameters": card.parameters,
        "macs": card.macs,
        "macs_input": list(card.macs_input),
        "miou": card.metrics.get("miou"),
    }


def _small_confidence(confidence: np.ndarray) -> Image.Image:
    picture = Image.fromarray((confidence * 255).round().astype(np.uint8))
    picture.thumbnail((MAX_CONFIDENCE, MAX_CONFIDENCE), Image.Resampling.BILINEAR)
    return picture


def _disagreement(label_maps: Sequence[np.ndarray]) -> dict[str, Any]:
    codes = disagreement(label_maps)
    count = len(label_maps)
    colours = disagreement_colours(count)
    shares = np.bincount(codes.ravel(), minlength=len(colours)) / codes.size
    return {
        "src": _data_url(disagreement_picture(codes, count=count), "PNG", compress_level=3),
        "colours": [list(colour) for colour in colours],
        "shares": shares.tolist(),
    }


def _data_url(picture: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def facts(result: Segmentation, card: ModelCard) -> dict[str, Any]:
    """The numbers of one answer, as the API returns them."""
    return {
        "network": card.name,
        "title": card.title,
        "size": {"height": result.label_map.shape[0], "width": result.label_map.shape[1]},
        "classes": {name: round(share, 6) for name, share in result.class_areas.items()},
        "seconds": round(result.seconds, 4),
        "network_seconds": round(result.network_seconds, 4),
        "parameters": card.parameters,
        "macs": card.macs,
        "macs_input": list(card.macs_input),
        "miou": card.metrics.get("miou"),
    }


def class_ids(class_set: ClassSet) -> dict[str, int]:
    """Class name -> id in the indexed PNG."""
    return {name: i for i, name in enumerate(class_set.names)}
