"""How long each network takes on this machine: from daily work, or measured on request."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from PIL import Image

from seg import Segmentation
from seg.image import read_image
from seg.ui.photo import EXAMPLES

RUNS = 5
_REMEMBERED = 101  # times per network


@dataclass(frozen=True)
class TimeHere:
    """Median wall time of `predict`, and over how many photos; `asked` tells a test on request from daily work."""

    seconds: float
    runs: int
    asked: bool


class Times:
    """How long each network takes on this machine: nothing is known before something has run."""

    def __init__(self) -> None:
        self._served: dict[str, deque[float]] = {}
        self._measured: dict[str, TimeHere] = {}

    def served(self, result: Segmentation) -> None:
        """Remember how long this answer took."""
        self._served.setdefault(result.checkpoint, deque(maxlen=_REMEMBERED)).append(result.seconds)

    def measure(
        self, networks: Mapping[str, Callable[[Image.Image], object]], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Show every network the same photo `RUNS` times, in turn, so that a busy moment meets all of them."""
        photo = read_image(EXAMPLES[1])
        taken: dict[str, list[float]] = {name: [] for name in networks}
        for run in range(RUNS + 1):
            for name, predict in networks.items():
                start = clock()
                predict(photo)
                if run:  # the first one warms up
                    taken[name].append(clock() - start)
        self._measured = {name: TimeHere(median(seconds), RUNS, True) for name, seconds in taken.items()}

    def of(self, name: str) -> TimeHere | None:
        """What was measured on request, else what this process has served, else None."""
        if name in self._measured:
            return self._measured[name]
        served = list(self._served.get(name, ()))
        return TimeHere(median(served), len(served), False) if served else None


TIMES = Times()
"""Of this process."""
