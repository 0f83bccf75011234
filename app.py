"""SegLab's page: python app.py. The only file that reads flags and the environment."""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import torch
from starlette.middleware import Middleware

from seg import CheckpointError
from seg.image import MAX_BYTES
from seg.ui import doors, page


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
        app_kwargs={"middleware": [Middleware(doors.ShutDoors)]},
    )


if __name__ == "__main__":
    main()
