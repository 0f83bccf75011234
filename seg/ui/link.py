"""Addresses that open one exact view: `?lesson=aspp&example=3&models=fcn8s,unet&lang=zh&large=1`.

Nothing in them is kept on the server, so they hold after a restart. Every parameter is checked by itself, and one that
means nothing here is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from seg.ui.lessons import LESSONS
from seg.ui.networks import comparable
from seg.ui.photo import EXAMPLES
from seg.ui.text import LANGUAGES


@dataclass(frozen=True)
class View:
    """What an address asks for; None or empty where it does not say.

    Attributes:
        lesson: key of a lesson of the lab.
        example: number of one of the page's example photos, from 1.
        models: networks to choose wherever several can be chosen.
        language: "en" or "zh".
        large: large type, for a projector.
    """

    lesson: str | None = None
    example: int | None = None
    models: tuple[str, ...] = ()
    language: str | None = None
    large: bool = False


def read_link(query: Mapping[str, str]) -> View:
    """The view that an address asks for, from its parameters."""
    lesson, example = query.get("lesson", ""), query.get("example", "")
    number = int(example) if len(example) <= 2 and example.isascii() and example.isdecimal() else 0
    asked = query.get("models", "").split(",")
    language = query.get("lang", "")
    return View(
        lesson=lesson if lesson in [known.key for known in LESSONS] else None,
        example=number if 1 <= number <= len(EXAMPLES) else None,
        models=tuple(name for name in comparable() if name in asked),
        language=language if language in LANGUAGES.values() else None,
        large=query.get("large") == "1",
    )


def write_link(view: View) -> str:
    """The address's part from "?" on; `read_link` reads it back."""
    given = {
        "lesson": view.lesson,
        "example": view.example,
        "models": ",".join(view.models),
        "lang": view.language,
        "large": "1" if view.large else None,
    }
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
