"""Memory that was freed goes back to the system."""

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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere give_back does nothing")
def test_freed_memory_is_given_back():
    done = subprocess.run([sys.executable, "-c", HELD], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50_000_000
