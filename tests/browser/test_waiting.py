"""The page while others are served: it tells the visitor's place in the queue, in the visitor's language."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from load_page import Visitor as Program
from load_page import client_of, compare_endpoint, own_photo
from page_server import PageServer
from test_page import LANGUAGES, SEGMENT, Visitor, browser, visit  # noqa: F401, fixtures

pytestmark = pytest.mark.browser
WAITING = 6
PLACE = {"en": r"Place (\d) of (\d) in the queue", "zh": r"排队：第 (\d) 位，共 (\d) 位"}


@contextmanager
def others_waiting(server: PageServer) -> Iterator[None]:
    """Questions of somebody else's, of which the page can answer one after the other."""
    joined = threading.Event()

    async def ask() -> None:
        async with client_of(server) as client:
            program = Program(client, compare_endpoint(server))
            for number in range(WAITING):
                await program.join(await program.upload(own_photo(number, side=600)))
            joined.set()
            answered = 0
            async with client.stream(
                "GET", "/gradio_api/queue/data", params={"session_hash": program.session}
            ) as stream:
                async for line in stream.aiter_lines():
                    answered += "process_completed" in line
                    if answered == WAITING:
                        return

    asking = threading.Thread(target=lambda: asyncio.run(ask()))
    asking.start()
    joined.wait()
    yield
    asking.join()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_visitor_is_told_the_place_in_the_queue(visit, page_server, language):  # noqa: F811
    visitor = visit(locale=LANGUAGES[language])
    said = visitor.page.locator(f"{SEGMENT} .progress-text")
    with others_waiting(page_server), visitor.new_result():
        visitor.page.locator("#examples button").first.click()
        said.filter(has_text=re.compile(PLACE[language])).wait_for()
        place, count = map(int, re.search(PLACE[language], said.inner_text()).groups())
        assert 1 <= place <= count <= WAITING + 1
        assert "queue:" not in said.inner_text()
