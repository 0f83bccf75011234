"""Lab sheets: what goes in comes out, other programs can read it, and a sheet from outside is not trusted."""

from __future__ import annotations

import csv
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from test_coco import decoded

from seg import load_predictor, read_image
from seg.classes import IGNORE_INDEX
from seg.metrics import ConfusionMatrix
from seg.ui import classroom
from seg.ui.lessons import LESSONS
from seg.ui.photo import EXAMPLES
from seg.ui.sheet import FORMAT, MAX_ENTRIES, MAX_SETTINGS, SheetError, read_sheet, write_sheet

CONTROLS = {"names": ["fcn8s"], "field": "hide"}


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    return read_image(EXAMPLES[0])


@pytest.fixture(scope="module")
def results() -> list[Any]:
    predictors = [load_predictor(name) for name in ("fcn8s", "unet")]
    return [(predictor.predict(EXAMPLES[0]), predictor.card) for predictor in predictors]


@pytest.fixture(scope="module")
def label(results: list[Any]) -> np.ndarray:
    """U-Net's answer, with a strip of no label: so U-Net is right everywhere."""
    ids = results[1][0].label_map.copy()
    ids[:20] = IGNORE_INDEX
    return ids


@pytest.fixture(scope="module")
def sheet(cat: Image.Image, results: list[Any], label: np.ndarray) -> bytes:
    return write_sheet(cat, results, label=label, lesson="pixel", controls=CONTROLS, point=(0.25, 0.5))


def test_a_sheet_comes_back(sheet: bytes, cat: Image.Image, label: np.ndarray) -> None:
    found = read_sheet(sheet)
    assert (found.lesson, found.controls, found.point) == ("pixel", CONTROLS, [0.25, 0.5])
    np.testing.assert_array_equal(np.asarray(read_image(found.photo)), np.asarray(cat))
    assert found.label is not None
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found.label))), label)


def test_other_programs_can_read_what_is_in_it(sheet: bytes, results: list[Any], label: np.ndarray) -> None:
    archive = zipfile.ZipFile(io.BytesIO(sheet))
    rows = list(csv.DictReader(io.StringIO(archive.read("scores.csv").decode())))
    figures = {(row["network"], row["measure"], row["class"]): float(row["value"]) for row in rows}
    for result, card in results:
        ids = np.asarray(Image.open(archive.open(f"{card.name}_labels.png")))
        np.testing.assert_array_equal(ids, result.label_map)
        assert Image.open(archive.open(f"{card.name}_overlay.jpg")).size == ids.shape[::-1]
        coco = json.loads(archive.read(f"{card.name}_coco.json"))
        rebuilt = np.zeros_like(ids)
        for annotation in coco["annotations"]:
            rebuilt[decoded(annotation["segmentation"])] = annotation["category_id"]
        np.testing.assert_array_equal(rebuilt, ids)
        for name, share in result.class_areas.items():
            assert figures[card.name, "share", name] == pytest.approx(share, abs=1e-6)
        confusion = ConfusionMatrix(len(card.classes))
        confusion.update(label, result.label_map)
        assert figures[card.name, "miou", ""] == pytest.approx(confusion.miou, abs=1e-6)
    assert figures["unet", "miou", ""] == figures["unet", "pixel_acc", ""] == 1


@pytest.mark.parametrize(
    ("key", "controls", "expected"),
    [
        ("pixel", {"names": ["unet"]}, ["unet"]),
        ("pixel", {"names": []}, ["fcn8s", "unet", "deeplabv3"]),
        ("aspp", {"heard": [0]}, ["fcn8s", "unet", "deeplabv3"]),
        ("fcn", {"compare": "trained"}, ["fcn8s", "unet", "deeplabv3", "fcn32s", "fcn16s"]),
        ("skips", {"s2": "zero"}, ["fcn8s", "unet", "deeplabv3", "unetpp"]),
        ("family", {"network": "unet"}, ["fcn8s", "unet", "deeplabv3", "deeplabv1", "deeplabv2"]),
        ("flow", {"network": "fcn16s", "stage": 1}, ["fcn8s", "unet", "deeplabv3", "fcn16s"]),
    ],
)
def test_a_sheet_has_the_networks_that_the_lesson_shows(
    key: str, controls: dict[str, Any], expected: list[str]
) -> None:
    assert classroom._shown_in(key, controls) == expected


def test_without_a_label_there_is_no_score(cat: Image.Image, results: list[Any]) -> None:
    data = write_sheet(cat, results, label=None, lesson="pixel", controls={}, point=(0, 0))
    rows = zipfile.ZipFile(io.BytesIO(data)).read("scores.csv").decode().splitlines()[1:]
    assert {row.split(",")[1] for row in rows} == {"share"}
    assert read_sheet(data).label is None


def zipped(files: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


SETTINGS = json.dumps({"format": FORMAT, "lesson": "pixel"}).encode()
GOOD = {"settings.json": SETTINGS, "photo.png": b"x"}
LYING = zipped({"settings.json": b" " * 300_000 + SETTINGS, "photo.png": b"x"})


def lie_about_size(data: bytes, true: int, told: int) -> bytes:
    """Both headers of an entry say another size."""
    return data.replace(struct.pack("<L", true), struct.pack("<L", told))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "foreign"),
        (b"PK\5\6", "foreign"),
        (b"no zip at all, but long enough to be one", "foreign"),
        (zipped({"photo.png": b"x"}), "foreign"),
        (zipped({"settings.json": b"{}", "photo.png": b"x"}), "foreign"),
        (zipped({"settings.json": b"[" * 50_000, "photo.png": b"x"}), "damaged"),
        (zipped({"settings.json": b"\xff{", "photo.png": b"x"}), "damaged"),
        (zipped({"settings.json": SETTINGS}), "foreign"),
        (zipped({"../settings.json": SETTINGS, "../photo.png": b"x"}), "foreign"),
        (zipped({**GOOD, **{f"more{i}": b"" for i in range(MAX_ENTRIES)}}), "foreign"),
        (zipped({**GOOD, **{"x" * 60_000: b""}}), "foreign"),
        (zipped({**GOOD, "settings.json": b" " * MAX_SETTINGS + SETTINGS}), "large"),
        (zipped({**GOOD, "photo.png": bytes(40_000_000)}), "large"),
        (zipped(GOOD, zipfile.ZIP_LZMA), "large"),
        (zipped(GOOD)[30:], "damaged"),
        (lie_about_size(LYING, 300_000 + len(SETTINGS), 50), "damaged"),
        (bytes(31_000_000), "large"),
    ],
)
def test_what_is_no_sheet_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(SheetError) as refusal:
        read_sheet(data)
    assert refusal.value.reason == reason


def test_a_sheet_damaged_anywhere_is_refused_or_still_the_same_kind(sheet: bytes) -> None:
    """A flipped byte may hit a picture that is not looked at; nothing but SheetError may come out."""
    generator = np.random.default_rng(0)
    refused = 0
    for place in [*generator.integers(0, len(sheet), 40), *range(len(sheet) - 60, len(sheet))]:
        bad = bytearray(sheet)
        bad[place] ^= 0xFF
        try:
            read_sheet(bytes(bad))
        except SheetError:
            refused += 1
    assert refused > 20


def open_in_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> list[Any]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "any name.zip").write_bytes(data)
    return classroom._open(str(tmp_path / "any name.zip"), "en")


def test_the_page_replays_the_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sheet: bytes) -> None:
    photo, label, key, point, *values = open_in_page(tmp_path, monkeypatch, sheet)
    assert (key, point) == ("pixel", (0.25, 0.5))
    assert Path(photo).is_file()
    assert Path(label).is_file()
    controls = [(lesson.key, control.name) for lesson in LESSONS for control in lesson.controls]
    set_here = {name: value for name, value in zip(controls, values, strict=True) if not is_skip(value)}
    own = {("pixel", control.name) for control in LESSONS[keys().index("pixel")].controls}
    assert set(set_here) == {*own, ("truth", "source")}
    assert set_here["truth", "source"] == "file"  # whatever was painted here before
    assert set_here["pixel", "names"] == ["fcn8s"]


def test_a_painting_comes_back_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cat: Image.Image, results: list[Any], label: np.ndarray
) -> None:
    painted = {"source": "paint", "names": ["unet"], "skips": False}
    for given, source in ((label, "file"), (None, "paint")):
        data = write_sheet(cat, results, label=given, lesson="truth", controls=painted, point=(0, 0))
        _, _, _, _, *values = open_in_page(tmp_path, monkeypatch, data)
        names = [(lesson.key, control.name) for lesson in LESSONS for control in lesson.controls]
        assert values[names.index(("truth", "source"))] == source


def keys() -> list[str]:
    return [lesson.key for lesson in LESSONS]


def is_skip(value: Any) -> bool:
    return isinstance(value, dict) and value.get("__type__") == "update"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"settings.json": SETTINGS.replace(b"pixel", b"nothing"), "photo.png": b"x"}, "not a lab sheet"),
        (GOOD, "cannot be opened|not a picture"),
    ],
)
def test_the_page_refuses_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(gr.Error, match=message):
        open_in_page(tmp_path, monkeypatch, zipped(files))


def test_the_page_opens_only_what_was_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sheet: bytes) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "secret.zip").write_bytes(sheet)
    with pytest.raises(gr.Error, match="not a lab sheet"):
        classroom._open(str(tmp_path / "secret.zip"), "en")
