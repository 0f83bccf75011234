"""What Gradio's queue says to those whom it cannot serve: that the page is busy, and to try again.

In English; page.js says it in the language of the page.
"""

from __future__ import annotations

from typing import Any

from gradio.queueing import Queue
from gradio.server_messages import ProcessCompletedMessage
from gradio.utils import error_payload

from seg.ui.photo import turned_away

_push = Queue.push


async def _push_or_say_why(queue: Queue, *values: Any, **named: Any) -> Any:
    joined, said, state = await _push(queue, *values, **named)
    if state == "queue_full":  # Gradio's own words are how large the queue is
        said = turned_away("full", "queue").message
    return joined, said, state


Queue.push = _push_or_say_why  # type: ignore[method-assign, assignment]


def turn_away(queue: Queue) -> None:
    """Start nothing any more, and tell those who wait."""
    for line in queue.event_queue_per_concurrency_id.values():
        line.concurrency_limit = 0
        for event in list(line.queue):
            output = error_payload(turned_away("full", "queue"), show_error=False)
            queue.send_message(event, ProcessCompletedMessage(output=output, success=False))
