"""Endpoints for programs: /segment and /compare, for gradio_client, curl and agents. The page itself uses others."""

from __future__ import annotations

import inspect
from typing import Any

import gradio as gr
from anyio.to_thread import run_sync
from gradio.mcp import GradioMCPServer
from PIL import Image

from seg import list_checkpoints
from seg.render import disagreement, disagreement_colours, disagreement_picture, overlay, to_indexed
from seg.ui import log
from seg.ui.compare import answers, chosen_networks
from seg.ui.device import Network
from seg.ui.networks import comparable, default_networks
from seg.ui.payload import class_ids, facts
from seg.ui.photo import PhotoInput, Refusal, open_photo


@log.request("api/segment")
def segment_photo(photo: str, network: str, crf: bool = False) -> tuple[Image.Image, Image.Image, dict[str, Any]]:
    """Label every pixel of a photo with one of the classes the network knows.

    An agent uploads the photo, `curl -F files=@photo.jpg SERVER/gradio_api/upload`, and gives the address
    SERVER/gradio_api/file=PATH with the path that came back.

    Args:
        photo: JPEG, PNG, WebP, GIF, BMP or TIFF up to 30 MB; address: an upload here, or data:; others are not fetched.
        network: name of the network, one of those `python -m seg models` lists, for example "deeplabv3".
        crf: sharpen the borders with a fully connected CRF; takes a second or more.

    Returns:
        labels: indexed PNG of the photo's size; pixel values are class ids, the palette has the class colours.
        overlay: PNG of the photo with the classes tinted and outlined.
        facts: JSON: share of the photo per class, ids of the classes, times, parameters, MACs, measured mIoU.
    """
    known = list_checkpoints()
    if network not in known:
        raise Refusal("networks", "en", known=", ".join(known))
    image = open_photo(photo, "en")
    answering = Network(network)
    result = answering.predict(image, crf=bool(crf))
    labels = to_indexed(result.label_map, result.class_set)
    tinted = overlay(image, result.label_map, result.class_set)
    return labels, tinted, {**facts(result, answering.card), "class_ids": class_ids(result.class_set)}


@log.request("api/compare")
def compare_networks(photo: str, networks: list[str] | None = None) -> tuple[Image.Image, dict[str, Any]]:
    """Label a photo with several networks and tell where they differ.

    An agent uploads the photo, `curl -F files=@photo.jpg SERVER/gradio_api/upload`, and gives the address
    SERVER/gradio_api/file=PATH with the path that came back.

    Args:
        photo: JPEG, PNG, WebP, GIF, BMP or TIFF up to 30 MB; address: an upload here, or data:; others are not fetched.
        networks: names of at least two networks; default fcn8s, unet and deeplabv3.

    Returns:
        disagreement: indexed PNG of the photo's size; 0 all agree; with two or three networks i: only network i
            (counted from 1, in the order of `facts`) differs, the highest value: no majority; with more networks the
            number of those outside the largest group that agrees.
        facts: JSON: a list of the networks with the same numbers as /segment, the share of the photo on which all
            agree, and the ids of the classes.
    """
    image = open_photo(photo, "en")
    found = answers(image, chosen_networks(networks, "en"))
    codes = disagreement([result.label_map for result, _ in found])
    numbers = {
        "networks": [facts(result, card) for result, card in found],
        "agreement": round(float((codes == 0).mean()), 6),
        "colours": [list(colour) for colour in disagreement_colours(len(found))],
        "class_ids": class_ids(found[0][0].class_set),
    }
    return disagreement_picture(codes, count=len(found)), numbers


async def _every_output(_: Any, job: Any) -> list[Any]:
    """Gradio 6.31 makes one text of several outputs if an agent does not ask for progress: no picture arrives."""
    answer = await run_sync(job.result)
    return list(answer) if isinstance(answer, tuple) else [answer]


GradioMCPServer._execute_tool_without_progress = _every_output  # type: ignore[method-assign, assignment]


def build() -> None:
    """Add the endpoints to the surrounding gr.Blocks; their components are never shown."""
    names = list_checkpoints()
    with gr.Group(visible=False):
        photo = PhotoInput(type="filepath", image_mode=None, format="png", label="photo")
        network = gr.Dropdown(names, value=names[0], label="network", allow_custom_value=True)  # checked by us
        crf = gr.Checkbox(False, label="crf")
        networks = gr.Dropdown(
            comparable(), value=default_networks(), multiselect=True, label="networks", allow_custom_value=True
        )
        labels = gr.Image(format="png", image_mode="P", label="labels")
        tinted = gr.Image(format="png", label="overlay")
        numbers = gr.JSON(label="facts")
        codes = gr.Image(format="png", image_mode="P", label="disagreement")
        for function, inputs, outputs, name in (
            (segment_photo, [photo, network, crf], [labels, tinted, numbers], "segment"),
            (compare_networks, [photo, networks], [codes, numbers], "compare"),
        ):
            description = inspect.getdoc(function)  # Gradio's own choice is the first line: nothing about the outputs
            gr.Button().click(
                function, inputs, outputs, api_name=name, api_description=description, concurrency_id="networks"
            )
