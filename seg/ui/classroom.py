"""What a class needs around the lessons: a link to this very view, a lab sheet that can be opened again, large type."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from seg.ui import downloads, log
from seg.ui.compare import answers
from seg.ui.device import Network
from seg.ui.lab import LabTab, point_of, values_of
from seg.ui.lessons import LESSONS, Control, family, fcn, skips, truth
from seg.ui.link import NETWORKS, View, example_number, read_link, write_link
from seg.ui.networks import comparable, default_networks
from seg.ui.photo import EXAMPLES, open_photo, uploaded
from seg.ui.sheet import SheetError, read_sheet, write_sheet
from seg.ui.text import say


@dataclass(frozen=True)
class Tools:
    """The components, for the page to wire."""

    place: gr.Accordion
    link: gr.Button
    address: gr.Textbox
    sheet: gr.Button
    opened: gr.UploadButton
    large: gr.Checkbox


def build(language: str) -> Tools:
    """Lay them out, folded away."""
    with gr.Accordion(say(language, "class"), open=False, elem_id="class") as place:
        with gr.Row(elem_classes="seglab-downloads"):
            link = gr.Button(say(language, "class_link"), size="sm", elem_id="class-link")
            sheet = gr.Button(say(language, "class_sheet"), size="sm", elem_id="class-sheet")
            opened = gr.UploadButton(say(language, "class_open"), file_types=[".zip"], size="sm", elem_id="class-open")
        large = gr.Checkbox(label=say(language, "class_large"), container=False, elem_id="class-large")
        address = gr.Textbox(
            label=say(language, "class_address"),
            visible=False,
            lines=2,
            interactive=False,
            buttons=["copy"],
            elem_id="class-address",
        )
    return Tools(place, link, address, sheet, opened, large)


def spoken(tools: Tools) -> list[Any]:
    """The components whose words change with the language, in the order of `speak`."""
    return [tools.place, tools.link, tools.sheet, tools.opened, tools.large, tools.address]


def speak(language: str) -> list[Any]:
    """An update for each component of `spoken`."""
    return [
        gr.update(label=say(language, "class")),
        *(gr.update(value=say(language, f"class_{key}")) for key in ("link", "sheet")),
        gr.update(label=say(language, "class_open")),
        gr.update(label=say(language, "class_large")),
        gr.update(label=say(language, "class_address")),
    ]


def wire(
    tools: Tools,
    lab: LabTab,
    photo: Any,
    language: Any,
    active: Any,
    follow: Callable[[Any], None],
    offer: Callable[..., None],
    light: dict[str, Any],
) -> None:
    """What triggers what, inside the surrounding gr.Blocks.

    Args:
        photo, language, active: the page's photo, language switch and state with the tab that somebody looks at.
        follow: shows the chosen lesson and asks it, after an event.
        offer: button, function, inputs: makes a file and hands it to the visitor.
        light: settings of events that do not ask the networks.
    """
    inputs = [component for desk in lab.desks for component in desk.inputs]
    linked = tools.link.click(
        _link, [photo, language, active, lab.chooser, tools.large, lab.point, *inputs], tools.address, **light
    )
    linked.then(None, tools.address, tools.address, js=_WHOLE_ADDRESS, api_visibility="private")
    tools.large.input(None, tools.large, None, js=_LARGE, api_visibility="private")
    offer(tools.sheet, _sheet, [photo, language, lab.chooser, lab.point, *inputs])
    label = next(desk for desk in lab.desks if desk.lesson is truth.LESSON).parts.inputs["label"]
    controls = [control for desk in lab.desks for control in desk.controls]
    queued = {**light, "queue": True}  # or Gradio does not show why a sheet is refused
    opened = tools.opened.upload(
        _open, [tools.opened, language], [photo, label, lab.chooser, lab.point, *controls], **queued
    )
    follow(opened)


# The server does not know under which address it is seen.
_WHOLE_ADDRESS = """query => {
    const whole = location.origin + location.pathname + query;
    navigator.clipboard?.writeText(whole).catch(() => {}); // not everywhere allowed; the field has it too
    return whole;
}"""

_LARGE = """on => {
    document.documentElement.classList.toggle("seglab-large", on);
    const address = new URL(location);
    if (on) address.searchParams.set("large", "1");
    else address.searchParams.delete("large");
    history.replaceState(null, "", address); // so that it outlives a reload
}"""


# --- the link ---------------------------------------------------------------------------------------------------------


def _link(photo: Any, language: str, active: str, key: str, large: bool, point: Any, *values: Any) -> Any:
    """The address's query for this view, in the field that shows it."""
    number = example_number(photo)
    controls = _controls_of(key, values)
    chosen = controls.pop(NETWORKS, [])
    models = () if chosen == default_networks() else tuple(chosen)
    lesson = key if active == "lab" else None
    query = write_link(View(lesson, number, models, language, bool(large), controls, point_of(point)))
    own = photo is not None and number is None
    return gr.update(value=query, visible=True, info=say(language, "class_own" if own else "class_copied"))


def open_link(request: gr.Request, lab: LabTab) -> tuple[View, list[Any]]:
    """What an address asks for, and the updates that show it.

    Returns:
        The view, and updates for: photo, lesson, networks of Compare, then for `linked`.
    """
    view = read_link(dict(request.query_params))
    shown = [gr.skip(), gr.skip(), gr.skip()]
    if view.example is not None:
        example = Path(EXAMPLES[view.example - 1])
        shown[0] = downloads.to_cache(example.read_bytes(), example.name)
    if view.lesson is not None:
        shown[1] = view.lesson
    if len(view.models) >= 2:
        shown[2] = list(view.models)
    shown.append(gr.skip() if view.point is None else view.point)
    shown += [_linked_value(view, desk.lesson.key, control) for desk in lab.desks for control in desk.lesson.controls]
    return view, shown


def linked(lab: LabTab) -> list[Any]:
    """What `open_link` sets in the lab: the point, and every lesson's controls."""
    return [lab.point, *(control for desk in lab.desks for control in desk.controls)]


def _linked_value(view: View, key: str, control: Control) -> Any:
    """Networks are chosen wherever they can be, other controls in the lesson that the address names."""
    if control.name == NETWORKS:
        offered = [value for _, value in control.choices]
        return [name for name in view.models if name in offered] or gr.skip()
    return view.controls.get(control.name, gr.skip()) if key == view.lesson else gr.skip()


# --- the lab sheet ----------------------------------------------------------------------------------------------------


@log.request("page/sheet")
def _sheet(photo: Any, language: str, key: str, point: Any, *values: Any) -> str:
    """Path of the sheet of this view."""
    image = open_photo(photo, language)
    controls = _controls_of(key, values)
    results = answers(image, [Network(name) for name in _shown_in(key, controls)])
    given = values_of(truth.LESSON.key, values)
    label = truth.label_of(image, given["source"], given["label"], given["painted"], results[0][1].classes)
    data = write_sheet(image, results, label=label, lesson=key, controls=controls, point=point_of(point))
    return downloads.to_cache(data, f"seglab_{key}.zip")


def _shown_in(key: str, controls: dict[str, Any]) -> list[str]:
    """The networks whose answers go into a sheet: the chosen ones; else the default ones and the lesson's own."""
    own = {fcn.LESSON.key: fcn.FAMILY, skips.LESSON.key: ("unetpp",), family.LESSON.key: tuple(family.FAMILY)}
    more = [*default_networks(), *own.get(key, ()), controls.get("network")]
    return [name for name in dict.fromkeys(controls.get(NETWORKS) or more) if name in comparable()]


@log.request("page/open")
def _open(path: Any, language: str) -> list[Any]:
    """Updates for photo, label, lesson, point and every lesson's controls: the view that the sheet says."""
    try:
        if not isinstance(path, str) or not uploaded(path):
            raise SheetError("foreign", "no upload")
        sheet = read_sheet(Path(path).read_bytes())
        lesson = next((lesson for lesson in LESSONS if lesson.key == sheet.lesson), None)
        if lesson is None:
            raise SheetError("foreign", "a lesson that is not here")
    except SheetError as error:
        message = html.escape(say(language, f"sheet_{error.reason}"))
        raise gr.Error(message, title=say(language, "error_title"), print_exception=False) from None
    open_photo(sheet.photo, language)  # refused as every other photo
    values = lesson.checked([sheet.controls.get(control.name) for control in lesson.controls])
    changes = {(lesson.key, name): value for name, value in values.items()}
    if sheet.label is not None:
        changes[truth.LESSON.key, "source"] = "file"  # a painting, too, comes back as a file
    return [
        downloads.to_cache(sheet.photo, "sheet_photo.jpg"),
        None if sheet.label is None else downloads.to_cache(sheet.label, "sheet_label.png"),
        lesson.key,
        point_of(sheet.point),
        *(changes.get((other.key, control.name), gr.skip()) for other in LESSONS for control in other.controls),
    ]


def _controls_of(key: str, values: tuple[Any, ...]) -> dict[str, Any]:
    names = {control.name for lesson in LESSONS if lesson.key == key for control in lesson.controls}
    return {name: value for name, value in values_of(key, values).items() if name in names}
