"""The viewer: a canvas per picture; hover, class switches, outlines and confidence are drawn in the browser."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from seg.render import confidence_colours
from seg.ui.looks import SCRIPT
from seg.ui.text import VIEWER

_HERE = Path(__file__).parent


def make_viewer(*, elem_id: str, language: str) -> gr.HTML:
    """An empty viewer. Its value is `payload.viewer_value(...)` or None, its prop `lang` is "en" or "zh"."""
    return gr.HTML(
        value=None,
        html_template=(_HERE / "viewer.html").read_text("utf-8"),
        css_template=(_HERE / "viewer.css").read_text("utf-8"),
        js_on_load=_script(),
        elem_id=elem_id,
        elem_classes="seglab-viewer",
        apply_default_css=False,
        lang=language,
    )


def _script() -> str:
    """viewer.js, and what it reads and calls.

    They are no props: Gradio sends a tab that was never open only the props that changed, and forgets the others.
    """
    constants = {"TEXT": VIEWER, "RAMP_COLOURS": confidence_colours().tolist()}
    lines = [f"const {name} = {json.dumps(value, ensure_ascii=False)};" for name, value in constants.items()]
    return "\n".join([*lines, SCRIPT, (_HERE / "viewer.js").read_text("utf-8")])
