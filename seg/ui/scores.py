"""Tab "Scores": what was measured of every network, from the cards and from nowhere else, and how long it takes here.

The thinking is here, as plain functions: `value` makes what the browser draws. Sorting, filtering and pointing happen
in the browser (scores/scores.js), without a request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from seg import list_checkpoints
from seg.card import ModelCard, load_card
from seg.checkpoint import card_path
from seg.classes import ClassSet
from seg.ui import log
from seg.ui.device import Network
from seg.ui.text import SCORES, say
from seg.ui.times import TIMES, TimeHere, Times

_ASSETS = Path(__file__).parent / "scores_page"
FIGURES = ("miou", "pixel_acc", "mean_acc", "fwiou", "boundary_f")
NAMED = 3  # so many classes or confusions one sentence names


@dataclass(frozen=True)
class ScoresTab:
    """The tab's components, for the page to wire."""

    tab: gr.Tab
    what: gr.HTML
    measure: gr.Button
    board: gr.HTML


def build(language: str) -> ScoresTab:
    """Lay out the tab inside the surrounding gr.Tabs."""
    with gr.Tab(say(language, "scores_tab"), id="scores") as tab:
        with gr.Row(elem_classes="seglab-actions"):
            what = gr.HTML(f"<p>{say(language, 'scores_what')}</p>", elem_classes="seglab-note")
            button = gr.Button(say(language, "scores_measure"), scale=0, min_width=220, elem_id="measure")
        board = gr.HTML(
            value=value(language),
            html_template=(_ASSETS / "scores.html").read_text("utf-8"),
            css_template=(_ASSETS / "scores.css").read_text("utf-8"),
            js_on_load=_script(),
            elem_id="scores-board",
            apply_default_css=False,
        )
    return ScoresTab(tab, what, button, board)


def value(language: str) -> dict[str, Any]:
    """What the browser draws of all checkpoints, in this language."""
    return scores_value([load_card(card_path(name)) for name in list_checkpoints()], TIMES, language)


@log.request("page/scores/measure")
def measure(language: str) -> dict[str, Any]:
    """Time every network on this machine, then the value with these times."""
    TIMES.measure({name: Network(name).predict_anew for name in list_checkpoints()})
    return value(language)


def _script() -> str:
    return f"const TEXT = {json.dumps(SCORES)};\n" + (_ASSETS / "scores.js").read_text("utf-8")


# What the browser gets


def scores_value(cards: Iterable[ModelCard], times: Times, language: str) -> dict[str, Any]:
    """{"lang", "groups"}: a group per list of classes, in the order of the cards; a figure nobody measured is None."""
    groups: dict[tuple[str, ...], list[ModelCard]] = {}
    for card in cards:
        groups.setdefault(card.classes.names, []).append(card)
    return {
        "lang": language,
        "groups": [
            {
                "name": members[0].classes.name,
                "classes": _names(members[0].classes, language),
                "networks": [_network(card, times.of(card.name), language) for card in members],
            }
            for members in groups.values()
        ],
    }


def _network(card: ModelCard, taken: TimeHere | None, language: str) -> dict[str, Any]:
    metrics = card.metrics
    trimap = metrics.get("trimap")
    return {
        "name": card.name,
        "title": card.title,
        **{key: _share(metrics.get(key)) for key in FIGURES},
        "data": str(metrics.get("data", "")),
        "interval": _shares(metrics.get("miou_interval"), 2),
        "iou": _by_class(metrics.get("iou"), card.classes),
        "confusion": confusion(card),
        "trimap": _shares(trimap.get("pixel_acc") if isinstance(trimap, dict) else None),
        "curves": curves(card),
        "parameters": card.parameters or None,
        "macs": card.macs or None,
        "macs_input": list(card.macs_input),
        "bytes": card.weights.get("bytes"),
        "seconds": taken.seconds if taken else None,
        "runs": taken.runs if taken else 0,
        "asked": bool(taken and taken.asked),
        "sentences": sentences(card, language),
        "mistakes": confusion_sentences(card, language),
        "failures": [str(failure) for failure in card.known_failures],
        "facts": facts(card, language),
    }


def confusion(card: ModelCard) -> list[list[float] | None] | None:
    """Row c: which share of class c's pixels was called what; None for a class that never occurs."""
    rows = card.metrics.get("confusion_per_mille")
    count = len(card.classes)
    if not isinstance(rows, list) or len(rows) != count:
        return None
    found: list[list[float] | None] = []
    for row in rows:
        if not isinstance(row, list) or len(row) != count or any(_number(n) is None or n < 0 for n in row):
            return None
        found.append([n / 1000 for n in row] if sum(row) else None)
    return found


def curves(card: ModelCard) -> list[dict[str, float | None]] | None:
    """Points {"step", "loss", "miou"} of the card's last training run; None where it carries none that can be drawn."""
    points = card.training.get("curves")
    if not isinstance(points, list) or len(points) < 2 or not all(isinstance(point, dict) for point in points):
        return None
    found = []
    for point in points:
        step, loss = _number(point.get("step")), _number(point.get("loss"))
        if step is None or loss is None or min(step, loss) < 0:
            return None
        found.append({"step": step, "loss": loss, "miou": _share(point.get("miou"))})
    return found if max(point["loss"] or 0 for point in found) > 0 and found[-1]["step"] else None


# In words


def sentences(card: ModelCard, language: str) -> list[str]:
    """The best and the worst classes, and what goes wrong with the worst; background is no achievement."""
    names = _names(card.classes, language)
    iou = _by_class(card.metrics.get("iou"), card.classes)
    known = sorted((share, i) for i, share in enumerate(iou or []) if share is not None and i > 0)
    if not known:
        return [say(language, "scores_none", title=card.title)]
    some = min(NAMED, max(1, len(known) // 2))

    def listed(part: Iterable[tuple[float, int]]) -> str:
        return _joined(
            [say(language, "scores_named", name=names[i], value=f"{share:.2f}") for share, i in part], language
        )

    said = [say(language, "scores_best", classes=listed(reversed(known[-some:])))]
    if len(known) > 1:
        said.append(say(language, "scores_worst", classes=listed(known[:some])))
    reason = _why(confusion(card), known[0], names, language)
    return [*said, reason] if reason else said


def _why(
    matrix: list[list[float] | None] | None, worst: tuple[float, int], names: Sequence[str], language: str
) -> str | None:
    """Are its pixels missed, or do others get its name? IoU and the share found (recall) give the precision:

    with h right, t true and s said pixels, IoU = h / (t + s - h) and recall = h / t,
    so s / t = recall / IoU + recall - 1.
    """
    iou, class_id = worst
    row = matrix[class_id] if matrix else None
    if row is None:
        return None
    found, name = row[class_id], names[class_id]
    said = found / iou + found - 1 if iou else 0.0
    if found > 0 and said > 1:  # more is called so than there is: precision lies below recall
        return say(
            language, "scores_overcalled", name=name, share=_percent(found), precision=_percent(min(1.0, found / said))
        )
    others = sorted(((share, i) for i, share in enumerate(row) if i != class_id and share >= 0.01), reverse=True)[:2]
    if not others:
        return say(language, "scores_found", name=name, share=_percent(found))
    called = [say(language, "scores_called", name=names[i], share=_percent(share)) for share, i in others]
    return say(language, "scores_missed", name=name, share=_percent(found), others=_joined(called, language))


def confusion_sentences(card: ModelCard, language: str) -> list[str]:
    """The biggest confusions: objects taken for background, and objects taken for one another."""
    names = _names(card.classes, language)
    pairs = [
        (share, truth, said)
        for truth, row in enumerate(confusion(card) or [])
        for said, share in enumerate(row or [])
        if truth != said and truth > 0 and share >= 0.01
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    missed = [
        say(language, "scores_part", name=names[truth], share=_percent(share))
        for share, truth, said in pairs
        if said == 0
    ]
    mixed = [
        say(language, "scores_mixed_up", name=names[truth], said=names[said], share=_percent(share))
        for share, truth, said in pairs
        if said > 0
    ]
    said_all = []
    if missed:
        said_all.append(
            say(language, "scores_overlooked", background=names[0], classes=_joined(missed[:NAMED], language))
        )
    if mixed:
        said_all.append(say(language, "scores_mixed", classes=_joined(mixed[:NAMED], language)))
    return said_all


def facts(card: ModelCard, language: str) -> list[list[str]]:
    """[name, what the card says] of measuring and training; what a card does not say is left out.

    A card counts the pictures since its weights were taken over from others, so the count follows what they were.
    """
    pictures = _number(card.training.get("pictures_seen"))
    rows = [
        (say(language, "scores_measured_on"), card.metrics.get("data")),
        (say(language, "scores_trained_on"), card.training.get("data")),
        (say(language, "scores_encoder"), card.training.get("encoder_init")),
        (say(language, "scores_pictures"), f"{pictures:,.0f}" if pictures is not None else None),
        (say(language, "scores_licence"), card.licence),
    ]
    return [[name, str(text)] for name, text in rows if text]


def _names(class_set: ClassSet, language: str) -> list[str]:
    return list(class_set.names_zh if language == "zh" else class_set.names)


def _joined(parts: Sequence[str], language: str) -> str:
    return ("、" if language == "zh" else ", ").join(parts)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _number(entry: object) -> float | None:
    """A finite number of a card, else None: cards are also written by other people."""
    if isinstance(entry, bool) or not isinstance(entry, (int, float)) or not math.isfinite(entry):
        return None
    return float(entry)


def _share(entry: object) -> float | None:
    number = _number(entry)
    return number if number is not None and 0 <= number <= 1 else None


def _shares(entry: object, length: int | None = None) -> list[float] | None:
    """A list of shares, complete, else None."""
    if not isinstance(entry, list) or not entry or (length is not None and len(entry) != length):
        return None
    shares = [share for share in map(_share, entry) if share is not None]
    return shares if len(shares) == len(entry) else None


def _by_class(entry: object, class_set: ClassSet) -> list[float | None] | None:
    return [_share(entry.get(name)) for name in class_set.names] if isinstance(entry, dict) else None
