"""Tab "Compare": one photo, every network; a row each, and a map of where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from seg import Segmentation
from seg.card import ModelCard
from seg.render import MOST_COMPARED
from seg.ui import downloads, log
from seg.ui.device import Network
from seg.ui.networks import comparable, default_networks, load_title
from seg.ui.payload import viewer_value
from seg.ui.photo import Refusal, SharedPhoto, open_photo
from seg.ui.text import say
from seg.ui.viewer import make_viewer

Answers = list[tuple[Segmentation, ModelCard]]


@dataclass(frozen=True)
class CompareTab:
    """The tab's components, for the page to wire."""

    tab: gr.Tab
    what: gr.HTML
    networks: gr.CheckboxGroup
    run: gr.Button
    viewer: gr.HTML
    download: gr.Button


def build(language: str) -> CompareTab:
    """Lay out the tab inside the surrounding gr.Tabs."""
    with gr.Tab(say(language, "compare_tab"), id="compare") as tab:
        with gr.Row(elem_classes="seglab-actions"):
            what = gr.HTML(f"<p>{say(language, 'compare_what')}</p>", elem_classes="seglab-note")
            run = gr.Button(say(language, "compare"), variant="primary", scale=0, min_width=220)
        networks = gr.CheckboxGroup(
            [(load_title(name), name) for name in comparable()],
            value=default_networks(),
            label=say(language, "networks"),
            show_label=False,
            container=False,
            elem_id="compare-networks",
        )
        viewer = make_viewer(elem_id="compare-viewer", language=language)
        with gr.Row(elem_classes="seglab-downloads"):
            download = gr.Button(say(language, "download_zip"), size="sm", elem_id="compare-zip")
    return CompareTab(tab, what, networks, run, viewer, download)


def chosen_networks(asked: Sequence[str] | None, language: str) -> list[Network]:
    """The networks of these names, in the order of `comparable`; none asked for: the default ones.

    Raises:
        gr.Error: an unknown name, only one, or more than `MOST_COMPARED`.
    """
    known = comparable()
    asked = asked or default_networks()
    if not set(asked) <= set(known):
        raise Refusal("networks", language, known=", ".join(known))
    names = [name for name in known if name in asked]
    if len(names) < 2 <= len(known):
        raise Refusal("two", language)
    if len(names) > MOST_COMPARED:
        raise Refusal("many", language, most=MOST_COMPARED)
    return [Network(name) for name in names]


def answers(image: Image.Image, networks: Sequence[Network]) -> Answers:
    """Every network's answer."""
    photo = SharedPhoto(image)
    return [(network.predict(photo), network.card) for network in networks]


def compare(
    photo: str | bytes | None, networks: Sequence[str] | None, language: str, progress: gr.Progress | None = None
) -> Iterator[dict[str, Any]]:
    """The viewer's value after each network; the map of disagreement comes with the last."""
    shared = SharedPhoto(open_photo(photo, language))
    chosen = chosen_networks(networks, language)
    found: Answers = []
    for number, network in enumerate(chosen, start=1):
        if progress is not None:
            title = network.card.title
            words = say(language, "running", title=title, number=number, count=len(chosen))
            progress((number - 1, len(chosen)), desc=words)
        found.append((network.predict(shared), network.card))
        yield viewer_value(shared.image, found, comparing=True, complete=number == len(chosen))


@log.request("page/download")
def download(photo: str | bytes | None, networks: Sequence[str] | None, language: str) -> str:
    """Path of a ZIP with the chosen networks' pictures and numbers."""
    image = open_photo(photo, language)
    found = answers(image, chosen_networks(networks, language))
    return downloads.to_cache(downloads.zip_all(image, found), "comparison.zip")
