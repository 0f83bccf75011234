"""Addresses of views: whatever somebody types, only what exists here is opened."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg.ui import classroom, lab
from seg.ui.lessons import LESSONS
from seg.ui.link import View, example_number, read_link, write_link
from seg.ui.networks import comparable
from seg.ui.photo import EXAMPLES


def test_an_exact_exercise() -> None:
    query = dict(parse_qsl("lesson=aspp&example=3&models=unet,fcn8s&lang=zh&large=1"))
    assert read_link(query) == View("aspp", 3, ("fcn8s", "unet"), "zh", True)


@given(
    st.builds(
        View,
        lesson=st.sampled_from([None, *(lesson.key for lesson in LESSONS)]),
        example=st.sampled_from([None, *range(1, len(EXAMPLES) + 1)]),
        models=st.sets(st.sampled_from(comparable())).map(lambda some: tuple(n for n in comparable() if n in some)),
        language=st.sampled_from([None, "en", "zh"]),
        large=st.booleans(),
    )
)
def test_a_view_comes_back_from_its_address(view: View) -> None:
    assert read_link(dict(parse_qsl(write_link(view).removeprefix("?")))) == view


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
    ],
)
def test_nonsense_is_passed_over(query: dict[str, str]) -> None:
    assert read_link(query) == View()


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
