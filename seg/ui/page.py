"""The page: the photo on the left, a tab per way of looking at it on the right, and what triggers what."""

from __future__ import annotations

import html
import json
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from seg import list_checkpoints
from seg.card import load_card
from seg.checkpoint import card_path, check_checkpoint, complete_checkpoints
from seg.image import MAX_BYTES
from seg.ui import api, classroom, compare, device, doors, lab, log, scores, segment
from seg.ui.photo import EXAMPLES, NOTICED_IN_BROWSER, FromAgents, PhotoInput, refuse
from seg.ui.text import GRADIO, LANGUAGES, asked_language, say

CSS = (Path(__file__).parent / "page.css").read_text("utf-8")
JS = (Path(__file__).parent / "page.js").read_text("utf-8")
JS = JS.replace("MAX_BYTES", str(MAX_BYTES)).replace("GRADIO_WORDS", json.dumps(GRADIO, ensure_ascii=False))
CACHE_SWEEP, CACHE_AGE = 600, 3000  # every ten minutes, files older than fifty are deleted: none lives for an hour
# When an event that waited for its turn ("always_last", Gradio's own mode for a change) gets it, Gradio starts all
# events of that trigger anew. Two that wait start each other for ever, so at most one of a trigger's events waits.
_LAST: dict[str, Any] = {"trigger_mode": "always_last"}
_LIGHT: dict[str, Any] = {
    "queue": False,
    "show_progress": "hidden",
    "api_visibility": "private",
    "trigger_mode": "multiple",
}
_HEAVY: dict[str, Any] = {"concurrency_id": "networks", "concurrency_limit": 1, "api_visibility": "private"}


def theme() -> gr.themes.Base:
    """Calm greys with one accent, and only fonts that are already on the visitor's machine."""
    return gr.themes.Default(
        primary_hue="teal",
        neutral_hue="slate",
        radius_size="lg",
        font=["system-ui", "Segoe UI", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(  # the default's light grey text and mid-teal buttons are too pale to read (WCAG 1.4.3 asks for 4.5 : 1)
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        color_accent="*primary_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        checkbox_background_color_selected="*primary_700",
        checkbox_background_color_selected_dark="*primary_600",
    )


def build() -> gr.Blocks:
    """The whole page; every checkpoint is checked, so a damaged one stops the start and not a visitor."""
    for name in complete_checkpoints():
        check_checkpoint(name)
    device.prepare()
    doors.fetch_nothing()
    language = "en"
    with gr.Blocks(title="SegLab", analytics_enabled=False, delete_cache=(CACHE_SWEEP, CACHE_AGE)) as page:
        with gr.Row(elem_classes="seglab-head"):
            head = gr.HTML(_head(language), scale=4)
            switch = gr.Radio(
                list(LANGUAGES.items()),
                value=language,
                label="Language / 语言",
                show_label=False,
                container=False,
                scale=0,
                min_width=190,
                elem_id="language",
                elem_classes="seglab-language",
            )
        with gr.Row(elem_classes="seglab-body"):
            with gr.Column(scale=1, min_width=280, elem_classes="seglab-photo"):
                photo = PhotoInput(
                    label=say(language, "photo"),
                    type="filepath",
                    image_mode=None,
                    format="png",
                    sources=["upload", "clipboard", "webcam"],
                    placeholder=say(language, "drop"),
                    height=280,
                    elem_id="photo",
                )
                invitation = gr.HTML(_paragraph(language, "examples"), elem_classes="seglab-note")
                examples = gr.Examples(EXAMPLES, photo, elem_id="examples")
                examples.dataset.show_label = False
                examples.input_component_props = [{}]  # or a click brings back the label in the first language
                note = gr.HTML(_note(language), elem_id="note", elem_classes="seglab-note")
            with gr.Column(scale=3, min_width=560), gr.Tabs(selected="segment") as tabs:
                one = segment.build(language)
                many = compare.build(language)
                inside = lab.build(language, classroom.build)
                board = scores.build(language)
        foot = gr.HTML(_foot(language), elem_classes="seglab-foot")
        file = gr.DownloadButton("…", visible="hidden", elem_id="file")
        active = gr.State("segment")  # the tab somebody looks at
        seen = gr.Textbox(visible="hidden")  # another text for each photo, see _SEEN
        compared = gr.State((None, []))  # the photo and networks that the tab "Compare" shows
        comparison = gr.Textbox(visible="hidden")  # another text for each comparison that somebody looks for
        api.build()
        page.temp_file_sets.append(FromAgents())

        # Light events: language and tabs.
        def speak(language: str) -> list[Any]:
            return [
                gr.update(value=_head(language)),
                gr.update(label=say(language, "photo"), placeholder=say(language, "drop")),
                gr.update(value=_paragraph(language, "examples")),
                gr.update(value=_note(language)),
                gr.update(label=say(language, "segment_tab")),
                gr.update(label=say(language, "compare_tab")),
                gr.update(value=say(language, "segment")),
                gr.update(value=say(language, "compare")),
                gr.update(value=_paragraph(language, "compare_what")),
                gr.update(label=say(language, "networks")),
                gr.update(label=say(language, "crf")),
                gr.update(lang=language),
                gr.update(lang=language),
                *(gr.update(value=say(language, f"download_{kind}")) for _, kind in one.downloads),
                gr.update(value=say(language, "download_zip")),
                gr.update(value=_foot(language)),
                gr.update(label=say(language, "network")),
                gr.update(label=say(language, "scores_tab")),
                gr.update(value=_paragraph(language, "scores_what")),
                gr.update(value=say(language, "scores_measure")),
                gr.update(value=scores.value(language)),
                *lab.speak(language),
                *classroom.speak(language),
            ]

        spoken = [
            head,
            photo,
            invitation,
            note,
            one.tab,
            many.tab,
            one.run,
            many.run,
            many.what,
            many.networks,
            one.crf,
        ]
        spoken += [one.viewer, many.viewer, *(button for button, _ in one.downloads), many.download, foot, one.network]
        spoken += [
            board.tab,
            board.what,
            board.measure,
            board.board,
            *lab.spoken(inside),
            *classroom.spoken(inside.above),
        ]
        switch.change(speak, switch, spoken, **{**_LIGHT, **_LAST})
        page.load(None, None, None, js=JS, api_visibility="private")
        one.tab.select(lambda: "segment", None, active, **_LIGHT)
        compare_shown = many.tab.select(lambda: "compare", None, active, **_LIGHT)

        board.tab.select(lambda: "scores", None, active, **_LIGHT)
        board.tab.select(scores.value, switch, board.board, **_LIGHT)  # with the times of photos labelled meanwhile

        for reason in NOTICED_IN_BROWSER:  # page.js presses these
            refusal = gr.Button(visible="hidden", elem_id=f"refuse-{reason}")
            refusal.click(partial(refuse, reason), switch, None, show_progress="hidden", api_visibility="private")

        # Heavy events: a new photo, another network or a button asks the networks.
        photo.change(None, photo, seen, js=_SEEN, api_visibility="private")
        wanted = [photo, one.network, switch, one.crf]
        one.run.click(segment.segment, wanted, one.viewer, **_HEAVY)
        gr.on(
            [seen.change, one.network.change, one.crf.change],
            _segment,
            wanted,
            one.viewer,
            **_HEAVY,
            **_LAST,
        )
        asked = [photo, many.networks, switch]
        many.run.click(_compare, asked, [many.viewer, compared], **_HEAVY)
        for trigger in (seen.change, many.networks.change, compare_shown.then):
            trigger(
                _look_at_comparison,
                [photo, many.networks, active, compared],
                [many.viewer, compared, comparison],
                **_LIGHT,
            )
        comparison.change(_compare_if_new, [*asked, compared], [many.viewer, compared], **_HEAVY, **_LAST)
        board.measure.click(scores.measure, switch, board.board, **_HEAVY)
        follow = lab.wire(inside, photo, seen, switch, active, _HEAVY, _LIGHT)
        offer = partial(_offer, file=file)
        classroom.wire(inside.above, inside, photo, switch, active, follow, offer, _LIGHT)
        shown = [switch, tabs, active, inside.above.large, photo, inside.chooser, many.networks]

        def arrive(request: gr.Request) -> list[Any]:
            """What the address asks for; the language also from what the browser prefers.

            What the page starts with is not set again: somebody may have clicked before this answer comes.
            """
            view, updates = classroom.open_link(request, inside)
            asked = asked_language(request)
            spoken = gr.skip() if asked == language else asked
            tab = [gr.Tabs(selected="lab"), "lab"] if view.lesson else [gr.skip(), gr.skip()]
            return [spoken, *tab, view.large or gr.skip(), *updates]

        follow(page.load(arrive, None, [*shown, *classroom.linked(inside)], **_LIGHT))
        for button, kind in one.downloads:
            _offer(button, partial(segment.download, kind), wanted, file)
        _offer(many.download, compare.download, asked, file)
    return page


def _offer(button: gr.Button, make: Any, inputs: list[Any], file: gr.DownloadButton) -> None:
    """Make the file on click, hand it to the hidden download button, and press that."""
    made = button.click(make, inputs, file, **_HEAVY)
    made.success(None, None, None, js="() => document.querySelector('#file').click()", api_visibility="private")


# Gradio tells of some uploads twice; the second time, this text stays the same, and nobody is asked again.
_SEEN = "photo => photo?.path || photo?.url || ''"


def _segment(photo: Any, network: str, language: str, crf: bool) -> Iterator[Any]:
    """No photo empties the viewer, and so does one that cannot be read."""
    try:
        yield None if photo is None else segment.segment(photo, network, language, crf)
    except gr.Error:
        yield None
        raise


def _compare(
    photo: Any,
    networks: list[str],
    language: str,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> Iterator[tuple[Any, Any]]:
    with log.request("page/compare"):
        for value in compare.compare(photo, networks, language, progress):
            yield value, (photo, networks)


def _look_at_comparison(photo: Any, networks: list[str], active: str, compared: Any) -> tuple[Any, Any, Any]:
    """Networks are asked only while somebody looks at the answer, and once per photo and choice.

    Found out beside the queue: places in it are taken only by what is computed.
    """
    if (photo, networks) == tuple(compared):
        return gr.skip(), gr.skip(), gr.skip()
    if photo is None or active != "compare":
        return None, (None, []), gr.skip()
    return gr.skip(), gr.skip(), secrets.token_hex(8)


def _compare_if_new(
    photo: Any,
    networks: list[str],
    language: str,
    compared: Any,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> Iterator[tuple[Any, Any]]:
    asked = (photo, networks)
    if photo is None or asked == tuple(compared):
        yield gr.skip(), compared
        return
    try:
        yield from _compare(photo, networks, language, progress)
    except gr.Error:
        if len(networks) < 2:  # somebody is about to choose others: say so; what is wrong with a photo was said
            raise
        yield None, asked


def _head(language: str) -> str:
    return f"<h1>SegLab</h1><p>{html.escape(say(language, 'tagline'))}</p>"


def _note(language: str) -> str:
    class_set = load_card(card_path(list_checkpoints()[0])).classes
    names = class_set.names_zh if language == "zh" else class_set.names
    classes = ("、" if language == "zh" else ", ").join(names[1:])
    return f"<p>{html.escape(say(language, 'knows', classes=classes))}</p>" + _paragraph(language, "privacy")


def _foot(language: str) -> str:
    """Gradio's own footer speaks the browser's language, not the one chosen here."""
    code = f'<a href="code?lang={language}" target="_blank">{html.escape(say(language, "code"))}</a>'
    return f'<p>{code} · <a href="?view=api" target="_blank">{html.escape(say(language, "api"))}</a></p>'


def _paragraph(language: str, key: str) -> str:
    return f"<p>{html.escape(say(language, key))}</p>"
