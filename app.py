"""SegLab's page: python app.py. The only file that reads flags and the environment."""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import signal
import sys
import threading
import time
from types import FrameType

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
gc.disable()  # looking, again and again, for garbage among what is imported takes a quarter of the start

import gradio as gr
import torch
from starlette.middleware import Middleware

from seg import CheckpointError
from seg.image import MAX_BYTES
from seg.ui import doors, log, memory, page, queue
from seg.ui.routes import routes

gc.freeze()  # nor is there any later
gc.enable()

GRACE = 8  # seconds to finish in: Docker kills after ten
LAST = 2  # of them, in which nothing more is begun


def main() -> None:
    """Read the flags and serve the page until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", "7860")))
    parser.add_argument("--threads", type=int, default=0, help="threads per network, 0: as many as PyTorch likes")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        blocks = page.build()
    except CheckpointError as error:
        sys.exit(f"error: {error}")
    log.start()
    memory.one_heap()
    memory.sweep_in_background()
    stop = _told_to_stop()
    blocks.queue(max_size=60).launch(
        server_name=arguments.host,
        server_port=arguments.port,
        max_file_size=MAX_BYTES,
        theme=page.theme(),
        css=page.CSS,
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=["api"],
        show_error=False,
        mcp_server=importlib.util.find_spec("mcp") is not None,
        app_kwargs={"routes": routes(blocks), "middleware": [Middleware(doors.ShutDoors)]},
        prevent_thread_lock=True,
    )
    stop.wait()
    _finish(blocks)


def _told_to_stop() -> threading.Event:
    """Set when SIGTERM (a container's end) or Ctrl-C arrives."""
    stop = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    return stop


def _finish(blocks: gr.Blocks) -> None:
    """Answer those who wait while there is time, ask the others to try again, finish what runs, and go."""
    waiting, end = blocks._queue, time.monotonic() + GRACE
    waiting.max_size = 0  # who comes now is asked to try again
    while (len(waiting) or any(waiting.active_jobs)) and time.monotonic() < end - LAST:
        time.sleep(0.1)
    queue.turn_away(waiting)
    while any(waiting.active_jobs) and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)  # programs come back for the pictures of their answer
    blocks.close(verbose=False)


if __name__ == "__main__":
    main()
