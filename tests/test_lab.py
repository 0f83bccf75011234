"""The lab: every lesson's words, its answers as blocks a board can draw, and a dispatcher that trusts nobody."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from seg.ui import lab
from seg.ui.board import both, box, cell, chart, dot, grid, picture, table
from seg.ui.lessons import LESSONS, Lesson, choice, several, slider, switch
from seg.ui.photo import EXAMPLES, fingerprint, open_photo
from seg.ui.text import LANGUAGES

KINDS = {"text", "pictures", "table", "chart", "grids", "strip"}
IDS = [lesson.key for lesson in LESSONS]


def words_in(value: Any) -> list[dict[str, str]]:
    """Every text in several languages inside nested lists and dictionaries."""
    if isinstance(value, dict) and "en" in value:
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [words for part in inner for words in words_in(part)]


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_a_lesson_says_everything_in_every_language(lesson: Lesson) -> None:
    said = [lesson.title, *lesson.tells, lesson.do, lesson.notice, lesson.paper]
    said += [control.label for control in lesson.controls]
    said += [words for control in lesson.controls for words, _ in control.choices if isinstance(words, dict)]
    for words in said:
        assert set(words) == set(LANGUAGES.values())
        assert all(text.strip() for text in words.values())
    for language in LANGUAGES.values():
        assert lesson.title[language] in lesson.text(language)


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_a_lesson_answers_with_blocks_for_a_photo(lesson: Lesson) -> None:
    first = [control.settings["value"] for control in lesson.controls]
    value = lab.ask(lesson, EXAMPLES[0], "en", lab.CENTRE, lesson.checked(first))
    assert value is not None
    assert value["blocks"]
    assert {block["kind"] for block in value["blocks"]} <= KINDS
    json.dumps(value, allow_nan=False)  # it travels as JSON
    for words in words_in(value):
        assert set(words) == set(LANGUAGES.values()), words


@pytest.mark.parametrize("lesson", [lesson for lesson in LESSONS if lesson.needs_photo])
def test_without_a_photo_a_lesson_that_needs_one_shows_nothing(lesson: Lesson) -> None:
    assert lab.ask(lesson, None, "en", lab.CENTRE, {}) is None


def test_thirty_visitors_at_once_get_what_each_gets_alone(tmp_path: Path) -> None:
    """Through the page's own event, with other photos, labels and lessons: nobody sees another's."""
    questions = []
    keys = ("pixel", "truth", "aspp", "flow", "quiz")
    for key, (number, example) in itertools.product(keys, enumerate(EXAMPLES[:3])):
        with Image.open(example) as photo:
            label = Image.new("L", photo.size)
        label.paste(8 + number, (20 * number, 0, label.width, label.height // 2))
        label.save(tmp_path / f"label{number}.png")
        values = []
        for lesson in LESSONS:
            first = {control.name: control.settings["value"] for control in lesson.controls}
            more = dict.fromkeys(lesson.extra.inputs if lesson.extra else ())
            known = {"names": ["unet"], "field": "hide", "label": str(tmp_path / f"label{number}.png")}
            known["round"] = {"secret": f"{number}", "photo": fingerprint(open_photo(example, "en")),
                              "guesses": ["unet", "fcn8s", "deeplabv3"], "reason": "thin"}  # fmt: skip
            values += [known.get(name, value) for name, value in {**first, **more}.items()]
        questions.append(("en", example, "lab", key, (0.3, 0.6), {}, *values))
    asker = lab._asker([None for _ in LESSONS])  # type: ignore[misc]

    def answered(question: tuple[Any, ...]) -> list[Any]:
        *answers, _ = asker(*question)
        return answers[IDS.index(question[3])]["blocks"]

    with ThreadPoolExecutor(1) as one:
        alone = list(one.map(answered, questions))
    assert len({json.dumps(blocks) for blocks in alone}) == len(questions)
    with ThreadPoolExecutor(30) as visitors:
        together = list(visitors.map(answered, [*questions, *reversed(questions)]))
    assert together == [*alone, *reversed(alone)]


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_controls_take_any_nonsense(lesson: Lesson) -> None:
    for nonsense in (None, "?", -1e9, float("nan"), [], ["?"], {}):
        values = lesson.checked([nonsense for _ in lesson.controls])
        assert set(values) == {control.name for control in lesson.controls}
        for control in lesson.controls:
            value, offered = values[control.name], [entry for _, entry in control.choices]
            if control.kind is gr.Slider:
                assert control.settings["minimum"] <= value <= control.settings["maximum"]  # false for nan
            elif control.kind is gr.Checkbox:
                assert isinstance(value, bool)
            elif control.kind is gr.CheckboxGroup:
                assert set(value) <= set(offered)
            else:
                assert value in offered


def test_values_are_brought_back_to_what_a_control_offers() -> None:
    words = both("a", "一")
    controls = [
        choice("one", words, [(words, 1), (words, 2)]),
        several("some", words, [(words, 1), (words, 2)], [2]),
        slider("number", words, 0, 10, step=1, value=5),
        switch("on", words),
    ]
    lesson = Lesson("k", words, [words], words, words, words, controls, lambda **_: [])
    assert lesson.checked([7, [2, 9], 99, 1]) == {"one": 1, "some": [2], "number": 10, "on": True}
    assert lesson.checked([2, "x", float("nan"), None]) == {"one": 2, "some": [], "number": 5, "on": False}


@pytest.mark.parametrize("point", [None, "xy", (1,), (2, 0.1), (float("nan"), 0), ("a", "b"), {"x": 1}, (-0.1, 0.2)])
def test_a_point_from_a_browser_may_be_nonsense(point: Any) -> None:
    assert lab.point_of(point) == lab.CENTRE


def test_a_picture_keeps_its_coordinates_when_it_is_reduced() -> None:
    made = picture(Image.new("RGB", (4000, 1000)), "x", shapes=[dot(3999, 999), box(0, 0, 10, 10)])
    assert (made["width"], made["height"]) == (4000, 1000)
    assert len(made["src"]) < 50_000


def test_blocks_carry_plain_numbers_and_no_made_up_zero() -> None:
    block = chart([1, 2], [("a", [np.float32(0.5), None])], title="t", x_label="x", y_label="y")
    assert block["lines"][0]["values"] == [0.5, None]
    assert grid(np.array([[1.234, np.nan]]), "g")["values"] == [[1.23, None]]
    assert table(["a"], [["b", cell("c", bar=np.float64(0.5).item())]])["rows"][0][1]["bar"] == 0.5
