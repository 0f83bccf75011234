"""Uploads that attack: every file ends in a picture or in a refusal that says why, within 10 seconds and 1 GB.

SECURITY.md says what is promised; the files are made in `odd_files.py`.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import odd_files
import pytest
from conftest import TINY_BACKBONE, packaged_photo, tiny_card
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_server import ROOT, PageServer
from PIL import Image, PngImagePlugin
from starlette.responses import PlainTextResponse

from seg import read_image
from seg.classes import VOC, ClassSet
from seg.labels import InvalidLabelError, read_label
from seg.predictor import Segmentation
from seg.render import triptych
from seg.ui import api, downloads, page
from seg.ui.doors import ShutDoors
from seg.ui.lab import point_of
from seg.ui.lessons import LESSONS
from seg.ui.payload import viewer_value
from seg.ui.sheet import write_sheet

SECONDS, MEGABYTES = 10, 1000
SECURITY = (ROOT / "SECURITY.md").read_text("utf-8")


def test_security_names_tests_that_are_there() -> None:
    rows = [row for row in SECURITY.splitlines() if row.startswith("| ") and "tests/" in row]
    assert len(rows) >= 8
    for row in rows:
        for file, names in re.findall(r"`(tests/\w+\.py)`((?:[^`;]*`test_\w+`)*)", row):
            source = (ROOT / file).read_text("utf-8")
            for name in re.findall(r"`(test_\w+)`", names):
                assert f"def {name}(" in source, f"{file} has no {name}"


quiet = pytest.mark.filterwarnings("ignore")  # Pillow warns of odd metadata and large sizes

# The zoo


def in_time(check: Callable[[bytes], str], data: bytes) -> str:
    """What `check` says of the file, within the promised time; memory is measured below, where much may be needed."""
    start = time.process_time()
    outcome = check(data)
    assert time.process_time() - start < SECONDS
    return outcome


@quiet
def test_every_file_of_the_zoo_is_read_or_refused_with_the_right_reason() -> None:
    files, wrong = list(odd_files.zoo()), []
    for name, data, expected in files:
        outcome = in_time(odd_files.check, data)
        if outcome not in expected:
            wrong.append(f"{name}: {outcome} instead of {expected}")
    assert not wrong
    assert f"{len(files)} odd files" in SECURITY


@quiet
def test_the_zoo_inside_a_lab_sheet() -> None:
    for name, data, _ in odd_files.zoo():
        assert in_time(odd_files.check_sheet, data) in {"foreign", "damaged"}, name
        photo, settings_file = odd_files.sheet({"photo.png": data}), odd_files.sheet({"settings.json": data})
        assert in_time(odd_files.check_sheet, photo) == "read", name
        assert in_time(odd_files.check_sheet, settings_file) in {"foreign", "damaged", "large"}, name


# Mutations: sound files and a sheet, bytes flipped, cut, put in, doubled

VALID = {**odd_files.valid(), "sheet": odd_files.sheet()}


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(VALID[draw(st.sampled_from(sorted(VALID)))])
    for _ in range(draw(st.integers(1, 5))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(1, 40))
        match draw(st.sampled_from(["flip", "write", "cut", "insert", "double", "number", "end"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "write":
                data[at : at + length] = draw(st.binary(min_size=1, max_size=8))
            case "cut":
                del data[at : at + length]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=40))
            case "double":
                data[at:at] = data[at : at + length] * draw(st.integers(1, 30))
            case "number":  # sizes, counts and offsets are what headers lie about
                kind = draw(st.sampled_from(["<I", ">I", "<H", ">H"]))
                most = (1 << 8 * struct.calcsize(kind)) - 1
                value = draw(st.sampled_from([0, 1, most, most // 2, most // 2 + 1]) | st.integers(0, most))
                data[at : at + struct.calcsize(kind)] = struct.pack(kind, value)
            case "end":
                del data[max(20, at) :]
        data = data or bytearray(b"\0")
    return bytes(data)


@quiet
@settings(max_examples=2500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_mutated_files_are_read_or_refused(data: bytes) -> None:
    in_time(odd_files.check, data)
    in_time(odd_files.check_sheet, data)


@settings(max_examples=300, deadline=None, database=None)
@given(st.binary(max_size=200))
def test_any_exif_leaves_the_pixels_as_they_are(block: bytes) -> None:
    assert odd_files.check(odd_files.png(40, 24, extra=odd_files.chunk(b"eXIf", block))) == "read"
    assert odd_files.check(odd_files.jpeg_with(odd_files.segment(0xE1, b"Exif\0\0" + block))) == "read"


# Time and memory

MEASURE = """
import resource, sys, types, warnings
warnings.simplefilter("ignore")
root, path = sys.argv[1:]
package = types.ModuleType("seg")  # without seg/__init__.py, which loads PyTorch
package.__path__ = [root + "/seg"]
sys.modules["seg"] = package
from PIL import Image
from seg.image import InvalidImageError, read_image, read_stored
Image.init()
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))  # a bomb that goes off ends here
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for read in (read_image, read_stored):
    start = resource.getrusage(resource.RUSAGE_SELF)
    try:
        said = str(read(path).size)
    except InvalidImageError as error:
        said = error.reason
    end = resource.getrusage(resource.RUSAGE_SELF)
    seconds = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
    print(said, seconds, (end.ru_maxrss - start.ru_maxrss) / 1e3, sep="|")
"""


def assert_bounded(make, folder: Path) -> list[str]:
    """What `read_image` and `read_stored` say of a file, each within the promised time and memory."""
    (folder / "upload").write_bytes(make())
    assert (folder / "upload").stat().st_size <= 30_000_000
    command = [sys.executable, "-c", MEASURE, str(ROOT), str(folder / "upload")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.returncode} {done.stderr}"
    answers = [line.split("|") for line in done.stdout.splitlines()]
    for said, seconds, megabytes in answers:
        assert float(seconds) < SECONDS, f"{said} after {seconds} s of processor time"
        assert float(megabytes) < MEGABYTES, f"{said} with {megabytes} MB"
    return [said for said, _, _ in answers]


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss has another unit elsewhere")


@linux
@pytest.mark.parametrize("name", odd_files.BOMBS)
def test_a_bomb_is_defused(name: str, tmp_path: Path) -> None:
    harmless = {"png of exif", "jpeg of exif", "jpeg of segments", "gif of controls"}
    said = assert_bounded(odd_files.BOMBS[name], tmp_path)[0]
    assert said in {"not_image", "damaged"} or (name in harmless and said == "(40, 24)")


@linux
@pytest.mark.parametrize("name", odd_files.GIANTS)
def test_the_largest_pictures_are_read(name: str, tmp_path: Path) -> None:
    assert assert_bounded(odd_files.GIANTS[name], tmp_path)[0] in {"(8000, 6250)", "(6250, 8000)"}


def test_a_label_of_all_colours_is_refused_in_a_few_words() -> None:
    colours = np.arange(1 << 20, dtype=np.uint32).reshape(1024, 1024)
    picture = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=2).astype(np.uint8)
    with pytest.raises(InvalidLabelError) as refusal:
        read_label(odd_files.file_of(Image.fromarray(picture), "PNG"), VOC)
    assert refusal.value.reason == "colours"
    assert len(str(refusal.value)) < 200


# What is sent out says nothing about the photo but its pixels

SECRET = b"taken at home"


def secretive(kind: str) -> bytes:
    """A photo with the secret wherever its format has room for words."""
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET.decode())
    text.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    options = {
        "JPEG": {"comment": SECRET, "xmp": SECRET, "icc_profile": SECRET},
        "PNG": {"pnginfo": text, "icc_profile": SECRET},
        "WEBP": {"xmp": SECRET, "icc_profile": SECRET},
        "GIF": {"comment": SECRET},
        "TIFF": {"description": SECRET.decode(), "icc_profile": SECRET},
    }[kind]
    picture = Image.open(packaged_photo("chelsea.png")).convert("RGB").resize((90, 60))
    data = odd_files.file_of(picture, kind, **({} if kind == "GIF" else {"exif": exif}), **options)
    assert SECRET in data
    return data


def answer_about(photo: Image.Image, classes: ClassSet = VOC) -> Segmentation:
    ids = np.arange(photo.width * photo.height).reshape(photo.height, photo.width) % len(classes)
    label_map = ids.astype(np.uint8)
    confidence = np.ones(label_map.shape, np.float32)
    return Segmentation(label_map, confidence, classes, "tiny", 0.1, 0.1, (64, 64))


def card_of(classes: ClassSet = VOC):
    return replace(tiny_card(), classes=classes, weights={"file": "a", "sha256": "b", "bytes": 1, "dtype": "c"})


def pictures_in(archive: bytes) -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [opened.read(name) for name in opened.namelist()]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_metadata_does_not_leave(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    photo = read_image(secretive(kind))
    results = [(answer_about(photo), card_of())]
    label = results[0][0].label_map
    everything = [
        *pictures_in(downloads.zip_all(photo, [*results, *results[:1]])),
        *pictures_in(write_sheet(photo, results, label=label, lesson="pixel", controls={}, point=(0, 0))),
        downloads.labels_png(results[0][0]),
        downloads.overlay_png(photo, results[0][0]),
        json.dumps(viewer_value(photo, results)).encode(),
    ]
    for data in everything:
        assert SECRET not in data
        try:
            picture = Image.open(io.BytesIO(data))
        except OSError:
            continue  # JSON or CSV
        assert not picture.getexif()
        assert not {"exif", "icc_profile", "xmp", "XML:com.adobe.xmp", "comment", "Comment"} & set(picture.info)


# Names that attack, from a foreign card

HOSTILE = (
    "background", "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "${alert(1)}", "{{alert}}",
    "$\\frac$", "=HYPERLINK(1)", "../../etc/passwd", '"onload="alert(1)', "_hidden",
)  # fmt: skip
FOREIGN = ClassSet.from_dict({"name": "<b>foreign</b>", "names": HOSTILE})


def test_class_names_are_escaped_in_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "load_card", lambda path: card_of(FOREIGN))
    for language in ("en", "zh"):
        assert "<img" not in page._note(language)
        assert "<script" not in page._note(language)
        assert "&lt;img" in page._note(language)


def test_class_names_are_drawn_in_figures_as_they_are() -> None:
    photo = read_image(packaged_photo("chelsea.png")).resize((90, 60))
    result = answer_about(photo, FOREIGN)
    assert triptych(photo, result.label_map, FOREIGN, title="$\\frac$").width == 1500


def test_class_names_are_no_formulas_in_a_sheet() -> None:
    photo = read_image(packaged_photo("chelsea.png")).resize((90, 60))
    results = [(answer_about(photo, FOREIGN), card_of(FOREIGN))]
    data = write_sheet(photo, results, label=None, lesson="pixel", controls={}, point=(0, 0))
    table = zipfile.ZipFile(io.BytesIO(data)).read("scores.csv").decode()
    assert "'=HYPERLINK" in table
    assert not re.search(r"(^|[,\"])[=+@-]", table, re.MULTILINE)


def test_unknown_network_is_refused_in_escaped_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "list_checkpoints", lambda: [HOSTILE[1]])
    with pytest.raises(gr.Error) as refusal:
        api.segment_photo("photo.jpg", "nothing")
    assert "<" not in refusal.value.message


def asked(server: PageServer, name: str, data: list[object]) -> str:
    """All that the page says when the event of this name is asked as a browser does."""
    config = httpx.get(f"{server.url}/config", timeout=60).json()
    number = next(entry["id"] for entry in config["dependencies"] if entry["api_name"] == name)
    question = {"data": data, "fn_index": number, "session_hash": name}
    httpx.post(f"{server.url}/gradio_api/queue/join", json=question, timeout=60).raise_for_status()
    return httpx.get(f"{server.url}/gradio_api/queue/data", params={"session_hash": name}, timeout=300).text


def test_file_names_are_no_markup(page_server: PageServer) -> None:
    """A photo, a label and a sheet that are named like HTML: no answer, nothing made of them and no log says so."""
    before, markup = len(page_server.said()), HOSTILE[1]
    contents = {
        "photo.png": packaged_photo("chelsea.png").read_bytes(),
        "label.png": odd_files.file_of(Image.new("P", (451, 300)), "PNG"),
        "sheet.zip": odd_files.sheet(),
        "text.zip": b"I am a text",
    }
    said, files = [], {}
    for name, data in contents.items():
        uploaded = {"files": (markup + name, data)}
        said.append(httpx.post(f"{page_server.url}/gradio_api/upload", files=uploaded, timeout=60).text)
        path = json.loads(said[-1])[0]
        files[name] = {"path": path, "orig_name": markup + name, "meta": {"_type": "gradio.FileData"}}
    said += [
        asked(page_server, "segment", [files["photo.png"], "unet", False]),
        asked(page_server, "download", [files["photo.png"], ["fcn8s", "unet"], "en"]),
        asked(page_server, "_open", [files["sheet.zip"], "en"]),
    ]
    assert all('"success":true' in answer for answer in said[-3:])
    made = re.findall(r'"url": *"([^"]+)"', "".join(said))
    assert len(made) >= 4  # labels, overlay, ZIP, the sheet's photo
    said += [httpx.get(address, timeout=60).content.decode("latin-1") for address in made]
    refused = [("segment", [files["text.zip"], "unet", False]), ("_open", [files["text.zip"], "en"])]
    said += [asked(page_server, *question) for question in refused]
    assert all('"success":false' in answer for answer in said[-2:])
    for text in [*said, page_server.said()[before:]]:
        assert "<img" not in text


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", ".hidden", "", ".."])
def test_a_card_cannot_name_a_file_elsewhere(name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        tiny_card(name=name)


def test_the_browser_puts_nothing_in_as_html() -> None:
    """Gradio runs a template twice, as Handlebars and as a JavaScript string: ours hold no value at all."""
    scripts, templates = sorted((ROOT / "seg").rglob("*.js")), sorted((ROOT / "seg").rglob("*.html"))
    assert len(scripts) >= 5
    assert len(templates) >= 4
    for script in scripts:
        found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc",
                           script.read_text("utf-8"))  # fmt: skip
        assert not found, f"{script.name} uses {found}"
    for template in templates:
        assert not re.search(r"{{|\${", template.read_text("utf-8")), template.name


def test_weights_are_data_and_never_code() -> None:
    """No pickle: weights are safetensors, and what the trainer saves for itself is read with weights_only."""
    files = [ROOT / "app.py", *(ROOT / "seg").rglob("*.py"), *(ROOT / "train").rglob("*.py")]
    for file in files:
        text = file.read_text("utf-8")
        assert not re.search(r"\b(import|from) (pickle|marshal|shelve|dill|joblib|yaml)\b|allow_pickle=True", text), (
            file
        )
        for call in re.findall(r"(?<!safetensors\.)torch\.load\((.*)", text):
            assert "weights_only=True" in call, f"{file}: {call}"
        assert not re.search(r"(?<![\w.])(eval|exec|compile|__import__)\(", text), file


def test_the_core_of_a_foreign_card_comes_from_here() -> None:
    from seg.models import build_model

    for backbone in ("hf-hub:somebody/else", "local-dir:/tmp", "../" + TINY_BACKBONE):
        with pytest.raises(ValueError, match="unknown backbone"):
            build_model("fcn8s", num_classes=21, backbone=backbone)


# Values that attack


@pytest.mark.parametrize("point", [None, "ab", [1], [10**400, 0], [float("nan"), 0], [-1, 0], [{}, []], [1, 1], True])
def test_a_point_of_any_kind_is_the_centre(point: object) -> None:
    assert point_of(point) == (0.5, 0.5)


@pytest.mark.parametrize("value", [None, "x", 10**400, -(10**400), float("nan"), float("inf"), [], {}, [{}], True])
def test_controls_take_any_value(value: object) -> None:
    for lesson in LESSONS:
        checked = lesson.checked([value] * len(lesson.controls))
        for control in lesson.controls:
            if control.kind is gr.Slider:
                assert control.settings["minimum"] <= checked[control.name] <= control.settings["maximum"]


@pytest.mark.parametrize("size", [-1, 2**31, 10**400])
def test_numbers_in_a_sheet_are_only_numbers(size: int) -> None:
    content = {"format": "seglab lab sheet 1", "lesson": "pixel", "point": [size, size], "controls": {"names": [size]}}
    assert odd_files.check_sheet(odd_files.sheet({"settings.json": json.dumps(content).encode()})) == "read"


# Doors


@pytest.fixture(scope="module")
def blocks() -> gr.Blocks:
    return page.build()


def test_no_component_fetches_an_address(blocks: gr.Blocks) -> None:
    """Gradio fetches what stands as a file in the input of any component, a switch or a list of networks too."""
    for block in blocks.blocks.values():
        with pytest.raises(gr.Error, match="Addresses are not fetched"):
            asyncio.run(block.async_move_resource_to_block_cache("http://192.0.2.1/photo.jpg"))


def test_no_component_can_be_called_past_the_queue(blocks: gr.Blocks) -> None:
    for block in blocks.blocks.values():
        named = [name for name in dir(type(block)) if getattr(getattr(type(block), name), "_is_server_fn", False)]
        assert not named, f"{block} has {named}"
        assert not getattr(block, "server_functions", None)


@pytest.mark.parametrize(
    "route",
    ["file=http://192.0.2.1/x", "file=HTTPS://192.0.2.1/x", "file=http:/192.0.2.1", "file=%68ttp://192.0.2.1/x",
     "file=%0Ahttp://192.0.2.1/x", "file/http://192.0.2.1/x", "file/tmp/photo.png", "proxy=http://192.0.2.1/x",
     "deep_link?session_hash=x", "process_recording", "component_server", "vibe-edit", "vibe-code", "uploads",
     "run-history/records", "what/another/version/adds", ""],
)  # fmt: skip
def test_doors_that_are_not_needed_are_shut(page_server: PageServer, route: str) -> None:
    for method in ("GET", "POST"):
        answer = httpx.request(method, f"{page_server.url}/gradio_api/{route}", timeout=60)
        assert (answer.status_code, answer.text) == (404, "There is nothing here.")


@pytest.mark.parametrize(
    "route", ["file=/tmp/photo.png", "file=C:/Temp/photo.png", "upload", "queue/join", "mcp/", "info"]
)
def test_the_other_doors_are_open(route: str) -> None:
    async def answer_yes(scope, receive, send) -> None:
        await PlainTextResponse("yes")(scope, receive, send)

    async def ask() -> str:
        transport = httpx.ASGITransport(app=ShutDoors(answer_yes))
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return (await client.get(f"/gradio_api/{route}")).text

    assert asyncio.run(ask()) == "yes"


def test_the_fuzz_target_reads_a_corpus_without_atheris(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tests" / "fuzz_image.py"), "--replay", str(tmp_path / "corpus")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{len(VALID)} files read or refused" in done.stdout
