"""The page under a class: nothing lost, nothing mixed up, a full queue says so, who leaves frees the place."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import gradio as gr
from gradio.data_classes import PredictBodyInternal
from load_page import PageVisitor, QueueFullError, Visitor, check, class_of, client_of, compare_endpoint, own_photo
from page_server import PageServer, running_page

from seg.ui import queue
from seg.ui.text import GRADIO, say


def test_thirty_visitors_get_their_own_answers(page_server: PageServer):
    visits = asyncio.run(class_of(page_server, visitors=30, photos=1, side=96))
    assert len(visits) == 30
    for visit in visits[::5]:
        check(visit)
    assert all(visit.ranks for visit in visits)  # everybody is told a place
    assert max(visit.ranks[0] for visit in visits) > 10


def test_visitors_of_the_page_itself_get_their_own_answers(page_server: PageServer):
    visits = asyncio.run(class_of(page_server, visitors=5, photos=1, side=96, kind=PageVisitor))
    assert len(visits) == 5
    for visit in visits:
        check(visit)


def test_a_full_queue_says_so_and_who_leaves_frees_the_place(page_server: PageServer):
    async def crowd() -> None:
        async with client_of(page_server) as client:
            endpoint = compare_endpoint(page_server)
            greedy, patient = Visitor(client, endpoint), Visitor(client, endpoint)
            photo = own_photo(0, side=64)
            path = await greedy.upload(photo)
            joined = await asyncio.gather(*(greedy.join(path) for _ in range(150)), return_exceptions=True)
            refused = [answer for answer in joined if isinstance(answer, QueueFullError)]
            assert refused
            assert "too busy at the moment. Try again" in str(refused[0])
            await greedy.leave()
            visit = await patient.compare(photo)
            assert visit.ranks[0] < 5  # sixty were waiting
            check(visit)

    asyncio.run(crowd())


def test_who_waits_at_the_end_is_answered(tmp_path: Path):
    """SIGTERM: a page that has to go finishes what it was asked, and is then gone."""
    with running_page(tmp_path) as server:

        async def late() -> None:
            async with client_of(server) as client:
                endpoint = compare_endpoint(server)
                visitors = [Visitor(client, endpoint) for _ in range(3)]
                asked = [asyncio.create_task(one.compare(own_photo(i, side=200))) for i, one in enumerate(visitors)]
                while not all(one.listening for one in visitors):
                    await asyncio.sleep(0.01)
                server.process.send_signal(signal.SIGTERM)
                for visit in await asyncio.gather(*asked):
                    check(visit)

        asyncio.run(late())
        assert server.process.wait(30) == 0
    assert not server.crashes(), server.said()


def test_who_cannot_be_answered_at_the_end_is_asked_to_try_again():
    with gr.Blocks() as blocks:
        gr.Button().click(lambda: None)
    waiting = blocks.queue(max_size=1)._queue

    async def ask() -> None:
        body = PredictBodyInternal(fn_index=0, session_hash="visitor", data=[])
        assert (await waiting.push(body, None, None))[0]  # type: ignore[arg-type]
        joined, said, _ = await waiting.push(body, None, None)  # type: ignore[arg-type]
        assert not joined
        assert said == say("en", "error_full")
        queue.turn_away(waiting)
        assert waiting.get_events() is None  # nothing is begun
        messages = waiting.pending_messages_per_session["visitor"]
        told = [messages.get_nowait() for _ in range(messages.qsize())]
        assert told[-1].output["error"] == say("en", "error_full")
        assert told[-1].output["title"] == say("en", "error_title")

    asyncio.run(ask())


def test_gradio_s_own_words_for_a_full_queue_are_known():
    """The browser does not show what the server answers but words of Gradio's: page.js puts ours in their place."""
    (busy,) = (words for words in GRADIO if "busy" in words)
    scripts = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
    assert any(busy in script.read_text("utf-8") for script in scripts.glob("index-*.js"))
