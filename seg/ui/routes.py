"""Addresses beside Gradio's own: /health for whoever watches the server, /code for whoever programs against it."""

from __future__ import annotations

import gradio as gr
from gradio.route_utils import get_root_url
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from seg.checkpoint import list_checkpoints
from seg.ui import code
from seg.ui.device import DEVICE
from seg.ui.text import asked_language


def routes(blocks: gr.Blocks) -> list[Route]:
    """What `launch(app_kwargs={"routes": ...})` of this page takes; they come before Gradio's."""

    async def health(_: Request) -> Response:
        answer = {"status": "ok", "networks": list_checkpoints(), "device": DEVICE, "waiting": len(blocks._queue)}
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    async def use_from_code(request: Request) -> Response:
        root = get_root_url(request, "/code", blocks.root_path)
        return HTMLResponse(code.page(root, asked_language(request)))

    return [Route("/health", health), Route("/code", use_from_code)]
