"""Addresses of views: whatever somebody types, only what exists here is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg.classes import VOC
from seg.ui import classroom, lab
from seg.ui.lessons import LESSONS, Control
from seg.ui.link import NETWORKS, View, example_number, read_link, write_link
from seg.ui.networks import comparable
from seg.ui.photo import EXAMPLES


def test_an_exact_exercise() -> None:
    query = dict(parse_qsl("lesson=aspp&example=3&models=unet,fcn8s&lang=zh&large=1"))
    assert read_link(query) == View("aspp", 3, ("fcn8s", "unet"), "zh", True)
    query = dict(parse_qsl("lesson=aspp&heard=0,4,9&point=0.3,0.62&rate=5"))
    assert read_link(query) == View("aspp", controls={"heard": [0, 4]}, point=(0.3, 0.62))
    assert read_link({**query, "heard": "none"}).controls == {"heard": []}
    assert read_link({"lesson": "atrous", "rate": "99", "stride": "8"}).controls == {"rate": 24, "stride": 8}


def values_for(control: Control) -> st.SearchStrategy[Any]:
    """Every value that somebody can set."""
    known = [value for _, value in control.choices]
    if control.kind is gr.Slider:
        low, high, step = (control.settings[key] for key in ("minimum", "maximum", "step"))
        return st.integers(0, round((high - low) / step)).map(lambda n: round(low + n * step, 6))
    if control.kind is gr.Checkbox:
        return st.booleans()
    if control.kind is gr.CheckboxGroup:
        return st.sets(st.sampled_from(known)).map(lambda some: [value for value in known if value in some])
    return st.sampled_from(known)


@st.composite
def views(draw: st.DrawFn) -> View:
    lesson = draw(st.sampled_from([None, *LESSONS]))
    controls = {c.name: draw(values_for(c)) for c in (lesson.controls if lesson else ()) if c.name != NETWORKS}
    shares = st.integers(0, 9999).map(lambda n: n / 10_000)
    models = draw(st.sets(st.sampled_from(comparable())))
    return View(
        lesson=lesson.key if lesson else None,
        example=draw(st.sampled_from([None, *range(1, len(EXAMPLES) + 1)])),
        models=tuple(name for name in comparable() if name in models),
        language=draw(st.sampled_from([None, "en", "zh"])),
        large=draw(st.booleans()),
        controls=controls,
        point=draw(st.none() | st.tuples(shares, shares)) if lesson else None,
    )


@given(views())
def test_a_view_comes_back_from_its_address(view: View) -> None:
    found = read_link(dict(parse_qsl(write_link(view).removeprefix("?"))))
    first = {c.name: c.settings["value"] for lesson in LESSONS if lesson.key == view.lesson for c in lesson.controls}
    assert found == replace(
        view,
        controls={name: value for name, value in view.controls.items() if value != first[name]},
        point=None if view.point == lab.CENTRE else pytest.approx(view.point, abs=1.1e-4) if view.point else None,
    )


def test_no_control_is_called_like_another_parameter() -> None:
    names = {control.name for lesson in LESSONS for control in lesson.controls}
    assert not names & {"lesson", "example", "models", "lang", "large", "point"}


def test_an_address_sets_the_controls_of_its_lesson_and_the_point() -> None:
    with gr.Blocks():
        tab = lab.build("en")
    query = "lesson=atrous&stride=8&rate=7&models=unet&point=0.1,0.2&kind=noise"
    request: Any = SimpleNamespace(query_params=dict(parse_qsl(query)))
    _, (photo, key, compared, point, *values) = classroom.open_link(request, tab)
    assert (key, point) == ("atrous", (0.1, 0.2))
    assert len(values) == len(classroom.linked(tab)) - 1
    controls = [(lesson.key, control.name) for lesson in LESSONS for control in lesson.controls]
    shown = {name: value for name, value in zip(controls, values, strict=True) if value != gr.skip()}
    chosen = {name: ["unet"] for name in controls if name[1] == NETWORKS}
    assert shown == {("atrous", "stride"): 8, ("atrous", "rate"): 7, **chosen}
    assert photo == compared == gr.skip()


def test_the_button_writes_what_is_chosen() -> None:
    values = []
    for lesson in LESSONS:
        for control in lesson.controls:
            own = lesson.key == "fcn" and control.name == "shown"
            values.append(VOC.names.index("dog") if own else control.settings["value"])
        values += [None for _ in (lesson.extra.inputs if lesson.extra else ())]
    for active, written in (
        ("lab", "?lesson=fcn&example=2&lang=en&shown=12&point=0.3333,0.9999"),
        ("segment", "?example=2&lang=en"),
    ):
        update = classroom._link(EXAMPLES[1], "en", active, "fcn", False, (1 / 3, 0.99999), *values)
        assert update["value"] == written


@pytest.mark.parametrize(
    "query",
    [
        {"lesson": "<b>"},
        {"lesson": "../fcn"},
        *({"example": text} for text in ("0", "-1", "7", "99", "1.5", "1e0", "²", "٣", "", "x", "000000001")),
        {"models": "nothing,../unet, unet"},
        {"lang": "zh-CN"},
        {"large": "yes"},
        {"other": "1"},
        {"point": "0.1,0.2"},
        {"rate": "5"},
    ],
)
def test_nonsense_is_passed_over(query: dict[str, str]) -> None:
    assert read_link(query) == View()


@pytest.mark.parametrize(
    "query",
    [
        *({"point": text} for text in ("", "0.1", "0.1,x", "2,0.1", "nan,0", "0.1,0.2,0.3", "-0.1,0")),
        *({"rate": text} for text in ("", "x", "5,6", "0x5")),
        *({"stride": text} for text in ("", "5", "16.0", "8,16")),
        {"heard": "0"},
        {"names": "unet"},
    ],
)
def test_nonsense_about_a_lesson_leaves_it_as_it_is(query: dict[str, str]) -> None:
    assert read_link({"lesson": "atrous", **query}) == View("atrous")
    assert read_link({"lesson": "aspp", "heard": "x,7"}) == View("aspp")
    assert read_link({"lesson": "atrous", "rate": "nan"}).controls == {"rate": 4}


def test_an_example_is_known_by_its_content(tmp_path: Path) -> None:
    copy = tmp_path / "other name.png"
    copy.write_bytes(Path(EXAMPLES[1]).read_bytes())
    assert example_number(str(copy)) == 2
    changed = bytearray(copy.read_bytes())
    changed[-1] ^= 1
    copy.write_bytes(bytes(changed))
    assert example_number(str(copy)) is None
    assert example_number(str(tmp_path / "missing.png")) is None
    assert example_number(None) is None


def test_values_of_all_inputs_are_told_apart_by_lesson() -> None:
    """The order is that of the desks: a lesson's controls, then its own components."""
    values, expected = [], {}
    for lesson in LESSONS:
        first = {control.name: control.settings["value"] for control in lesson.controls}
        more = {name: f"{lesson.key} {name}" for name in (lesson.extra.inputs if lesson.extra else ())}
        values += [*first.values(), *more.values()]
        expected[lesson.key] = {**first, **more}
    for lesson in LESSONS:
        assert lab.values_of(lesson.key, values) == expected[lesson.key]
        assert set(classroom._controls_of(lesson.key, tuple(values))) == {c.name for c in lesson.controls}
    assert lab.values_of("no lesson", values) == {}
