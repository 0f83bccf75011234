"""Memory that was freed goes back to the system, and threads do not each keep a heap."""

from __future__ import annotations

import subprocess
import sys

import pytest
from page_server import ROOT

HELD = """
import numpy as np, psutil
from seg.ui.memory import give_back
used = lambda: psutil.Process().memory_info().rss
blocks = [np.ones(12_000) for _ in range(1000)]  # 96 kB each: in the heap, not mapped one by one
above = np.ones(12_000)  # the heap cannot shrink below it
del blocks
before = used()
give_back()
print(before - used())
"""


THREADS = """
import threading
import numpy as np, psutil
from seg.ui.memory import give_back, one_heap
one_heap()
np.ones(3_900_000)  # 31 MB, freed: from now on blocks of this size come from heaps, which keep them
used = lambda: psutil.Process().memory_info().rss
turn, before = threading.Lock(), used()
over = threading.Event()
def work():
    with turn:  # one at a time, and the thread stays
        np.ones(2_500_000)  # 20 MB
    over.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads:
    thread.start()
with turn:
    give_back()
print(used() - before)
over.set()
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the page leaves memory to the system")


def megabytes(program: str) -> float:
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6


@linux
def test_freed_memory_is_given_back():
    assert megabytes(HELD) > 50


@linux
def test_threads_share_one_heap():
    assert megabytes(THREADS.replace("one_heap()\n", "")) > 100  # with a heap each, twelve threads keep twelve blocks
    assert megabytes(THREADS) < 50
