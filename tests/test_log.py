"""A line per request for whoever runs the page, which says nothing about the visitor or the visitor's photo."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import odd_files
import pytest
from conftest import packaged_photo
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from page_server import PageServer

from seg import read_image
from seg.ui import classroom, log, page, segment
from seg.ui.photo import Refusal

KEYS = ["time", "endpoint", "networks", "size", "seconds", "outcome"]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO, "seglab.requests")
    return lambda: [json.loads(record.getMessage()) for record in caplog.records]


def test_an_answer(lines):
    segment.segment(str(packaged_photo("chelsea.png")), "unet", "en")
    (line,) = lines()
    assert list(line) == KEYS
    assert (line["endpoint"], line["outcome"]) == ("page/segment", "ok")
    assert (line["networks"], line["size"]) == (["unet"], [451, 300])
    assert line["seconds"] > 0
    assert line["time"].endswith("+00:00")


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (Refusal("none", "en"), "refused", "none"),
        (gr.Error("the card is busy"), "refused", "Error"),
        (ValueError("holiday_secret.jpg"), "error", "ValueError"),
    ],
)
def test_what_went_wrong(lines, error, outcome, reason):
    with pytest.raises(type(error)), log.request("here"):
        raise error
    (line,) = lines()
    assert (line["outcome"], line["reason"]) == (outcome, reason)
    assert "holiday" not in json.dumps(line)


def test_a_comparison_is_one_line_and_one_that_nobody_waits_for_too(lines):
    answers = page._compare(str(packaged_photo("chelsea.png")), ["fcn8s", "unet"], "en")
    assert len(list(answers)) == 2
    left = page._compare(str(packaged_photo("chelsea.png")), ["fcn8s", "unet"], "en")
    next(left)
    left.close()
    assert [line["outcome"] for line in lines()] == ["ok", "left"]
    assert all(line["networks"] == ["fcn8s", "unet"] and line["size"] == [451, 300] for line in lines())


def test_a_sheet_that_is_opened_is_one_line_too(lines, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "holiday_secret.zip").write_bytes(odd_files.sheet())
    classroom._open(str(tmp_path / "holiday_secret.zip"), "en")
    with pytest.raises(gr.Error):
        classroom._open("holiday_secret.zip", "en")
    summary = [(line["endpoint"], line["size"], line["outcome"]) for line in lines()]
    assert summary == [("page/open", [40, 24], "ok"), ("page/open", None, "refused")]
    assert "holiday" not in json.dumps(lines())


def test_the_photo_of_one_request_is_not_that_of_the_next(lines):
    with log.request("one"):
        log.saw(read_image(packaged_photo("chelsea.png")))
        log.asked("unet")
    with log.request("two"):
        pass
    assert [(line["size"], line["networks"]) for line in lines()] == [([451, 300], ["unet"]), (None, [])]


# What the running page writes


@pytest.fixture
def written(page_server: PageServer) -> Any:
    """The lines since the test began."""
    before = len(page_server.said())
    return lambda: [json.loads(line) for line in page_server.said()[before:].splitlines() if line.startswith("{")]


def test_page_writes_what_was_asked_and_nothing_that_tells_the_photo(page_server, written, tmp_path):
    photo, text = tmp_path / "holiday_secret.png", tmp_path / "holiday_secret.txt.jpg"
    shutil.copy(packaged_photo("chelsea.png"), photo)
    text.write_text("I am a text")
    client = Client(page_server.url, verbose=False, download_files=tmp_path)
    client.predict(handle_file(photo), "unet", api_name="/segment")
    client.predict(handle_file(photo), ["fcn8s", "unet"], api_name="/compare")
    with pytest.raises(AppError):
        client.predict(handle_file(text), "unet", api_name="/segment")
    with pytest.raises(AppError):
        client.predict(handle_file(photo), "holiday_secret", api_name="/segment")
    summary = [(line["endpoint"], line["networks"], line["size"], line["outcome"]) for line in written()]
    assert summary == [
        ("api/segment", ["unet"], [451, 300], "ok"),
        ("api/compare", ["fcn8s", "unet"], [451, 300], "ok"),
        ("api/segment", [], None, "refused"),
        ("api/segment", [], None, "refused"),
    ]
    assert [line.get("reason") for line in written()] == [None, None, "not_image", "networks"]
    said = page_server.said()
    assert "holiday" not in said
    assert "127.0.0.1" not in said.replace(page_server.url, "")


def test_a_photo_turned_away_at_the_door_is_in_the_log(page_server, written):
    call = f"{page_server.url}/gradio_api/call/segment"
    fetched = {"path": f"{page_server.url}/holiday_secret", "meta": {"_type": "gradio.FileData"}}
    for photo in (fetched, {"path": str(Path(__file__))}):
        event = httpx.post(call, json={"data": [photo, "unet", False]}, timeout=60).json()["event_id"]
        assert httpx.get(f"{call}/{event}", timeout=300).text.startswith("event: error")
    assert [(line["endpoint"], line["outcome"], line["reason"]) for line in written()] == [
        ("photo", "refused", "address"),
        ("photo", "refused", "missing"),
    ]
    assert "holiday" not in page_server.said()


def test_a_file_refused_while_it_arrives_is_in_the_log(page_server, written):
    files = {"files": ("holiday_secret.jpg", bytes(30_000_001))}
    assert httpx.post(f"{page_server.url}/gradio_api/upload", files=files, timeout=120).status_code == 413
    (line,) = written()
    assert (line["endpoint"], line["outcome"], line["reason"]) == ("upload", "refused", "bytes")
    assert "holiday" not in page_server.said()
