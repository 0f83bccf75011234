"""The reports of `python -m seg bench` that need the page or large photos, in small."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from page_server import PageServer

from seg import bench
from seg.ui.networks import default_networks


@pytest.fixture
def running(page_server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports ask the page of the tests instead of starting one, and import nothing anew."""

    @contextmanager
    def page() -> Iterator[httpx.Client]:
        with httpx.Client(base_url=page_server.url + "/", timeout=120) as client:
            yield client

    monkeypatch.setattr(bench, "_page", page)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: None)


def test_report_on_the_page(running: None):
    lines = bench.bench_page(default_networks(), runs=1).splitlines()
    assert lines[0].startswith("machine: ")
    for start, row in zip(("/compare with fcn8s, unet, deeplabv3", bench.REFERENCE), lines[-2:], strict=True):
        assert row.startswith(start)
        assert float(row.split()[-2]) > 0
    assert lines[-1].endswith("1.00")


def test_report_on_the_start(running: None):
    report = bench.bench_start(runs=1)
    assert re.search(r"^import torch, gradio: \d+\.\d s$", report, re.MULTILINE)
    assert re.search(r"^python app\.py to the first answer: \d+\.\d s, ratio \d+\.\d\d$", report, re.MULTILINE)


def test_report_on_large_photos(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "PHOTO_SIZES", ((60, 80), (300, 400)))
    lines = bench.bench_photos(str(tiny_checkpoint / "tiny.json"), runs=1).splitlines()
    assert [line.split()[:4] for line in lines[-2:]] == [["80", "x", "60", "0.0"], ["400", "x", "300", "0.1"]]
    assert all(line.endswith(" MB") for line in lines[-2:])
