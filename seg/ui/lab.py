"""Tab "Lab": a list of lessons, and for the chosen one its sentences, its controls and its board.

Every lesson is a `Lesson`; this file lays them out and asks the one that somebody looks at. Whether it has something to
answer is found out beside the queue, so that places in it are taken only by what is computed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from seg.ui import log
from seg.ui.board import Block, make_board
from seg.ui.lessons import LESSONS, Lesson, Parts, Surroundings, truth
from seg.ui.photo import open_photo
from seg.ui.text import say

CENTRE = (0.5, 0.5)


@dataclass(frozen=True)
class Desk:
    """The components of one lesson."""

    lesson: Lesson
    column: gr.Column
    text: gr.HTML
    controls: list[Any]
    parts: Parts
    board: gr.HTML

    @property
    def inputs(self) -> list[Any]:
        """Whose values the lesson is asked with, and whose change asks it."""
        return [*self.controls, *self.parts.inputs.values()]


@dataclass(frozen=True)
class LabTab:
    """The tab's components, for the page to wire.

    Attributes:
        tab, chooser: what they are called.
        desks: one per lesson, in the order of `LESSONS`.
        point: the state with the pixel that somebody pointed at, shares of width and height.
        asked: the state with what each lesson was last asked, so that nothing is computed twice.
        above: what stands above the lessons.
    """

    tab: gr.Tab
    chooser: gr.Radio
    desks: list[Desk]
    point: gr.State
    asked: gr.State
    above: Any


def build(language: str, above: Callable[[str], Any] = lambda _: None) -> LabTab:
    """Lay out the tab inside the surrounding gr.Tabs; `above` lays out what stands above the lessons."""
    with gr.Tab(say(language, "lab_tab"), id="lab") as tab:
        tools = above(language)
        chooser = gr.Radio(
            _titles(language),
            value=LESSONS[0].key,
            label=say(language, "lesson"),
            show_label=False,
            container=False,
            elem_id="lesson",
            elem_classes="seglab-lessons",
        )
        desks = [_desk(lesson, language) for lesson in LESSONS]
        point, asked = gr.State(CENTRE), gr.State({})  # inside: Gradio would count them among the tabs
    return LabTab(tab, chooser, desks, point, asked, tools)


def _desk(lesson: Lesson, language: str) -> Desk:
    with gr.Column(
        visible=lesson is LESSONS[0], elem_id=f"lesson-{lesson.key}", elem_classes="seglab-lesson"
    ) as column:
        words = gr.HTML(lesson.text(language), elem_classes="seglab-lesson-text")
        with gr.Row(elem_classes="seglab-lesson-controls"):
            controls = [c.make(language, f"lesson-{lesson.key}-{c.name}") for c in lesson.controls]
        parts = lesson.extra.build(language) if lesson.extra else Parts({}, [])
        board = make_board(elem_id=f"board-{lesson.key}", language=language)
    return Desk(lesson, column, words, controls, parts, board)


def wire(
    lab: LabTab, photo: Any, seen: Any, switch: Any, active: Any, heavy: dict[str, Any], light: dict[str, Any]
) -> Callable[[Any], None]:
    """What triggers what, inside the surrounding gr.Blocks.

    Args:
        photo, seen: the page's photo, and a text that changes once with every other photo.
        switch, active: the page's language switch and state with the tab that somebody looks at.
        heavy, light: settings of events that ask the networks, and of those that do not.

    Returns:
        What shows the chosen lesson and asks it after an event that chose it out of sight.
    """
    last: dict[str, Any] = {"trigger_mode": "always_last"}  # each is alone on its trigger in that, see `seg.ui.page`
    chosen = lab.chooser.change(_show_only, lab.chooser, [desk.column for desk in lab.desks], **{**light, **last})
    opened = lab.tab.select(lambda: "lab", None, active, **light)
    inputs = [component for desk in lab.desks for component in desk.inputs]
    boards = [desk.board for desk in lab.desks]
    picked = [desk.board.pick(_picked, None, lab.point, **light) for desk in lab.desks]
    wanted = gr.Textbox(visible="hidden")  # no gr.State: an event beside the queue does not tell of a state's change
    view = [photo, active, lab.chooser, lab.point, lab.asked, *inputs]
    look = {"fn": _wanted, "inputs": view, "outputs": wanted, **light}
    seen.change(**look)
    gr.on([component.change for component in inputs], **{**look, **last})
    for desk in lab.desks:
        if desk.controls:
            desk.board.choose(_chooser(desk), None, desk.controls, **light)
    for event in (chosen, opened, *picked):
        event.then(**look)
    wanted.change(_asker(boards), [switch, *view], [*boards, lab.asked], **heavy, **last)
    for desk in lab.desks:
        if desk.lesson.extra:
            names = [control.name for control in desk.lesson.controls]
            by_name = dict(zip(names, desk.controls, strict=True))
            desk.lesson.extra.wire(desk.parts, Surroundings(photo, seen, switch, by_name, desk.board, heavy, light))

    def follow(event: Any) -> None:
        shown = event.then(_show_only, lab.chooser, [desk.column for desk in lab.desks], **light)
        shown.then(**look)

    return follow


def spoken(lab: LabTab) -> list[Any]:
    """The components whose words change with the language, in the order of `speak`."""
    parts = [[desk.text, *desk.controls, *desk.parts.spoken, desk.board] for desk in lab.desks]
    return [lab.tab, lab.chooser, *(part for of_desk in parts for part in of_desk)]


def speak(language: str) -> list[Any]:
    """An update for each component of `spoken`."""
    updates = [gr.update(label=say(language, "lab_tab")), gr.update(choices=_titles(language))]
    for lesson in LESSONS:
        updates += [gr.update(value=lesson.text(language))]
        updates += [gr.update(**control.worded(language)) for control in lesson.controls]
        updates += lesson.extra.speak(language) if lesson.extra else []
        updates += [gr.update(lang=language)]
    return updates


def values_of(key: str, values: Sequence[Any]) -> dict[str, Any]:
    """One lesson's own among the values of all lessons' inputs, by name; those of controls are checked."""
    rest = iter(values)
    for lesson in LESSONS:
        own = lesson.checked([next(rest) for _ in lesson.controls])
        more = {name: next(rest) for name in (lesson.extra.inputs if lesson.extra else ())}
        if lesson.key == key:
            return {**own, **more}
    return {}


def ask(lesson: Lesson, photo: Any, language: str, point: Any, values: dict[str, Any]) -> dict[str, Any] | None:
    """The board's value for one lesson; None where a photo is needed and there is none.

    Args:
        values: what `answer` gets besides photo and point, by name; those of controls checked.
    """
    if photo is None and lesson.needs_photo:
        return None
    with log.request(f"page/lab/{lesson.key}"):
        image = None if photo is None else open_photo(photo, language)
        return board_value(lesson.answer(photo=image, point=point_of(point), **values))


def board_value(blocks: list[Block]) -> dict[str, Any]:
    """What a board draws; the id tells one answer from the next."""
    return {"id": secrets.token_hex(8), "blocks": blocks}


def _wanted(*view: Any) -> Any:
    """Another text each time the lesson in sight has something to answer; its change asks the networks."""
    return gr.skip() if _question(*view) is None else secrets.token_hex(8)


def _question(photo: Any, active: str, key: str, point: Any, asked: dict[str, Any], *values: Any) -> list[Any] | None:
    """What the lesson `key` is to be asked; None while nobody looks at it, or where that was its last question."""
    lesson = next((lesson for lesson in LESSONS if lesson.key == key), None)
    if active != "lab" or lesson is None:
        return None
    own = values_of(key, values)
    if lesson.with_truth:
        given = values_of(truth.LESSON.key, values)
        own["truth"] = {name: given[name] for name in ("source", "label", "painted")}
    question = [photo, point, own]
    return None if asked.get(key) == question else question


def _asker(boards: list[gr.HTML]) -> Callable[..., list[Any]]:
    def answer(
        language: str, photo: Any, active: str, key: str, point: Any, asked: dict[str, Any], *values: Any
    ) -> list[Any]:
        answers: list[Any] = [gr.skip() for _ in boards]
        question = _question(photo, active, key, point, asked, *values)
        if question is None:
            return [*answers, asked]
        place = [lesson.key for lesson in LESSONS].index(key)
        try:
            answers[place] = ask(LESSONS[place], photo, language, point, question[-1])
        except gr.Error:  # the tab "Segment" has said what is wrong with the photo
            answers[place] = None
        return [*answers, {**asked, key: question}]

    return answer


def _show_only(key: str) -> list[Any]:
    return [gr.update(visible=lesson.key == key) for lesson in LESSONS]


def _picked(event: gr.EventData) -> tuple[float, float]:
    return point_of((getattr(event, "x", None), getattr(event, "y", None)))


def _chooser(desk: Desk) -> Callable[[gr.EventData], dict[Any, Any]]:
    """What a click on a strip does: the lesson's controls take the values it carries, or what they offer instead."""
    controls = desk.lesson.controls

    def chosen(event: gr.EventData) -> dict[Any, Any]:
        values = [getattr(event, control.name, None) for control in controls]
        offered = desk.lesson.checked(values)
        named = zip(controls, desk.controls, values, strict=True)
        return {part: gr.update(value=offered[control.name]) for control, part, value in named if value is not None}

    return chosen


def point_of(point: Any) -> tuple[float, float]:
    """A pair of shares, whatever the browser sent; the centre where it is none."""
    try:
        x, y = (float(value) for value in point)
    except (TypeError, ValueError, OverflowError):  # a whole number may have a thousand digits
        return CENTRE
    return (x, y) if 0 <= x < 1 and 0 <= y < 1 else CENTRE


def _titles(language: str) -> list[tuple[str, str]]:
    return [(f"{i}  {lesson.title[language]}", lesson.key) for i, lesson in enumerate(LESSONS, start=1)]
