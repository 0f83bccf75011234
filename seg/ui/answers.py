"""Answers kept for a while: who goes back to a network, or downloads what is on the screen, need not wait again.

An answer belongs to the visitor whose photo it is about: nobody can learn, from a quick answer, that somebody else has
shown the same photo. Only those about the page's own examples are everybody's.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cache

from gradio.context import LocalContext

from seg.image import read_image
from seg.predictor import Segmentation
from seg.ui.photo import EXAMPLES, SharedPhoto, fingerprint

MOST_BYTES = 200_000_000  # of label maps and confidences together
MOST_SECONDS = 1800  # until an answer is forgotten


class Kept:
    """The newest answers, within bounds of memory and age; safe for many threads.

    Args:
        clock: tells seconds; another one for tests.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._answers: OrderedDict[Hashable, tuple[float, Segmentation]] = OrderedDict()
        self._lock = threading.Lock()
        self._clock = clock

    def get(self, key: Hashable, make: Callable[[], Segmentation]) -> Segmentation:
        """The answer kept under `key`; else that of `make`, kept from now on."""
        self.forget_old()
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key][1]
        made = make()  # outside the lock: others need not wait for this network
        if _bytes(made) > MOST_BYTES:
            return made
        with self._lock:
            self._answers[key] = (self._clock(), made)
            while sum(_bytes(answer) for _, answer in self._answers.values()) > MOST_BYTES:
                self._answers.popitem(last=False)
        return made

    def forget_old(self) -> None:
        """Drop the answers older than `MOST_SECONDS`."""
        oldest = self._clock() - MOST_SECONDS
        with self._lock:
            for key in [key for key, (made_at, _) in self._answers.items() if made_at < oldest]:
                del self._answers[key]

    def __len__(self) -> int:
        return len(self._answers)


_KEPT = Kept()


def kept(photo: SharedPhoto, question: Hashable, make: Callable[[], Segmentation]) -> Segmentation:
    """The answer to `question` about `photo`: the one this visitor had before, else that of `make`."""
    visitor = "everybody" if photo.fingerprint in _examples() else _session()
    return _KEPT.get((visitor, photo.fingerprint, question), make) if visitor else make()


def forget_old() -> None:
    """Drop every answer older than `MOST_SECONDS`."""
    _KEPT.forget_old()


def _session() -> str | None:
    return getattr(LocalContext.request.get(None), "session_hash", None)


@cache
def _examples() -> frozenset[str]:
    return frozenset(fingerprint(read_image(path)) for path in EXAMPLES)


def _bytes(answer: Segmentation) -> int:
    return answer.label_map.nbytes + answer.confidence.nbytes
