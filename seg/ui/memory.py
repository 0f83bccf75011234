"""What keeps the memory of a page flat that runs for weeks."""

from __future__ import annotations

import ctypes
import sys
import threading
import time

from seg.ui import answers

_ARENA_MAX = -8  # M_ARENA_MAX of Linux's malloc.h


def sweep_in_background(*, every: float = 30) -> None:
    """Forget old answers, also while nobody asks for new ones, and give back memory, every so many seconds."""

    def sweep() -> None:
        while True:
            time.sleep(every)
            answers.forget_old()
            give_back()

    threading.Thread(target=sweep, daemon=True, name="sweep memory").start()


def one_heap() -> None:
    """Let threads that start from now on share one heap.

    Linux's C library gives every thread a heap of its own, which keeps the most that the thread ever needed. Gradio
    answers on up to forty threads, networks need much, and only one runs at a time.
    """
    _call("mallopt", _ARENA_MAX, 1)


def give_back() -> None:
    """Return what was freed to the system: pieces of many sizes, freed in another order, stay with the process."""
    _call("malloc_trim", 0)


def _call(function: str, *values: int) -> None:
    """Call the C library, if it has this function; other systems and small Linuxes do not."""
    found = getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None
    if found:
        found(*values)
