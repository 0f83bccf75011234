"""The lessons on FCN and on transposed convolution: every control counts, what is missing is said."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY_BACKBONE, randomise_batchnorm, tiny_card
from PIL import Image

from seg.checkpoint import EXTRA_FOLDER_VARIABLE, save_checkpoint
from seg.classes import VOC
from seg.explain.upsampling import Setting, bilinear, transposed_convolution
from seg.models import build_model
from seg.transforms import Preprocess
from seg.ui.lessons import Lesson, fcn, upsampling

FIRST = {
    lesson.key: {control.name: control.settings["value"] for control in lesson.controls}
    for lesson in (fcn.LESSON, upsampling.LESSON)
}


def blocks_of(
    lesson: Lesson, photo: Image.Image | None, point: tuple[float, float] = (0.5, 0.5), **values: Any
) -> list:
    return lesson.answer(photo=photo, point=point, **{**FIRST[lesson.key], **values})


def said(blocks: list) -> str:
    return " ".join(block["text"]["en"] for block in blocks if block["kind"] == "text")


def titles(blocks: list) -> list[str]:
    """English titles of all pictures."""
    items = [item for block in blocks if block["kind"] == "pictures" for item in block["items"]]
    return [item["title"] if isinstance(item["title"], str) else item["title"]["en"] for item in items]


@pytest.mark.parametrize(
    ("lesson", "control", "value"),
    [
        (fcn.LESSON, "compare", "trained"),
        (fcn.LESSON, "shown", VOC.names.index("dog")),
        (fcn.LESSON, "zoom", 9),
        (upsampling.LESSON, "start", "ramp"),
        (upsampling.LESSON, "weights", "8"),
        (upsampling.LESSON, "kernel_size", 4),
        (upsampling.LESSON, "stride", 3),
        (upsampling.LESSON, "padding", 1),
        (upsampling.LESSON, "output_padding", 1),
        (upsampling.LESSON, "dilation", 2),
        (upsampling.LESSON, "window", 80),
    ],
)
def test_every_control_changes_the_answer(lesson: Lesson, control: str, value: Any, photo: Image.Image) -> None:
    assert blocks_of(lesson, photo, **{control: value}) != blocks_of(lesson, photo)


def test_a_point_moves_the_zoom(photo: Image.Image) -> None:
    assert blocks_of(fcn.LESSON, photo, (0.1, 0.1)) != blocks_of(fcn.LESSON, photo, (0.9, 0.9))
    for corner in ((0.0, 0.0), (0.9999, 0.9999)):
        assert blocks_of(fcn.LESSON, photo, corner)


def test_any_class_may_be_looked_at(photo: Image.Image) -> None:
    for class_id in (0, 8, len(VOC) - 1):
        json.dumps(blocks_of(fcn.LESSON, photo, shown=class_id), allow_nan=False)
    assert "no outline here" in said(blocks_of(fcn.LESSON, photo, shown=VOC.names.index("train")))


def tiny_family(folder: Path, names: list[str]) -> None:
    for name in names:
        model = build_model(name, num_classes=len(VOC), backbone=TINY_BACKBONE, fc_channels=16)
        side = 64 if name == "fcn8s" else 96  # networks may see the photo at different sizes
        card = tiny_card(name=name, title=name, model=name, preprocess=Preprocess(short_side=side, long_side=2 * side))
        save_checkpoint(randomise_batchnorm(model), card, folder)


@pytest.mark.parametrize("names", [["fcn32s"], ["fcn16s"], ["fcn16s", "fcn32s"], ["fcn8s", "fcn32s"], ["unet"]])
def test_the_lesson_takes_the_networks_there_are_and_names_the_missing(
    names: list[str], photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg.checkpoint.CHECKPOINTS", tmp_path)
    monkeypatch.delenv(EXTRA_FOLDER_VARIABLE, raising=False)
    if names == ["unet"]:
        (tmp_path / "unet.json").write_text("{}")
        assert said(blocks_of(fcn.LESSON, photo)) == "No FCN is installed here."
        assert said(blocks_of(upsampling.LESSON, None, weights="8")) == upsampling.NO_FCN["en"]
        return
    tiny_family(tmp_path, names)
    trained = blocks_of(fcn.LESSON, photo, compare="trained")
    for name, title in fcn.TITLES.items():
        assert (title in titles(trained)) == (name in names)
        assert (title in said(trained).split("Below")[0].split("Pixels")[0]) == (name not in names)
    skips = titles(blocks_of(fcn.LESSON, photo))
    finest = min(int(name[3:-1]) for name in names)
    assert "With all its skips" in skips
    assert ("Without score8" in skips) == (finest == 8)
    assert ("Without score16" in skips) == (finest == 16)


def test_whatever_numbers_are_set_the_lesson_answers_or_says_why_not() -> None:
    refused = 0
    for kernel, stride, padding, more, dilation in itertools.product((1, 3, 5), (1, 4), (0, 4), (0, 3), (1, 3)):
        numbers = {"kernel_size": kernel, "stride": stride, "padding": padding}
        blocks = blocks_of(upsampling.LESSON, None, **numbers, output_padding=more, dilation=dilation)
        setting = Setting(kernel, stride, padding, more, dilation)
        impossible = setting.ambiguous or setting.output_size(3) < 1
        explained = "do not go together" in said(blocks) or "Nothing is left" in said(blocks)
        assert explained == impossible
        assert (
            any(block["title"] and "Step 3" in block["title"]["en"] for block in blocks if "title" in block)
            != explained
        )
        assert f"= {setting.output_size(3)}." in said(blocks)
        json.dumps(blocks, allow_nan=False)
        refused += explained
    assert 0 < refused < 48


def test_the_marked_sum_is_the_marked_number() -> None:
    blocks = blocks_of(upsampling.LESSON, None, start="ramp", weights="bilinear", kernel_size=4, padding=1)
    output = next(
        item
        for block in blocks
        if block["kind"] == "grids"
        for item in block["items"]
        if item["marked"] and item["title"]["en"] == "Output"
    )
    row, column = output["marked"][0]
    sum_ = said(blocks).split(f"row {row + 1}, column {column + 1}: ")[1].split(" (products")[0]
    left, right = sum_.split(" = ")
    assert sum(float(a) * float(b) for a, b in (term.split(" × ") for term in left.split(" + "))) == pytest.approx(
        float(right), abs=1e-3
    )
    assert output["values"][row][column] == pytest.approx(float(right), abs=5e-3)


def test_the_kernels_that_learned_and_the_one_that_stays_bilinear() -> None:
    blocks = blocks_of(upsampling.LESSON, None, weights=str(VOC.names.index("dog")))
    layers = [block["title"]["en"] for block in blocks if "FCN-8s, layer" in str(block.get("title"))]
    assert layers == [f"FCN-8s, layer {name} times larger" for name in ("up32to16: 2", "up16to8: 2", "up8to1: 8")]
    assert titles(blocks) == ["Bilinear"]
    assert said(blocks).count("Largest change of a weight") == 2
    assert "It is not trained, as in the paper." in said(blocks)


def test_the_lesson_says_where_the_bilinear_kernel_interpolates() -> None:
    for size, stride, dilation in itertools.product(range(2, 6), range(1, 5), range(1, 3)):
        setting = Setting(size, stride, dilation=dilation)
        answer = transposed_convolution(np.ones((1, 1)), bilinear(size), setting).output
        away = np.abs(np.arange(len(answer)) - (len(answer) - 1) / 2)
        tent = (1 - away / stride).clip(min=0)  # of linear interpolation, from one input to the next
        interpolates = len(answer) >= 2 * stride - 1 and np.allclose(answer, np.outer(tent, tent))
        (block,) = upsampling._about_kernel("bilinear", size, setting)
        assert block["text"]["en"].startswith("Size ") == interpolates, setting
