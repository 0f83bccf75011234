"""A small canvas to paint a label on the photo: brush, bucket, undo; by mouse, finger and keys.

The painted ids come back as run lengths, not as a picture: a browser may change a picture's colours on the way.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from seg.classes import IGNORE_INDEX, ClassSet

_HERE = Path(__file__).parent
MAX_SIDE = 640  # of the canvas, pixels

WORDS = {
    "class": {"en": "Paint", "zh": "涂成"},
    "none": {"en": "no label (eraser)", "zh": "无标签（橡皮）"},
    "tool": {"en": "Tool", "zh": "工具"},
    "brush": {"en": "Brush", "zh": "画笔"},
    "bucket": {"en": "Fill an area", "zh": "填充区域"},
    "size": {"en": "Brush size", "zh": "画笔大小"},
    "undo": {"en": "Undo", "zh": "撤销"},
    "clear": {"en": "Clear", "zh": "清空"},
    "rest": {"en": "The rest is background", "zh": "其余都是背景"},
    "done": {"en": "Score my label", "zh": "用我的标签评分"},
    "empty": {"en": "Choose a photo to paint on.", "zh": "请先选择一张照片。"},
    "canvas": {
        "en": "Canvas. Arrow keys move, Shift and arrows paint, Space paints a dot or fills",
        "zh": "画布。方向键移动，Shift 加方向键涂色，空格键涂一点或填充",
    },
    "help": {
        "en": "Draw an outline and fill it. Keys: arrows move, Shift + arrows paint, Space paints a dot or fills.",
        "zh": "先画轮廓再填充。键盘：方向键移动，Shift + 方向键涂色，空格键涂一点或填充。",
    },
}


def make_painter(classes: ClassSet, *, elem_id: str, language: str) -> gr.HTML:
    """An empty canvas. Its value is what `read_painting` reads, or None; its prop `photo` is `painter_photo(...)`.

    Its event `wants` says that it has come into sight and may have missed its photo.
    """
    named = [
        {"en": english, "zh": chinese, "colour": list(colour)}
        for english, chinese, colour in zip(classes.names, classes.names_zh, classes.colours, strict=True)
    ]
    constants = {"WORDS": WORDS, "CLASSES": named, "NONE": IGNORE_INDEX}
    head = "".join(f"const {name} = {json.dumps(value, ensure_ascii=False)};\n" for name, value in constants.items())
    return gr.HTML(
        value=None,
        html_template=(_HERE / "painter.html").read_text("utf-8"),
        css_template=(_HERE / "painter.css").read_text("utf-8"),
        js_on_load=head + (_HERE / "painter.js").read_text("utf-8"),
        elem_id=elem_id,
        apply_default_css=False,
        lang=language,
        photo=None,
    )


def painter_photo(image: Image.Image, key: str) -> dict[str, Any]:
    """What the canvas shows: the photo, at most MAX_SIDE long, and the key that its painting must carry."""
    shown = image.copy()
    shown.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=88)
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"key": key, "src": source, "width": shown.width, "height": shown.height}


def read_painting(value: Any, key: str, num_classes: int) -> np.ndarray | None:
    """What was painted on the photo of this key -> (h, w) uint8 ids, IGNORE_INDEX where nothing was painted.

    Args:
        value: whatever a browser sent; a painting is {"key", "width", "height", "runs"}, runs being id, length, id,
            length, ... row by row.

    Returns:
        None where it is no painting, or one of another photo.
    """
    if not isinstance(value, dict) or value.get("key") != key:
        return None
    width: Any = value.get("width")
    height: Any = value.get("height")
    runs = value.get("runs")
    if not (_is_side(width) and _is_side(height) and isinstance(runs, list) and len(runs) <= 2 * MAX_SIDE**2):
        return None
    if len(runs) % 2 or not all(type(number) is int and 0 <= number <= MAX_SIDE**2 for number in runs):
        return None
    ids, lengths = runs[0::2], runs[1::2]
    if sum(lengths) != width * height or any(i >= num_classes and i != IGNORE_INDEX for i in ids):
        return None
    return np.repeat(np.array(ids, np.uint8), lengths).reshape(height, width)


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIDE
