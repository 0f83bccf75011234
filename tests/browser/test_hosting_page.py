"""The page where it does not own the address: behind a proxy under a path, and in a frame of somebody else's page."""

from __future__ import annotations

import base64
import html
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from page_server import PageServer, free_port, running_page
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from test_page import CAT, PATIENCE, SEGMENT, Visitor, browser  # noqa: F401, a fixture

from seg import load_predictor

pytestmark = pytest.mark.browser
PATH = "/proxy"


@dataclass
class Proxy:
    """Hands everything below `PATH` on; what is asked of it beside that is a mistake of the page.

    Attributes:
        url: the page's address here.
        missed: the paths of those mistakes.
    """

    url: str
    behind: str
    missed: list[str] = field(default_factory=list)

    async def hand_on(self, request: Request) -> Response:
        address = (
            self.behind
            + request.url.path.removeprefix(PATH)
            + ("?" + request.url.query if request.query_params else "")
        )
        client = httpx.AsyncClient(timeout=None)
        asked = client.build_request(request.method, address, headers=request.headers.raw, content=await request.body())
        answer = await client.send(asked, stream=True)

        async def parts() -> AsyncIterator[bytes]:
            async for part in answer.aiter_raw():
                yield part
            await answer.aclose()
            await client.aclose()

        return StreamingResponse(parts(), answer.status_code, dict(answer.headers))

    async def frame(self, _: Request) -> Response:
        return HTMLResponse(
            f'<!DOCTYPE html><title>A class</title><iframe src="{self.url}/" width=900 height=700></iframe>'
        )

    async def miss(self, request: Request) -> Response:
        if request.url.path == "/favicon.ico":  # a wish of the browser's own
            return Response(status_code=204)
        self.missed.append(request.url.path)
        return Response(status_code=404)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_page(tmp_path_factory.mktemp("behind"), GRADIO_ROOT_PATH=PATH) as server:
        port = free_port()
        proxy = Proxy(f"http://127.0.0.1:{port}{PATH}", server.url)
        routes = [
            Route("/frame", proxy.frame),
            Route(PATH + "/{path:path}", proxy.hand_on, methods=["GET", "HEAD", "POST"]),
            Route("/{path:path}", proxy.miss, methods=["GET", "HEAD", "POST"]),
        ]
        program = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=port, log_level="error"))
        thread = threading.Thread(target=program.run, daemon=True)
        thread.start()
        while not program.started:
            time.sleep(0.05)
        yield proxy
        program.should_exit = True
        thread.join(20)
    assert not proxy.missed
    assert not server.crashes(), server.said()


def test_under_a_path(browser: Any, proxy: Proxy) -> None:  # noqa: F811
    visitor = Visitor(browser, PageServer(proxy.url, None, None))  # type: ignore[arg-type]
    visitor.upload(CAT)
    foot = visitor.page.locator(".seglab-foot a").first
    with visitor.context.expect_page() as opened:
        foot.click()
    opened.value.wait_for_load_state()
    assert opened.value.url == f"{proxy.url}/code?lang=en"
    assert proxy.url in opened.value.inner_text("pre >> nth=0")
    visitor.leave()
    assert httpx.get(f"{proxy.url}/health", timeout=60).json()["status"] == "ok"


def test_in_a_frame_of_another_origin(browser: Any, proxy: Proxy) -> None:  # noqa: F811
    context = browser.new_context(locale="en-US")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    troubles: list[str] = []
    own = (proxy.url, "data:", "blob:")
    page.on("pageerror", lambda error: troubles.append(f"exception: {error}"))
    refused = "Failed to read the 'localStorage' property"  # by Chromium to a stranger's frame; Gradio goes on without
    page.on("request", lambda r: troubles.append(r.url) if r.frame.parent_frame and not r.url.startswith(own) else None)
    page.goto(f"{proxy.url.removesuffix(PATH).replace('127.0.0.1', 'localhost')}/frame")
    frame = page.frame_locator("iframe")
    frame.locator(f"{SEGMENT} .viewer").wait_for()
    frame.locator("#photo input[type=file]").set_input_files(CAT)
    frame.locator(f'{SEGMENT} .viewer:not([data-shown=""])').wait_for()
    assert "cat" in frame.locator(f"{SEGMENT} .viewer-chip").first.inner_text()
    context.close()
    assert not [trouble for trouble in troubles if refused not in trouble]


def test_the_page_s_fetch_snippet_runs_in_a_browser(browser: Any, proxy: Proxy) -> None:  # noqa: F811
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{proxy.url}/code")
    snippet = re.search(r"<code>(// In a browser.*?)</code>", page.content(), re.DOTALL)
    assert snippet
    found = page.evaluate(
        f"""async (data) => {{
            {html.unescape(snippet[1])}
            const photo = new Blob([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))]);
            const answer = await segment(photo);
            const picture = await createImageBitmap(await (await fetch(answer.labels)).blob());
            return [answer.facts, picture.width, picture.height];
        }}""",
        base64.b64encode(CAT.read_bytes()).decode(),
    )
    context.close()
    facts, width, height = found
    expected = load_predictor("unet").predict(CAT)
    assert (height, width) == expected.label_map.shape
    np.testing.assert_allclose(facts["classes"]["cat"], expected.class_areas["cat"], atol=1e-6)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_use_it_from_code_fits_a_phone(browser: Any, proxy: Proxy, language: str, scheme: str) -> None:  # noqa: F811
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{proxy.url}/code?lang={language}", timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    context.close()
