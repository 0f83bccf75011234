"""What a lesson is: words, controls, and one function from a photo and the controls' values to a board's blocks."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from seg.classes import ClassSet, Look, safe_looks
from seg.render import legend, overlay, share_text
from seg.transforms import Geometry
from seg.ui.board import MAX_SIDE, Block, Text, Words, both, cell, picture
from seg.ui.networks import comparable, default_networks, load_title

HEADINGS: dict[str, Words] = {
    "do": both("Do", "动手"),
    "notice": both("Notice", "观察"),
    "paper": both("Paper", "论文"),
}


@dataclass(frozen=True)
class Control:
    """A Gradio component whose value `answer` gets under the keyword `name`.

    Attributes:
        kind: the component's class.
        label: shown above it.
        settings: its other arguments, the first `value` among them.
        choices: (words, value) of each, for a radio, checkboxes or a dropdown.
    """

    name: str
    kind: type[Any]
    label: Words
    settings: dict[str, Any] = field(default_factory=dict)
    choices: Sequence[tuple[Words | str, Any]] = ()

    def make(self, language: str, elem_id: str) -> Any:
        """The component, in the surrounding layout."""
        return self.kind(**self.settings, **self.worded(language), elem_id=elem_id)

    def worded(self, language: str) -> dict[str, Any]:
        """What of the component depends on the language."""
        words: dict[str, Any] = {"label": self.label[language]}
        if self.choices:
            words["choices"] = [(w if isinstance(w, str) else w[language], value) for w, value in self.choices]
        return words


def choice(name: str, label: Words, choices: Sequence[tuple[Words | str, Any]], value: Any = None) -> Control:
    """One of several; the first, unless `value` says another."""
    return Control(name, gr.Radio, label, {"value": choices[0][1] if value is None else value}, choices)


def several(name: str, label: Words, choices: Sequence[tuple[Words | str, Any]], value: Sequence[Any]) -> Control:
    """Any of several; `value` are the ones chosen at first."""
    return Control(name, gr.CheckboxGroup, label, {"value": list(value)}, choices)


def slider(name: str, label: Words, low: float, high: float, *, step: float, value: float) -> Control:
    """A number between two ends."""
    return Control(name, gr.Slider, label, {"minimum": low, "maximum": high, "step": step, "value": value})


def switch(name: str, label: Words, value: bool = False) -> Control:
    """On or off."""
    return Control(name, gr.Checkbox, label, {"value": value})


def networks(names: Sequence[str] | None = None) -> Control:
    """Which networks answer, as the keyword `names`: by default the three that the page is about, others can join."""
    known = comparable() if names is None else [name for name in comparable() if name in names]
    first = [name for name in default_networks() if name in known] or known[:1]
    return several("names", both("Networks", "网络"), [(load_title(name), name) for name in known], first)


def shares_in_words(label_map: np.ndarray, classes: ClassSet) -> Words:
    """What a label map (H, W) shows, for who cannot see it: every class in it with its share, largest first."""
    counts = np.bincount(label_map.ravel(), minlength=256)
    present = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]

    def said(language: str) -> str:
        named = legend(classes, present, language=language)
        return ", ".join(f"{name} {share_text(counts[i] / label_map.size)}" for i, name, _ in named)

    return both(said("en"), said("zh").replace(", ", "，"))


def label_picture(
    photo: Image.Image, label_map: np.ndarray, classes: ClassSet, title: Text, **more: Any
) -> dict[str, Any]:
    """The photo with its classes tinted, and in words what they are; `more` as for `picture`."""
    images = tinted(photo, label_map, classes)
    return picture(title=title, alt=shares_in_words(label_map, classes), **images, **more)


def tinted(
    photo: Image.Image,
    label_map: np.ndarray,
    classes: ClassSet,
    *,
    opacity: float = 0.6,
    crop: tuple[int, int, int, int] | None = None,
) -> dict[str, Any]:
    """What `picture` takes to show an overlay, or this part of one: `image`, and `safe` for the colour-blind.

    Parts are there for their outlines, which a pattern would hide: they have the colours alone.
    """
    looks = class_looks(classes)
    if crop is not None:
        looks = {class_id: Look(look.colour, 0) for class_id, look in looks.items()}
    drawn = {
        "image": overlay(photo, label_map, classes, opacity=opacity),
        "safe": overlay(photo, label_map, classes, opacity=opacity, looks=looks),
    }
    return drawn if crop is None else {name: image.crop(crop) for name, image in drawn.items()}


def class_looks(classes: ClassSet) -> dict[int, Look]:
    """The lab's looks for the colour-blind: the same for a class in all pictures, whatever a network finds."""
    return safe_looks(range(len(classes)))


def class_cell(classes: ClassSet, class_id: int, words: Words | None = None, **more: Any) -> dict[str, Any]:
    """A table's cell with a class's name, or other words about it, and its colour; `more` as for `cell`."""
    words = words or both(classes.names[class_id], classes.names_zh[class_id])
    return cell(words, swatch=classes.colours[class_id], safe=class_looks(classes).get(class_id), **more)


def at_most(photo: Image.Image, geometry: Geometry, side: int = MAX_SIDE) -> tuple[Image.Image, Geometry]:
    """The photo with a long side of at most `side` pixels, and the way back from logits to that size.

    For lessons that need many label maps: the network still gets the photo as it came, only the answers are smaller.
    """
    small = photo.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small, replace(geometry, photo_size=(small.height, small.width))


@dataclass(frozen=True)
class Surroundings:
    """What the own components of a lesson may be wired to.

    Attributes:
        photo, seen: the page's photo, and a text that changes once with every other photo.
        language: the page's language switch.
        controls: the lesson's controls by name.
        board: the lesson's board.
        heavy, light: settings of events that ask the networks, and of those that do not.
    """

    photo: Any
    seen: Any
    language: Any
    controls: dict[str, Any]
    board: Any
    heavy: dict[str, Any]
    light: dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """Components of a lesson's own.

    Attributes:
        inputs: `answer` gets their values by these names, as they come: it checks them itself. A change asks again.
        spoken: those whose words change with the language.
        others: what else `Extra.wire` needs.
    """

    inputs: dict[str, Any]
    spoken: list[Any]
    others: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Extra:
    """What a lesson has beside controls and a board, laid out between the two.

    Attributes:
        inputs: names of the values that `answer` gets from these components, in the order of `Parts.inputs`.
        build: language -> its components, in the surrounding layout.
        speak: language -> an update for each of `Parts.spoken`.
        wire: what triggers what, besides that a change of an input asks the lesson.
    """

    inputs: Sequence[str]
    build: Callable[[str], Parts]
    speak: Callable[[str], list[Any]]
    wire: Callable[[Parts, Surroundings], None]


@dataclass(frozen=True)
class Lesson:
    """One lesson of the lab.

    Attributes:
        key: its name in addresses, `?lesson=KEY`.
        title: short, for the list of lessons.
        tells: a few plain sentences, each one paragraph.
        do: one thing to do.
        notice: what to look at.
        paper: where it stands: authors, year, section.
        controls: in their order.
        answer: keyword-only; gets `photo` (upright RGB PIL image, or None where `needs_photo` is off), `point` (x, y in
            shares of width and height, 0 to 1) and the value of each control by its name; returns the board's blocks.
            It must answer any value a client may send: values are checked with `checked`, or by hand.
        needs_photo: off for a lesson that can do without.
        extra: components of its own; `answer` has a default for each of their values.
        with_truth: whether `answer` also gets `truth`, what the lesson "truth" has of a label by the names `source`,
            `label` and `painted`.
    """

    key: str
    title: Words
    tells: Sequence[Words]
    do: Words
    notice: Words
    paper: Words
    controls: Sequence[Control]
    answer: Callable[..., list[Block]]
    needs_photo: bool = True
    extra: Extra | None = None
    with_truth: bool = False

    def text(self, language: str) -> str:
        """The lesson's sentences as HTML."""
        rows = "".join(f"<p>{html.escape(words[language])}</p>" for words in self.tells)
        named = {"do": self.do, "notice": self.notice, "paper": self.paper}
        parts = "".join(
            f"<dt>{html.escape(HEADINGS[key][language])}</dt><dd>{html.escape(words[language])}</dd>"
            for key, words in named.items()
        )
        return f'<div class="lesson-text"><h3>{html.escape(self.title[language])}</h3>{rows}<dl>{parts}</dl></div>'

    def checked(self, values: Sequence[Any]) -> dict[str, Any]:
        """The controls' values by name, each one that its control offers; anything else becomes its first value.

        Gradio itself checks a radio and checkboxes; a slider's number may be anything.
        """
        return {control.name: _allowed(control, value) for control, value in zip(self.controls, values, strict=True)}


def _allowed(control: Control, value: Any) -> Any:
    first: Any = control.settings.get("value")
    if control.kind is gr.Slider:
        low, high = control.settings["minimum"], control.settings["maximum"]
        number = value if isinstance(value, (int, float)) and value == value else first
        number = float(min(high, max(low, number)))  # bounded first: a whole number may be too large for a float
        return round(number) if isinstance(first, int) else number
    if control.kind is gr.Checkbox:
        return bool(value)
    known = [entry for _, entry in control.choices]
    if control.kind is gr.CheckboxGroup:
        chosen = value if isinstance(value, list) else []
        return [entry for entry in known if entry in chosen]
    return value if not control.choices or value in known else first
