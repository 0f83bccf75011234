"""Page "Use it from code": what it shows is run, word for word; and the server as a tool box for agents."""

from __future__ import annotations

import ast
import asyncio
import base64
import html
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import packaged_photo
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, ImageContent, TextContent, Tool
from page_server import PageServer
from PIL import Image

from seg import list_checkpoints, load_predictor, read_image
from seg.ui import code
from seg.ui.networks import default_networks
from seg.ui.photo import FromAgents

CHINESE = re.compile("[\u4e00-\u9fff]")
CAT = packaged_photo("chelsea.png")


def snippets_on(text: str) -> dict[str, str]:
    """Every snippet of the page by its heading, out of the HTML that a browser gets."""
    found = re.findall(r"<h2>(.*?)</h2>.*?<code>(.*?)</code>", text, re.DOTALL)
    return {html.unescape(heading): html.unescape(snippet) for heading, snippet in found}


@pytest.fixture(scope="module")
def snippets(page_server: PageServer) -> dict[str, str]:
    answer = httpx.get(f"{page_server.url}/code", timeout=60)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return snippets_on(answer.text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with photo.jpg, as the snippets have it."""
    read_image(CAT).save(tmp_path / "photo.jpg", quality=95)
    return tmp_path


def expected(folder: Path, network: str = "unet") -> np.ndarray:
    return load_predictor(network).predict(folder / "photo.jpg").label_map


# The page


def test_page_speaks_both_languages_and_carries_the_server_s_own_address(page_server):
    english, chinese = (httpx.get(f"{page_server.url}/code?lang={code}", timeout=60).text for code in ("en", "zh"))
    assert '<html lang="en">' in english
    assert '<html lang="zh">' in chinese
    assert set(CHINESE.findall(english)) == {"中", "文"}  # the link to the other language
    assert len(CHINESE.findall(chinese)) > 100
    assert list(snippets_on(english).values()) == list(snippets_on(chinese).values())
    assert all(page_server.url in snippet for snippet in snippets_on(english).values())
    assert not re.search(r"%[A-Z_]+%|ROOT|NETWORK", english)


def test_page_behind_a_proxy_carries_the_proxy_s_address(page_server):
    seen = {"x-forwarded-host": "lab.example.org", "x-forwarded-proto": "https"}
    text = httpx.get(f"{page_server.url}/code", headers=seen, timeout=60).text
    assert all("https://lab.example.org" in snippet for snippet in snippets_on(text).values())
    assert page_server.url not in text


def test_an_address_cannot_break_out_of_the_page():
    text = code.page('http://x"><script>alert(1)</script>', "en")
    assert "<script>alert" not in text


def test_every_section_is_in_both_languages():
    for heading, words, _ in code._SECTIONS:
        for said in (heading, words):
            assert said.keys() == {"en", "zh"}
            assert not CHINESE.search(said["en"])
        assert CHINESE.search(words["zh"])


# Its snippets


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python_snippet(snippets, folder):
    (folder / "ask.py").write_text(snippets["Python"])
    *_, labels, classes, agreement = run([sys.executable, "ask.py"], folder).splitlines()
    with Image.open(labels) as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected(folder))
    assert ast.literal_eval(classes)["cat"] > 0.3
    assert 0.5 < float(agreement) <= 1


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_curl_snippet(snippets, folder):
    said = run(["bash", "-c", snippets["curl"]], folder)
    assert "event: complete" in said
    with Image.open(folder / "labels.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected(folder))
    path = json.loads(run(["bash", "-c", snippets["A photo for an agent"]], folder))
    assert len(path) == 1
    assert json.loads(run(["bash", "-c", snippets["Health"]], folder))["status"] == "ok"


@pytest.mark.skipif(not shutil.which("node"), reason="no node here; a browser test runs the same snippet")
def test_fetch_snippet_in_node(snippets, folder):
    more = """
    const photo = new Blob([require("fs").readFileSync("photo.jpg")]);
    segment(photo).then((answer) => console.log(JSON.stringify(answer)));
    segment(new Blob(["I am a text"])).catch((error) => console.error(error.message));
    """
    (folder / "ask.js").write_text(snippets["JavaScript, without a package"] + more)
    answer = json.loads(run(["node", "ask.js"], folder))
    assert answer["facts"]["classes"]["cat"] > 0.3
    with Image.open(io.BytesIO(httpx.get(answer["labels"], timeout=60).content)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected(folder))


def test_agents_are_told_where_the_tools_are(snippets, page_server):
    configured = json.loads(snippets["Agents (MCP)"])["mcpServers"]["seglab"]["url"]
    assert configured == f"{page_server.url}/gradio_api/mcp/"


# Health


def test_health(page_server):
    answer = httpx.get(f"{page_server.url}/health", timeout=60)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json().keys() == {"status", "networks", "device", "waiting"}
    assert answer.json()["status"] == "ok"
    assert answer.json()["networks"] == list_checkpoints()
    assert answer.json()["waiting"] >= 0


# Tools for agents, as a client sees them over HTTP


def ask_tools(server: PageServer, *calls: tuple[str, dict[str, Any]]) -> tuple[list[Tool], list[CallToolResult]]:
    """The tools that an agent finds, and what each call answers."""

    async def talk() -> tuple[list[Tool], list[CallToolResult]]:
        async with (
            streamable_http_client(f"{server.url}/gradio_api/mcp/") as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            return tools, [await session.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(talk())


def upload(server: PageServer, file: Path, name: str = "photo.jpg") -> str:
    """The address that an uploaded file has for an agent."""
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": (name, file.read_bytes())}, timeout=120)
    return f"{server.url}/gradio_api/file={answer.json()[0]}"


def test_tools_say_what_they_do_and_take(page_server):
    tools, _ = ask_tools(page_server)
    assert [tool.name for tool in tools] == ["segment_photo", "compare_networks"]
    segment, compare = tools
    for tool in tools:
        assert "Returns:" in (tool.description or "")
        assert tool.inputSchema["required"] == ["photo"]
        assert all(what["description"] for what in tool.inputSchema["properties"].values())
        assert "30 MB" in tool.inputSchema["properties"]["photo"]["description"]
        assert "not fetched" in tool.inputSchema["properties"]["photo"]["description"]
    assert segment.inputSchema["properties"].keys() == {"photo", "network", "crf"}
    assert segment.inputSchema["properties"]["network"]["enum"] == list_checkpoints()
    assert compare.inputSchema["properties"].keys() == {"photo", "networks"}
    assert compare.inputSchema["properties"]["networks"]["default"] == default_networks()


def test_tools_answer_about_an_uploaded_photo(page_server, folder):
    photo = upload(page_server, folder / "photo.jpg")
    calls = [
        ("segment_photo", {"photo": photo, "network": "unet"}),
        ("compare_networks", {"photo": photo}),
    ]
    _, (segmented, compared) = ask_tools(page_server, *calls)
    pictures = [part for part in segmented.content if isinstance(part, ImageContent)]
    assert [picture.mimeType for picture in pictures] == ["image/png", "image/png"]
    with Image.open(io.BytesIO(base64.b64decode(pictures[0].data))) as labels:
        np.testing.assert_array_equal(np.asarray(labels), expected(folder))
    facts = ast.literal_eval(last_text(segmented))
    assert facts["network"] == "unet"
    assert facts["classes"]["cat"] > 0.3
    assert [entry["network"] for entry in ast.literal_eval(last_text(compared))["networks"]] == default_networks()


def last_text(result: CallToolResult) -> str:
    last = result.content[-1]
    assert isinstance(last, TextContent)
    return last.text


def test_tools_take_a_data_address_and_leave_nothing_that_would_stay(page_server, folder, monkeypatch):
    data = "data:image/jpeg;base64," + base64.b64encode((folder / "photo.jpg").read_bytes()).decode()
    _, (answer,) = ask_tools(page_server, ("segment_photo", {"photo": data, "network": "unet"}))
    assert ast.literal_eval(last_text(answer))["classes"]["cat"] > 0.3
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(page_server.log.parent / "cache"))
    made = [file for file in FromAgents() if Path(file).read_bytes() == (folder / "photo.jpg").read_bytes()]
    assert made, "Gradio keeps such files elsewhere now: see that they are deleted"


def test_tools_refuse_with_the_reason(page_server, folder):
    (folder / "text.jpg").write_text("I am a text")
    own = f"{page_server.url}/gradio_api/file="
    bad = {
        upload(page_server, folder / "text.jpg"): "not a picture",
        f"{page_server.url}/config": "Addresses are not fetched",
        f"{own}/etc/passwd": "Addresses are not fetched",
        f"{own}{CAT}": "Addresses are not fetched",
        own: "Addresses are not fetched",
    }
    _, answers = ask_tools(page_server, *(("segment_photo", {"photo": photo}) for photo in bad))
    for answer, words in zip(answers, bad.values(), strict=True):
        assert answer.isError
        assert words in last_text(answer)


def test_files_of_agents_are_found_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for name in (f"{'a' * 64}/file.png", f"{'b' * 64}/file", f"{'c' * 64}/photo.png", "mine/file.png", "file.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert sorted(FromAgents()) == [str(tmp_path / f"{'a' * 64}/file.png"), str(tmp_path / f"{'b' * 64}/file")]
