"""The page where others host it: ZeroGPU and CPU Basic as far as a machine without them can tell, and a container."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from conftest import packaged_photo
from gradio_client import Client, handle_file
from page_server import ROOT, PageServer, running_page
from PIL import Image

from seg import list_checkpoints, load_predictor, read_image
from seg.ui import device

CAT = packaged_photo("chelsea.png")

SPACES = '''
"""Stands in for Hugging Face's package: the decorated function gets and gives only what survives a way to a process."""
import pickle

def GPU(task=None, *, duration=None):
    def decorate(function):
        print(f"lends a card for {duration} s to {function.__name__}")
        def lent(*values):
            return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(values)))))
        return lent
    return decorate

def gradio_auto_wrap(function):  # Gradio calls it with every handler of a Space
    return function
'''


def copy_of_device(monkeypatch: pytest.MonkeyPatch, *, spaces: ModuleType | None, card: bool) -> ModuleType:
    """seg/ui/device.py once more, as it would be imported elsewhere."""
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    spec = importlib.util.spec_from_file_location("device_elsewhere", device.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def zero() -> tuple[ModuleType, list[Any]]:
    """A `spaces` of our own, and what it was asked for."""
    asked: list[Any] = []
    spaces = ModuleType("spaces")

    def gpu(**options: Any) -> Callable[..., Any]:
        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            asked.append(options)
            return lambda *values: pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(values)))))

        return decorate

    spaces.GPU = gpu  # type: ignore[attr-defined]
    return spaces, asked


def test_on_zerogpu_networks_lie_on_the_card_before_the_page_starts(monkeypatch, zero):
    spaces, asked = zero
    there = copy_of_device(monkeypatch, spaces=spaces, card=True)
    assert asked == [{"duration": there.SECONDS}]
    assert 5 <= there.SECONDS <= 30
    assert there.DEVICE == "cuda"
    loaded: list[tuple[str, str]] = []

    def load(name: str, device: str) -> Any:
        loaded.append((name, device))
        return load_predictor(name)  # there is no card here

    monkeypatch.setattr(there, "load_predictor", load)
    there.prepare()
    assert loaded == [(name, "cuda") for name in list_checkpoints()]
    result = there.Network("unet").predict(read_image(CAT), crf=False)
    np.testing.assert_array_equal(result.label_map, load_predictor("unet").predict(CAT).label_map)
    assert loaded[-1] == ("unet", "cuda")


def test_with_a_card_of_one_s_own_nothing_is_lent(monkeypatch):
    there = copy_of_device(monkeypatch, spaces=None, card=True)
    assert there.DEVICE == "cuda"
    assert there._predict.__name__ == "_predict"


def test_without_a_card_nothing_is_loaded_before_it_is_asked(monkeypatch):
    there = copy_of_device(monkeypatch, spaces=None, card=False)
    assert there.DEVICE == "cpu"
    monkeypatch.setattr(there, "load_predictor", None)
    there.prepare()


# A Space: its environment variables, its `spaces` package, a home of its own


def files_below(folder: Path) -> dict[Path, int]:
    """Every file with its time of change; what Python and the tools of tests keep does not count."""
    passing = {"__pycache__", ".git", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}
    files = [file for file in folder.rglob("*") if file.is_file() and not passing & set(file.parts)]
    return {file: file.stat().st_mtime_ns for file in files}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PageServer, Path]]:
    folder = tmp_path_factory.mktemp("space")
    (folder / "packages").mkdir()
    (folder / "packages" / "spaces.py").write_text(SPACES)
    (folder / "home").mkdir()
    packages = os.pathsep.join(filter(None, [str(folder / "packages"), os.environ.get("PYTHONPATH")]))
    variables = {
        "SYSTEM": "spaces",
        "SPACE_ID": "somebody/seglab",
        "GRADIO_SSR_MODE": "true",
        "PYTHONPATH": packages,
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "cache"),
        "MPLCONFIGDIR": str(folder / "cache" / "matplotlib"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    (folder / "cache").mkdir()
    with running_page(folder, **variables) as server:
        yield server, folder


@pytest.fixture(scope="module")
def before() -> dict[Path, int]:
    return files_below(ROOT)


def test_a_space_answers_and_writes_nowhere_but_into_its_cache(before, space, tmp_path):
    server, folder = space
    assert "lends a card for 15 s to _predict" in server.said()
    assert httpx.get(f"{server.url}/health", timeout=60).json()["status"] == "ok"
    client = Client(server.url, verbose=False, download_files=tmp_path)
    labels, _, facts = client.predict(handle_file(CAT), "unet", api_name="/segment")
    assert facts["classes"]["cat"] > 0.3
    with Image.open(labels) as picture:
        np.testing.assert_array_equal(np.asarray(picture), load_predictor("unet").predict(CAT).label_map)
    client.predict(handle_file(CAT), api_name="/compare")
    tools = httpx.get(f"{server.url}/gradio_api/mcp/schema", timeout=60).json()
    assert [tool["name"] for tool in tools] == ["seglab_segment_photo", "seglab_compare_networks"]
    assert json.loads(next(line for line in server.said().splitlines() if line.startswith("{")))["outcome"] == "ok"
    assert files_below(folder / "home") == {}
    assert files_below(ROOT) == before
    assert {path.name for path in folder.iterdir()} == {"packages", "home", "cache", "app.log"}
    assert not [crash for crash in server.crashes() if "hot-reloading" not in crash]  # the stand-in lacks that part


# A container


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_dockerfile_is_small_unprivileged_and_watched():
    of = dict(instructions())
    order = [name for name, _ in instructions()]
    assert re.fullmatch(r"python:3\.1[0-2]-slim", of["FROM"])
    assert of["EXPOSE"] == "7860"
    assert "/health" in of["HEALTHCHECK"]
    assert of["USER"] not in ("root", "0")
    assert json.loads(of["CMD"]) == ["python", "app.py"]  # no shell between: SIGTERM must reach app.py
    assert "ENTRYPOINT" not in of
    assert order.index("USER") > max(place for place, name in enumerate(order) if name in ("RUN", "COPY"))
    assert "download.pytorch.org/whl/cpu" in (ROOT / "Dockerfile").read_text("utf-8")
    assert "GRADIO_SERVER_NAME=0.0.0.0" in of["ENV"]


def test_dockerfile_copies_what_there_is():
    copied = [word for name, rest in instructions() if name == "COPY" for word in shlex.split(rest)[:-1]]
    paths = [word for word in copied if not word.startswith("--")]
    assert paths
    assert all((ROOT / path).exists() for path in paths)
    assert {"app.py", "seg", "checkpoints", "requirements.txt"} <= {path.rstrip("/") for path in paths}


def test_dockerignore_lets_in_nothing_else():
    lines = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert lines[0] == "*"
    copied = {word.rstrip("/") for name, rest in instructions() if name == "COPY" for word in rest.split()[:-1]}
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == {
        word for word in copied if not word.startswith("--")
    }
