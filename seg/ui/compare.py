"""Tab "Compare": one photo, every network; a row each, and a map of where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from seg import Predictor, Segmentation, list_checkpoints, load_predictor
from seg.card import ModelCard
from seg.ui import downloads, scores
from seg.ui.payload import viewer_value
from seg.ui.photo import open_photo
from seg.ui.text import say
from seg.ui.viewer import make_viewer

Answers = list[tuple[Segmentation, ModelCard]]


@dataclass(frozen=True)
class CompareTab:
    """The tab's components, for the page to wire."""

    tab: gr.Tab
    what: gr.HTML
    run: gr.Button
    viewer: gr.HTML
    download: gr.Button


def build(language: str) -> CompareTab:
    """Lay out the tab inside the surrounding gr.Tabs."""
    with gr.Tab(say(language, "compare_tab"), id="compare") as tab:
        with gr.Row(elem_classes="seglab-actions"):
            what = gr.HTML(f"<p>{say(language, 'compare_what')}</p>", elem_classes="seglab-note")
            run = gr.Button(say(language, "compare"), variant="primary", scale=0, min_width=220)
        viewer = make_viewer(elem_id="compare-viewer", language=language)
        with gr.Row(elem_classes="seglab-downloads"):
            download = gr.Button(say(language, "download_zip"), size="sm", elem_id="compare-zip")
    return CompareTab(tab, what, run, viewer, download)


def comparable() -> list[Predictor]:
    """The networks that share the first one's classes: only those can be compared pixel by pixel."""
    predictors = [load_predictor(name) for name in list_checkpoints()]
    return [predictor for predictor in predictors if predictor.card.classes == predictors[0].card.classes]


def all_answers(image: Image.Image) -> Answers:
    """Every comparable network's answer."""
    return [(predictor.predict(image), predictor.card) for predictor in comparable()]


def compare(photo: str | bytes | None, language: str, progress: gr.Progress | None = None) -> Iterator[dict[str, Any]]:
    """The viewer's value after each network; the map of disagreement comes with the last."""
    image = open_photo(photo, language)
    predictors = comparable()
    found: Answers = []
    for number, predictor in enumerate(predictors, start=1):
        if progress is not None:
            title = predictor.card.title
            words = say(language, "running", title=title, number=number, count=len(predictors))
            progress((number - 1, len(predictors)), desc=words)
        found.append((predictor.predict(image), predictor.card))
        scores.TIMES.served(found[-1][0])
        yield viewer_value(image, found, comparing=True, complete=number == len(predictors))


def download(photo: str | bytes | None, language: str) -> str:
    """Path of a ZIP with every network's pictures and numbers."""
    image = open_photo(photo, language)
    return downloads.to_cache(downloads.zip_all(image, all_answers(image)), "comparison.zip")
