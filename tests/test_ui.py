"""seg/ui without a browser: words in both languages, what the viewer gets, files to take home, refusals."""

from __future__ import annotations

import ast
import base64
import io
import json
import re
import string
import time
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from conftest import tiny_card
from gradio.components.image import ImageData
from PIL import Image

import seg.checkpoint
from seg.card import ModelCard
from seg.checkpoint import CheckpointError
from seg.classes import VOC
from seg.predictor import Segmentation
from seg.ui import downloads, page
from seg.ui.payload import MAX_VIEW, viewer_value
from seg.ui.photo import EXAMPLES, NOTICED_IN_BROWSER, PhotoInput, open_photo, refuse
from seg.ui.text import _TEXT, GRADIO, LANGUAGES, SCORES, VIEWER, asked_language, preferred_language, say

UI = Path(__file__).resolve().parent.parent / "seg" / "ui"
CHINESE = re.compile(r"[\u4e00-\u9fff]")
LATIN_IN_CHINESE = {  # names and units that Chinese texts write in Latin letters too
    "API", "FCN", "U", "Net", "DeepLabV", "PNG", "ZIP", "JPEG", "WebP", "GIF", "BMP", "TIFF", "MB", "mIoU", "VOC",
    "val", "MACs", "Ctrl", "V", "IoU", "F", "CRF", "DeepLab", "v", "RGB", "SegLab",
}  # fmt: skip


def answer(label_map: np.ndarray, **changes: object) -> tuple[Segmentation, ModelCard]:
    """A network's answer with these labels, and a card."""
    rows = np.linspace(0, 1, label_map.size, dtype=np.float32).reshape(label_map.shape)
    card = tiny_card(**changes)
    return Segmentation(label_map, rows, VOC, card.name, 0.5, 0.4, (64, 96)), card


def random_labels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, len(VOC), (height, width), dtype=np.uint8)


def grey_photo(height: int, width: int) -> Image.Image:
    return Image.new("RGB", (width, height), (120, 130, 140))


def decoded(data_url: str) -> Image.Image:
    head, _, data = data_url.partition(",")
    assert re.fullmatch(r"data:image/(png|jpeg);base64", head)
    return Image.open(io.BytesIO(base64.b64decode(data)))


# Words


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def both_languages() -> list[tuple[str, str, str]]:
    """(key, English, Chinese) of everything the page can say."""
    said = [(key, entry["en"], entry["zh"]) for key, entry in _TEXT.items()]
    said += [(key, entry["en"], entry["zh"]) for key, entry in GRADIO.items()]
    for part in (VIEWER, SCORES):
        said += [(f"browser {key}", part["en"][key], part["zh"][key]) for key in part["en"]]
    return said


def test_every_key_is_there_in_every_language():
    assert set(VIEWER) == set(LANGUAGES.values())
    assert all(set(entry) == set(LANGUAGES.values()) for entry in [*_TEXT.values(), *GRADIO.values()])
    assert VIEWER["en"].keys() == VIEWER["zh"].keys()
    assert SCORES["en"].keys() == SCORES["zh"].keys()


@pytest.mark.parametrize(("key", "english", "chinese"), both_languages())
def test_languages_do_not_mix_and_fill_in_the_same_values(key, english, chinese):
    assert english.strip()
    assert not CHINESE.search(english)
    assert fields(english) == fields(chinese)
    latin = set(re.findall("[A-Za-z]+", re.sub(r"{\w+}", "", chinese)))
    assert latin <= LATIN_IN_CHINESE
    if "{" not in chinese and "mIoU" not in chinese:
        assert CHINESE.search(chinese)


def reasons_of_refusal() -> set[str]:
    """The first argument of every InvalidImageError in seg/image.py, read from its source."""
    tree = ast.parse((UI.parent / "image.py").read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "InvalidImageError"]
    return {ast.literal_eval(call.args[0]) for call in made}


def test_every_reason_of_the_loader_has_words():
    from_uploads = reasons_of_refusal() - {"array"}  # no upload is an array
    assert {f"error_{reason}" for reason in from_uploads} <= _TEXT.keys()


def test_no_key_of_the_page_is_missing_or_unused():
    source = "\n".join(file.read_text("utf-8") for file in UI.rglob("*.py") if file.name != "text.py")
    literal = set(re.findall(r"""say\(\s*[\w.]+, ["'](\w+)["']""", source))
    literal |= set(re.findall(r"""_paragraph\(\w+, ["'](\w+)["']""", source))
    literal |= {f"error_{reason}" for reason in re.findall(r"""(?:Refusal|turned_away)\(["'](\w+)["']""", source)}
    literal |= {f"download_{kind}" for kind in ("labels", "overlay", "zip")} | {"error_title"}
    literal |= {f"error_{reason}" for reason in (reasons_of_refusal() - {"array"}) | set(NOTICED_IN_BROWSER)}
    literal |= {f"class_{kind}" for kind in ("link", "sheet", "copied")}
    for module, kind, error in (("labels", "label", "InvalidLabelError"), ("ui/sheet", "sheet", "SheetError")):
        source = (UI.parent / f"{module}.py").read_text("utf-8")
        literal |= {f"{kind}_{reason}" for reason in re.findall(rf"""{error}\(\s*["'](\w+)["']""", source)}
    assert literal == _TEXT.keys()


def test_no_key_of_the_viewer_is_missing_or_unused():
    script = (UI / "viewer" / "viewer.js").read_text("utf-8")
    used = set(re.findall(r"(?:\bt|words\(\))\.([a-zA-Z]+)", script))
    used |= set(re.findall(r'makePane\("(\w+)"', script)) | {"mask", "overlay", "confidence"}
    used |= set(json.loads(re.search(r"const MODES = (\[.*?\]);", script)[1]))
    assert used == VIEWER["en"].keys()


def test_no_key_of_the_scores_is_missing_or_unused():
    script = (UI / "scores_page" / "scores.js").read_text("utf-8")
    columns = json.loads(re.search(r"const COLUMNS = (\[.*?\]);", script)[1])
    used = set(re.findall(r"\bt\.([a-zA-Z]+)", script)) | set(columns) | {f"meaning_{name}" for name in columns[:5]}
    assert used == SCORES["en"].keys()


def test_an_unknown_language_is_english():
    assert say("fr", "segment") == say("en", "segment")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("en-US,en;q=0.9", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-HK", "zh"),
        ("zh-TW,en;q=0.5", "zh"),
        ("zh", "zh"),
        ("ZH-Hant-SG", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de-DE,de;q=0.9,zh;q=0.5,en;q=0.3", "zh"),
        ("de,fr;q=0.8", "en"),
        (" zh-SG ;q=1 , en", "zh"),
        ("*", "en"),
        ("zhx-broken,,;;=", "en"),
    ],
)
def test_preferred_language(header, language):
    assert preferred_language(header) == language


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [
        ({"lang": "zh"}, "en-US", "zh"),
        ({"lang": "en"}, "zh-CN", "en"),
        ({"lang": "<b>"}, "zh-CN", "zh"),
        ({}, "zh-HK", "zh"),
        ({}, None, "en"),
    ],
)
def test_the_address_decides_the_language_before_the_browser_does(query, header, language):
    headers = {} if header is None else {"accept-language": header}
    assert asked_language(SimpleNamespace(query_params=query, headers=headers)) == language


# What the viewer gets


def test_labels_reach_the_browser_pixel_by_pixel():
    labels = random_labels(61, 83)
    value = viewer_value(grey_photo(61, 83), [answer(labels)])
    sent = decoded(value["networks"][0]["labels"])
    assert sent.mode == "P"
    np.testing.assert_array_equal(np.asarray(sent), labels)
    np.testing.assert_array_equal(np.asarray(sent.convert("RGB")), VOC.colormap[labels])
    assert value["disagreement"] is None


def test_every_class_has_its_own_colour_because_the_browser_reads_ids_from_colours():
    value = viewer_value(grey_photo(9, 9), [answer(random_labels(9, 9))])
    colours = [tuple(entry["colour"]) for entry in value["classes"]]
    assert len(set(colours)) == len(VOC)
    assert [entry["en"] for entry in value["classes"]] == list(VOC.names)
    assert [entry["zh"] for entry in value["classes"]] == list(VOC.names_zh)


@pytest.mark.parametrize(("height", "width"), [(1201, 2003), (2003, 1201), (1700, 1700), (90, 1601)])
def test_labels_of_a_large_photo_are_picked_not_mixed(height, width):
    labels = random_labels(height, width)
    value = viewer_value(grey_photo(height, width), [answer(labels)])
    sent = decoded(value["networks"][0]["labels"])
    assert max(sent.size) == MAX_VIEW
    assert sent.size == (value["photo"]["width"], value["photo"]["height"]) == decoded(value["photo"]["src"]).size
    assert value["photo"]["original"] == [width, height]
    independent = Image.fromarray(labels).resize(sent.size, Image.Resampling.NEAREST)
    assert (np.asarray(sent) == np.asarray(independent)).mean() > 0.999  # rounding may pick the other neighbour


def test_confidence_keeps_its_shape_and_scale():
    value = viewer_value(grey_photo(700, 900), [answer(random_labels(700, 900))])
    sent = np.asarray(decoded(value["networks"][0]["confidence"])) / 255
    assert sent.shape == (398, 512)
    assert sent[0, 0] < 0.01
    assert sent[-1, -1] > 0.99


def test_comparison_has_a_map_of_disagreement_only_when_all_have_answered():
    photo = grey_photo(40, 50)
    found = [answer(random_labels(40, 50, seed), name=f"n{seed}") for seed in range(3)]
    assert viewer_value(photo, found[:2], comparing=True, complete=False)["disagreement"] is None
    value = viewer_value(photo, found, comparing=True)["disagreement"]
    codes = np.asarray(decoded(value["src"]))
    maps = np.stack([result.label_map for result, _ in found])
    np.testing.assert_array_equal(codes == 0, (maps == maps[0]).all(axis=0))
    assert sum(value["shares"]) == pytest.approx(1)
    assert len(value["shares"]) == len(value["colours"]) == 5


def test_with_many_networks_the_map_counts_who_is_outside_the_largest_group():
    found = [answer(random_labels(40, 50, seed), name=f"n{seed}") for seed in range(8)]
    value = viewer_value(grey_photo(40, 50), found, comparing=True)["disagreement"]
    assert len(value["shares"]) == len(value["colours"]) == 8
    assert sum(value["shares"]) == pytest.approx(1)


def test_value_is_plain_json_and_its_id_is_new_every_time():
    found = [answer(random_labels(20, 20))]
    first, second = (viewer_value(grey_photo(20, 20), found) for _ in range(2))
    assert json.loads(json.dumps(first)) == first
    assert first["id"] != second["id"]


# Files to take home


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_label_png_has_ids_as_values_and_the_colours_as_palette():
    labels = random_labels(33, 47)
    picture = opened(downloads.labels_png(answer(labels)[0]))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (47, 33))
    np.testing.assert_array_equal(np.asarray(picture), labels)
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), VOC.colormap[labels])


def test_zip_has_every_picture_and_the_numbers():
    photo = grey_photo(60, 80)
    found = [answer(random_labels(60, 80, seed), name=f"n{seed}") for seed in range(3)]
    archive = zipfile.ZipFile(io.BytesIO(downloads.zip_all(photo, found)))
    assert archive.testzip() is None
    per_network = {f"n{i}_{what}.png" for i in range(3) for what in ("labels", "overlay", "figure")}
    assert set(archive.namelist()) == per_network | {"photo.png", "disagreement.png", "numbers.json"}
    for result, card in found:
        labels = opened(archive.read(f"{card.name}_labels.png"))
        np.testing.assert_array_equal(np.asarray(labels), result.label_map)
        assert opened(archive.read(f"{card.name}_overlay.png")).size == photo.size
    numbers = json.loads(archive.read("numbers.json"))
    assert [entry["network"] for entry in numbers["networks"]] == ["n0", "n1", "n2"]
    assert numbers["class_ids"]["cat"] == 8
    for entry in numbers["networks"]:
        assert sum(entry["classes"].values()) == pytest.approx(1, abs=1e-4)


def test_a_file_on_its_way_out_of_the_cache_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(Path, "write_bytes", lambda *_: pytest.fail("written in place"))
    first = Path(downloads.to_cache(b"the same", "a.png"))
    written = first.stat()
    time.sleep(0.02)  # some file systems count time in steps of several milliseconds
    assert downloads.to_cache(b"the same", "a.png") == str(first)
    again = first.stat()
    assert (again.st_ino, again.st_size) == (written.st_ino, 8)
    assert again.st_ctime_ns > written.st_ctime_ns  # Gradio empties its cache by this
    assert first.read_bytes() == b"the same"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [first]


def test_zip_of_one_network_has_no_map_of_disagreement():
    archive = zipfile.ZipFile(io.BytesIO(downloads.zip_all(grey_photo(20, 20), [answer(random_labels(20, 20))])))
    assert "disagreement.png" not in archive.namelist()


# Refusals


def picture_file(width: int, height: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, kind)
    return buffer.getvalue()


BAD_FILES = {
    "empty": b"",
    "not_image": b"hello, I am a text",
    "damaged": picture_file(300, 300, "JPEG")[:700],
    "tiny": picture_file(1, 1),
    "aspect": picture_file(2000, 20),
    "side": picture_file(20_001, 1001),
    "pixels": picture_file(8000, 7000),
    "bytes": picture_file(16, 16) + bytes(31_000_000),
}


@pytest.mark.parametrize("language", LANGUAGES.values())
@pytest.mark.parametrize("reason", BAD_FILES)
def test_refusal_says_why_without_naming_the_file(reason, language, tmp_path):
    file = tmp_path / "private_holiday.jpg"
    file.write_bytes(BAD_FILES[reason])
    with pytest.raises(gr.Error) as caught:
        open_photo(str(file), language)
    assert_refusal(caught.value, reason, language, file)
    with pytest.raises(gr.Error) as caught:
        open_photo(BAD_FILES[reason], language)
    assert_refusal(caught.value, reason, language, file)


@pytest.mark.parametrize("language", LANGUAGES.values())
def test_refusal_of_nothing_and_of_a_file_that_is_gone(language, tmp_path):
    with pytest.raises(gr.Error) as caught:
        open_photo(None, language)
    assert_refusal(caught.value, "none", language, tmp_path)
    for path in (tmp_path / "gone.jpg", tmp_path):
        with pytest.raises(gr.Error) as caught:
            open_photo(str(path), language)
        assert_refusal(caught.value, "missing", language, path)


@pytest.mark.parametrize("language", LANGUAGES.values())
@pytest.mark.parametrize("reason", NOTICED_IN_BROWSER)
def test_refusal_of_what_never_leaves_the_browser(reason, language, tmp_path):
    with pytest.raises(gr.Error) as caught:
        refuse(reason, language)
    assert_refusal(caught.value, reason, language, tmp_path)


def test_examples_have_names_for_those_who_cannot_see_them():
    assert {Path(example).stem for example in EXAMPLES} <= GRADIO.keys()


def assert_refusal(error: gr.Error, reason: str, language: str, file: Path) -> None:
    words = re.split(r"{\w+}", _TEXT[f"error_{reason}"][language])
    assert all(word in error.message for word in words), f"wrong reason: {error.message}"
    assert bool(CHINESE.search(error.message)) == (language == "zh")
    assert error.title == say(language, "error_title")
    assert file.name not in error.message
    assert str(file.parent) not in error.message
    assert not error.print_exception  # a visitor's bad photo is no fault of the server


def test_photo_from_the_webcam_is_decoded_and_rubbish_refused():
    photo = PhotoInput(type="filepath", image_mode=None)
    data = picture_file(30, 20)
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    assert photo.preprocess(ImageData(url=url)) == data
    assert photo.preprocess(None) is None
    for rubbish in ("data:image/png;base64,AAA", "data:,", "data:image/png;base64,%%%%"):
        with pytest.raises(gr.Error):
            open_photo(photo.preprocess(ImageData(url=rubbish)), "en")


def test_examples_are_photographs_that_can_be_opened():
    assert len(EXAMPLES) >= 4
    for path in EXAMPLES:
        assert min(open_photo(path, "en").size) > 100


def test_at_most_one_event_of_a_trigger_waits_for_its_turn():
    """Gradio starts all events of a trigger anew after one that has waited: two would start each other for ever."""
    events = page.build().fns.values()
    waiting = [event for event in events if event.trigger_mode == "always_last"]
    triggers = Counter(trigger for event in waiting for trigger in event.targets if trigger[0] is not None)
    assert triggers
    assert [trigger for trigger, times in triggers.items() if times > 1] == []


def test_page_without_a_checkpoint_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(seg.checkpoint, "CHECKPOINTS", tmp_path)
    monkeypatch.delenv("SEGLAB_CHECKPOINTS", raising=False)
    with pytest.raises(CheckpointError) as caught:
        page.build()
    assert str(tmp_path) in str(caught.value)
