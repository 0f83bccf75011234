"""What keeps the memory of a page flat that runs for weeks."""

from __future__ import annotations

import ctypes
import sys
import threading
import time

from seg.ui import answers


def sweep_in_background(*, every: float = 30) -> None:
    """Forget old answers, also while nobody asks for new ones, and give back memory, every so many seconds."""

    def sweep() -> None:
        while True:
            time.sleep(every)
            answers.forget_old()
            give_back()

    threading.Thread(target=sweep, daemon=True, name="sweep memory").start()


def give_back() -> None:
    """Return what was freed to the system.

    Linux's C library keeps freed memory for every thread that ever asked for some; networks ask for much, in pieces of
    many sizes, and over a thousand photos half a gigabyte is kept.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:  # not every C library has it
        trim(0)
