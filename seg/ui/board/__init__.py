"""The board of a lesson: pictures, number grids, tables, line charts and sentences, drawn in the browser.

A lesson answers with a list of blocks, made by the functions below. Whatever is read by people is `Words`, so the
language switches without asking the lesson again. Everything is put into the page as text, never as HTML.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from seg.classes import Look
from seg.ui.looks import SCRIPT, look_value
from seg.ui.text import VIEWER

_HERE = Path(__file__).parent
MAX_SIDE = 720  # of a picture on the board, pixels; larger ones are reduced

Words = dict[str, str]
"""One text in every language of the page: {"en": ..., "zh": ...}."""
Block = dict[str, Any]
Text = Words | str
"""`Words`, or a plain string where no language matters (a number, a network's name)."""

WORDS: dict[str, Words] = {
    "keys": {
        "en": "Arrow keys move the point, Enter asks about it",
        "zh": "方向键移动光标，回车键查看该点",
    },
    "table": {"en": "The chart as a table", "zh": "用表格看这幅图"},
    "empty": {"en": "Choose a photo, or try an example.", "zh": "请选择一张照片，或试试示例。"},
    **{key: {language: words[key] for language, words in VIEWER.items()} for key in ("safe", "safeTitle")},
}


def both(en: str, zh: str) -> Words:
    """The same text in English and Chinese."""
    return {"en": en, "zh": zh}


def make_board(*, elem_id: str, language: str) -> gr.HTML:
    """An empty board. Its value is `board_value(...)` or None, its prop `lang` is "en" or "zh".

    Its event `pick` carries {"x", "y"}: shares (0 to 1) of width and height of the picture somebody pointed at; its
    event `choose` the `values` of the box of a `strip` that somebody chose.
    """
    return gr.HTML(
        value=None,
        html_template=(_HERE / "board.html").read_text("utf-8"),
        css_template=(_HERE / "board.css").read_text("utf-8"),
        js_on_load=f"const WORDS = {json.dumps(WORDS, ensure_ascii=False)};\n"
        + SCRIPT
        + (_HERE / "board.js").read_text("utf-8"),
        elem_id=elem_id,
        elem_classes="seglab-board",
        apply_default_css=False,
        lang=language,
    )


def text(words: Text, *, finding: bool = False) -> Block:
    """A paragraph; a `finding` is what this very photo shows, in stronger type."""
    return {"kind": "text", "text": words, "finding": finding}


def pictures(*items: dict[str, Any], title: Text = "", columns: int = 3) -> Block:
    """Pictures side by side, at most `columns` in a row; on a phone one or two."""
    return {"kind": "pictures", "title": title, "items": list(items), "columns": columns}


def picture(
    image: Image.Image | np.ndarray,
    title: Text,
    *,
    note: Text = "",
    alt: Text = "",
    safe: Image.Image | None = None,
    pixelated: bool = False,
    pick: bool = False,
    shapes: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """One picture of `pictures`.

    Args:
        image: RGB, or mode "P" (label maps), or (h, w, 3) uint8.
        title: above it.
        note: below it, small.
        alt: what it shows beside title and note, for who cannot see it.
        safe: the same in colours that are safe for the colour-blind, for who switched to them.
        pixelated: enlarge it in squares, for pictures of few pixels whose pixels are the point.
        pick: a click or Enter on it triggers the board's event `pick`.
        shapes: `dot`, `box` and `line`, in pixels of `image` as it is given.
    """
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    width, height = image.size
    return {
        "src": _data_url(image),
        "safe": None if safe is None else _data_url(safe),
        "width": width,
        "height": height,
        "title": title,
        "note": note,
        "alt": alt,
        "pixelated": pixelated,
        "pick": pick,
        "shapes": list(shapes),
    }


def dot(x: float, y: float, *, colour: str = "white", size: float = 10) -> dict[str, Any]:
    """A disc around pixel position (x, y) with a dark rim, `size` screen pixels wide whatever the picture's size."""
    return {"kind": "dot", "x": x, "y": y, "colour": colour, "size": size}


def box(x0: float, y0: float, x1: float, y1: float, *, colour: str = "white", dashed: bool = False) -> dict[str, Any]:
    """The rim of a rectangle between two pixel positions; parts outside the picture are not seen."""
    return {"kind": "box", "x0": x0, "y0": y0, "x1": x1, "y1": y1, "colour": colour, "dashed": dashed}


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]], *, title: Text = "") -> Block:
    """A table; the first column names the row. Cells are `Text`, numbers, or what `cell` makes."""
    return {"kind": "table", "title": title, "head": list(head), "rows": [list(row) for row in rows]}


def cell(
    words: Text, *, bar: float | None = None, swatch: Sequence[int] | None = None, safe: Look | None = None
) -> dict[str, Any]:
    """A cell with a bar of that share (0 to 1) behind its text, or a swatch of that colour (RGB) before it.

    `safe` is how the swatch looks for who switched to colours that are safe for the colour-blind.
    """
    return {
        "text": words,
        "bar": bar,
        "swatch": None if swatch is None else [int(value) for value in swatch],
        "safe": None if safe is None else look_value(safe),
    }


def chart(
    x: Sequence[float],
    lines: Sequence[tuple[Text, Sequence[float | None]]],
    *,
    title: Text,
    x_label: Text,
    y_label: Text,
    y_range: tuple[float, float] | None = None,
    x_names: Sequence[Text] | None = None,
) -> Block:
    """Lines over x, told apart by dashes too, with a table as text equivalent.

    Args:
        lines: (name, values) with a value per x; None leaves a gap: never a made-up zero.
        y_range: of the axis; default from the smallest to the largest value.
        x_names: what to write under each x instead of its number.
    """
    return {
        "kind": "chart",
        "title": title,
        "x": [float(value) for value in x],
        "lines": [
            {"name": name, "values": [None if v is None else float(v) for v in values]} for name, values in lines
        ],
        "x_label": x_label,
        "y_label": y_label,
        "y_range": y_range,
        "x_names": x_names,
    }


def strip(name: Text, boxes: Sequence[dict[str, Any]], *, note: Text = "") -> Block:
    """Boxes in a row, one after the other as data passes them; each can be chosen.

    Args:
        name: whose they are, above the row.
        boxes: made by `strip_box`.
        note: beside the name.
    """
    return {"kind": "strip", "name": name, "note": note, "boxes": list(boxes)}


def strip_box(
    words: Text, *, height: float, width: float, colour: int, values: dict[str, Any], chosen: bool = False
) -> dict[str, Any]:
    """One box of a `strip`.

    Args:
        words: what it is, for the pointer that rests on it and for who cannot see it.
        height, width: shares (0 to 1) of the room it has.
        colour: of the lines of a `chart`, 0 to 7.
        values: what the board's event `choose` carries: the lesson's controls take them by their names.
        chosen: with a thick rim.
    """
    return {"words": words, "height": height, "width": width, "colour": colour, "values": values, "chosen": chosen}


def grids(*items: dict[str, Any], title: Text = "") -> Block:
    """Small grids of numbers side by side, joined by whatever their titles say."""
    return {"kind": "grids", "title": title, "items": list(items)}


def grid(
    values: np.ndarray | Sequence[Sequence[float | None]],
    title: Text,
    *,
    note: Text = "",
    digits: int = 2,
    marked: Sequence[tuple[int, int]] = (),
) -> dict[str, Any]:
    """One grid of `grids`, shaded by value; None or nan is an empty cell.

    Args:
        marked: (row, column) of cells with a thick rim.
    """
    rows = [[None if v is None or np.isnan(v) else round(float(v), digits) + 0.0 for v in row] for row in values]
    return {"values": rows, "title": title, "note": note, "marked": [list(map(int, at)) for at in marked]}


def _data_url(image: Image.Image) -> str:
    """At most `MAX_SIDE` pixels; PNG for label maps and small pictures, where every pixel counts, else JPEG."""
    width, height = image.size
    scale = min(1.0, MAX_SIDE / max(image.size))
    if scale < 1:
        method = Image.Resampling.NEAREST if image.mode == "P" else Image.Resampling.LANCZOS
        image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))), method)
    buffer = io.BytesIO()
    exact = image.mode == "P" or max(image.size) <= 128
    image = image if exact else image.convert("RGB")
    image.save(buffer, "PNG" if exact else "JPEG", **({} if exact else {"quality": 88}))
    return f"data:image/{'png' if exact else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"
