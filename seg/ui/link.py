"""Addresses that open one exact view: `?lesson=aspp&example=3&models=fcn8s,unet&lang=zh&large=1&point=0.3,0.62`.

A lesson's controls stand in them by their names, where they are not as at first: `&heard=0,1,4`. Nothing in them is
kept on the server, so they hold after a restart. Every parameter is checked by itself, and one that means nothing here
is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from seg.ui.lab import CENTRE, point_of
from seg.ui.lessons import LESSONS, Control, Lesson
from seg.ui.networks import comparable
from seg.ui.photo import EXAMPLES
from seg.ui.text import LANGUAGES

NETWORKS = "names"  # the control of networks that several lessons have
NONE = "none"  # where none of several is chosen


@dataclass(frozen=True)
class View:
    """What an address asks for; None or empty where it does not say.

    Attributes:
        lesson: key of a lesson of the lab.
        example: number of one of the page's example photos, from 1.
        models: networks to choose wherever several can be chosen.
        language: "en" or "zh".
        large: large type, for a projector.
        controls: values of the lesson's controls by name; networks are in `models`.
        point: where to point at the photo.
    """

    lesson: str | None = None
    example: int | None = None
    models: tuple[str, ...] = ()
    language: str | None = None
    large: bool = False
    controls: dict[str, Any] = field(default_factory=dict)
    point: tuple[float, float] | None = None


def read_link(query: Mapping[str, str]) -> View:
    """The view that an address asks for, from its parameters."""
    lesson = next((known for known in LESSONS if known.key == query.get("lesson")), None)
    example = query.get("example", "")
    number = int(example) if len(example) <= 2 and example.isascii() and example.isdecimal() else 0
    asked = query.get("models", "").split(",")
    language = query.get("lang", "")
    return View(
        lesson=lesson.key if lesson else None,
        example=number if 1 <= number <= len(EXAMPLES) else None,
        models=tuple(name for name in comparable() if name in asked),
        language=language if language in LANGUAGES.values() else None,
        large=query.get("large") == "1",
        controls=_read_controls(lesson, query) if lesson else {},
        point=point if lesson and (point := point_of(query.get("point", "").split(","))) != CENTRE else None,
    )


def _read_controls(lesson: Lesson, query: Mapping[str, str]) -> dict[str, Any]:
    """The controls that the address sets to something they offer; a number outside a slider becomes its end."""
    read = {
        control.name: value
        for control in lesson.controls
        if control.name != NETWORKS and (value := _read(control, query.get(control.name))) is not None
    }
    checked = lesson.checked([read.get(control.name) for control in lesson.controls])
    return {name: checked[name] for name in read}


def _read(control: Control, text: str | None) -> Any:
    """What `_write` has written; None where it means nothing."""
    if text is None:
        return None
    if control.kind is gr.Slider:
        try:
            return float(text)
        except ValueError:
            return None
    if control.kind is gr.Checkbox:
        return {"0": False, "1": True}.get(text)
    known = {str(value): value for _, value in control.choices}
    if control.kind is gr.CheckboxGroup:
        return [] if text == NONE else [known[part] for part in text.split(",") if part in known] or None
    return known.get(text)


def _write(control: Control, value: Any) -> str:
    if control.kind is gr.Slider:
        return f"{value:g}"
    if control.kind is gr.Checkbox:
        return str(int(value))
    return ",".join(map(str, value)) or NONE if isinstance(value, list) else str(value)


def write_link(view: View) -> str:
    """The address's part from "?" on; `read_link` reads it back."""
    given = {
        "lesson": view.lesson,
        "example": view.example,
        "models": ",".join(view.models),
        "lang": view.language,
        "large": "1" if view.large else None,
    }
    lesson = next((known for known in LESSONS if known.key == view.lesson), None)
    for control in lesson.controls if lesson else ():
        if control.name in view.controls and view.controls[control.name] != control.settings["value"]:
            given[control.name] = _write(control, view.controls[control.name])
    if lesson and view.point is not None and view.point != CENTRE:
        given["point"] = ",".join(f"{math.floor(10_000 * share) / 10_000:g}" for share in view.point)
    return "?" + "&".join(f"{name}={quote(str(value), safe=',')}" for name, value in given.items() if value)


def example_number(photo: str | bytes | None) -> int | None:
    """Which of the page's examples this photo is, from 1; None for every other photo."""
    if not isinstance(photo, str) or not Path(photo).is_file():
        return None
    size = Path(photo).stat().st_size
    for number, example in enumerate(map(Path, EXAMPLES), start=1):
        if example.stat().st_size == size and example.read_bytes() == Path(photo).read_bytes():
            return number
    return None
