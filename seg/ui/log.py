"""One line of JSON per request, for whoever runs the page: when, what was asked for, how it went.

It says nothing about who asked, nor about the photo but its size: no picture, no file name, no address, no session.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timezone

from gradio import Error
from PIL import Image

LOGGER = logging.getLogger("seglab.requests")


@dataclass
class _Line:
    networks: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None


_line: ContextVar[_Line | None] = ContextVar("line", default=None)


def start() -> None:
    """Write the lines to stderr, which is what a Space and a container keep."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def saw(photo: Image.Image) -> None:
    """The request that is being answered is about this photo: remember its size."""
    if line := _line.get():
        line.size = photo.size


def asked(network: str) -> None:
    """The request that is being answered asks this network."""
    if line := _line.get():
        line.networks.append(network)


@contextmanager
def request(endpoint: str) -> Iterator[None]:
    """Write a line when what happens inside is over; as a decorator, when the function is.

    `outcome` is "ok"; or "refused", with the reason; or "error", with the class of the exception; or "left", when the
    visitor did not wait for the end.
    """
    began, line = time.perf_counter(), _Line()
    _line.set(line)  # and never reset: a generator's end may run in another context than its beginning
    outcome, reason = "ok", None
    try:
        yield
    except GeneratorExit:
        outcome = "left"
        raise
    except Error as error:
        outcome, reason = "refused", getattr(error, "reason", type(error).__name__)
        raise
    except Exception as error:
        outcome, reason = "error", type(error).__name__
        raise
    finally:
        said = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "endpoint": endpoint,
            "networks": line.networks,
            "size": line.size,  # width, height
            "seconds": round(time.perf_counter() - began, 3),
            "outcome": outcome,
        }
        LOGGER.info(json.dumps(said if reason is None else {**said, "reason": reason}))
