"""The view for the colour-blind, for scripts in the browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seg.classes import PATTERNS, Look

_TILES = json.dumps(PATTERNS.astype(int).tolist())
SCRIPT = f"const TILES = {_TILES};\n" + Path(__file__).with_suffix(".js").read_text("utf-8")
"""What viewer and board have before their own script."""


def look_value(look: Look) -> dict[str, Any]:
    """A look as the scripts take it."""
    return {"colour": list(look.colour), "ink": list(look.ink), "pattern": look.pattern}
