"""Tab "Segment": one photo, one network; original, mask and overlay side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from seg import list_checkpoints
from seg.ui import downloads, log
from seg.ui.device import Network
from seg.ui.networks import load_title
from seg.ui.payload import viewer_value
from seg.ui.photo import open_photo
from seg.ui.text import say
from seg.ui.viewer import make_viewer

FIRST = "deeplabv3"  # the best of the three that the page is about


@dataclass(frozen=True)
class SegmentTab:
    """The tab's components, for the page to wire.

    Attributes:
        tab, network, run, viewer: what they are called.
        crf: whether the CRF sharpens the answer.
        downloads: (button, kind) with kind "labels", "overlay" or "zip".
    """

    tab: gr.Tab
    network: gr.Radio
    crf: gr.Checkbox
    run: gr.Button
    viewer: gr.HTML
    downloads: list[tuple[gr.Button, str]]


def build(language: str) -> SegmentTab:
    """Lay out the tab inside the surrounding gr.Tabs."""
    names = list_checkpoints()
    choices = [(load_title(name), name) for name in names]
    with gr.Tab(say(language, "segment_tab"), id="segment") as tab:
        with gr.Row(equal_height=True, elem_classes="seglab-actions"):
            network = gr.Radio(
                choices,
                value=FIRST if FIRST in names else names[0],
                label=say(language, "network"),
                show_label=False,
                container=False,
                scale=3,
                elem_id="network",
            )
            run = gr.Button(say(language, "segment"), variant="primary", scale=0, min_width=160, elem_id="run")
        crf = gr.Checkbox(False, label=say(language, "crf"), container=False, elem_id="crf")
        viewer = make_viewer(elem_id="segment-viewer", language=language)
        with gr.Row(elem_classes="seglab-downloads"):
            buttons = [
                (gr.Button(say(language, f"download_{kind}"), size="sm", elem_id=f"segment-{kind}"), kind)
                for kind in ("labels", "overlay", "zip")
            ]
    return SegmentTab(tab, network, crf, run, viewer, buttons)


@log.request("page/segment")
def segment(photo: str | bytes | None, network: str, language: str, crf: bool = False) -> dict[str, Any]:
    """The viewer's value for one photo and one network."""
    image = open_photo(photo, language)
    answering = Network(network)
    result = answering.predict(image, crf=crf)
    return viewer_value(image, [(result, answering.card)])


@log.request("page/download")
def download(kind: str, photo: str | bytes | None, network: str, language: str, crf: bool = False) -> str:
    """Path of the file to download, made anew from the answer that was kept."""
    image = open_photo(photo, language)
    answering = Network(network)
    result = answering.predict(image, crf=crf)
    if kind == "labels":
        return downloads.to_cache(downloads.labels_png(result), f"{network}_labels.png")
    if kind == "overlay":
        return downloads.to_cache(downloads.overlay_png(image, result), f"{network}_overlay.png")
    return downloads.to_cache(downloads.zip_all(image, [(result, answering.card)]), f"{network}.zip")
