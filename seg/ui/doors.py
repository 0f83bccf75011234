"""The doors of Gradio's server: those that this page and its programs need stay open, all others are shut.

Gradio would fetch public addresses that stand in any component's input or behind `/file=` and `/file/`, run ffmpeg on
what is sent to `/process_recording`, call components' own functions past the queue, and keep a visitor's view for ever
in a file (`/deep_link`). The page needs none of that, nor what another version of Gradio may add.
"""

from __future__ import annotations

import re

from gradio import processing_utils
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seg.ui.photo import turned_away

_OPEN = re.compile(
    r"(?:upload|upload_progress|queue|run|api|call|cancel|reset|heartbeat|info|openapi\.json|app_id|startup-events"
    r"|theme\.css|mcp)(?:/.*)?|file=(?!\s*https?:).*",
    re.IGNORECASE | re.DOTALL,
)


class ShutDoors:
    """ASGI middleware: below `/gradio_api/` there is nothing but what is open.

    A file that Gradio refuses while it arrives, because it is too large, never reaches a request: the log tells of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 404, or hand on."""
        _, below, route = scope.get("path", "").partition("/gradio_api/")
        if scope["type"] == "http" and below and not _OPEN.fullmatch(route):
            await PlainTextResponse("There is nothing here.", 404)(scope, receive, send)
        else:
            await self.app(scope, receive, _telling(send))


def _telling(send: Send) -> Send:
    async def told(message: Message) -> None:
        if message.get("status") == 413:
            turned_away("bytes", "upload")
        await send(message)

    return told


def fetch_nothing() -> None:
    """From now on Gradio refuses every address that a client sends as a file, whatever the component."""
    processing_utils.async_ssrf_protected_download = _refuse


async def _refuse(url: str, cache_dir: str) -> str:
    raise turned_away("address")
