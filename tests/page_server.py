"""The real page as a program of its own, started once for all tests that need it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 300  # importing torch and gradio on a busy machine


@dataclass(frozen=True)
class PageServer:
    """Where the page runs and what it has written so far."""

    url: str
    log: Path
    process: subprocess.Popen

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def crashes(self) -> list[str]:
        """What the server reports as a fault of its own: the last line of every traceback, but for two kinds.

        When a program asks for a file of the server, Gradio refuses with a traceback; tests ask for such files. And
        when a page is loaded anew while it still receives a picture, the server may notice only in the middle of it.
        """
        last_lines = re.findall(r"^Traceback .*\n(?:[ \t].*\n|\n)+(.*)", self.said(), re.MULTILINE)
        assert len(last_lines) == self.said().count("Traceback (most recent call last)")
        expected = ("InvalidPathError", "LocalProtocolError: Too little data for declared Content-Length")
        return [line for line in last_lines if not any(kind in line for kind in expected)]


@contextmanager
def running_page(folder: Path, *arguments: str, **variables: str) -> Iterator[PageServer]:
    """`python app.py` on a free port, with environment `variables`; uploads, downloads and the log lie in `folder`."""
    port = free_port()
    log_file = folder / "app.log"
    environment = {
        **os.environ,
        "GRADIO_TEMP_DIR": str(folder / "cache"),
        "PYTHONUNBUFFERED": "1",
        "no_proxy": "127.0.0.1,localhost",
        **variables,
    }
    command = [sys.executable, "app.py", "--port", str(port), "--threads", "1", *arguments]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    server = PageServer(f"http://127.0.0.1:{port}", log_file, process)
    try:
        _wait_until_it_answers(server)
        yield server
        assert process.poll() in (None, 0), f"the page has stopped by itself:\n{server.said()}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(server: PageServer) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert server.process.poll() is None, f"app.py ended with code {server.process.returncode}:\n{server.said()}"
        try:
            with urllib.request.urlopen(f"{server.url}/config", timeout=10):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"no page at {server.url} after {START_SECONDS} s:\n{server.said()}")


@pytest.fixture(scope="session")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """The page, for the whole test run. Whatever the tests did to it, it must not have crashed anywhere inside."""
    with running_page(tmp_path_factory.mktemp("page")) as server:
        yield server
    assert not server.crashes(), server.said()
