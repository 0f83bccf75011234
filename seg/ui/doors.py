"""Doors of Gradio's server that this page does not need, kept shut: nothing is fetched, nothing else decodes.

Gradio fetches public addresses that stand in any component's input or behind `/file=`, runs ffmpeg on what is sent to
`/process_recording`, and calls components' own functions past the queue. The page uses none of that.
"""

from __future__ import annotations

import re

from gradio import processing_utils
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from seg.ui.photo import turned_away

_SHUT = re.compile(
    r"/gradio_api/(?:file=\s*https?:|proxy=|process_recording|component_server|undo-vibe|vibe)", re.IGNORECASE
)


class ShutDoors:
    """ASGI middleware: the routes above do not exist."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 404, or hand on."""
        if scope["type"] == "http" and _SHUT.search(scope["path"]):
            await PlainTextResponse("There is nothing here.", 404)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def fetch_nothing() -> None:
    """From now on Gradio refuses every address that a client sends as a file, whatever the component."""
    processing_utils.async_ssrf_protected_download = _refuse


async def _refuse(url: str, cache_dir: str) -> str:
    raise turned_away("address")
