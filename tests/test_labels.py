"""Label pictures from outside: read strictly, bounded as photos are, refused with a reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from seg import InvalidImageError
from seg.classes import IGNORE_INDEX, VOC
from seg.image import MAX_SIDE
from seg.labels import InvalidLabelError, read_label

IDS = np.random.default_rng(0).choice([0, 8, 15, 20, IGNORE_INDEX], (9, 11)).astype(np.uint8)


def file_of(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def indexed(ids: np.ndarray, palette: np.ndarray) -> Image.Image:
    picture = Image.fromarray(ids).convert("L")
    picture.putpalette(np.ascontiguousarray(palette, np.uint8).tobytes())
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        indexed(IDS, VOC.colormap),
        indexed(IDS, np.repeat(np.arange(256)[:, None], 3, axis=1)),
        Image.fromarray(IDS),
        Image.fromarray(IDS.astype(np.uint16)),
        Image.fromarray(VOC.colormap[IDS]),
        Image.fromarray(VOC.colormap[IDS]).convert("RGBA"),
    ],
    ids=["voc", "other palette", "grey", "16 bit", "colours", "colours with alpha"],
)
def test_ids_come_back_unchanged(picture: Image.Image) -> None:
    np.testing.assert_array_equal(read_label(file_of(picture), VOC), IDS)


@pytest.mark.parametrize("number", [1, IGNORE_INDEX])
def test_an_indexed_picture_whose_colours_were_numbered_anew_is_refused(number: int) -> None:
    """As a drawing program does: the colour of the cat (8) has another number."""
    palette = np.zeros((256, 3), np.uint8)
    palette[number] = VOC.colours[8]
    picture = indexed(np.array([[0, number] * 5] * 9, np.uint8), palette)
    with pytest.raises(InvalidLabelError) as refusal:
        read_label(file_of(picture), VOC)
    assert refusal.value.reason == "palette"


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (Image.new("L", (9, 9), 21), "ids"),
        (Image.new("RGB", (9, 9), (1, 2, 3)), "colours"),
        (Image.new("LA", (9, 9)), "mode"),
    ],
)
def test_what_no_class_has_is_refused(picture: Image.Image, reason: str) -> None:
    with pytest.raises(InvalidLabelError) as refusal:
        read_label(file_of(picture), VOC)
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no picture at all", "not_png"),
        (file_of(Image.fromarray(VOC.colormap[IDS]), "JPEG"), "not_png"),
        (file_of(Image.fromarray(IDS))[:-30], "damaged"),
        (file_of(Image.new("L", (4, 4))), "tiny"),
        (file_of(Image.new("1", (MAX_SIDE + 1, MAX_SIDE // 10))), "side"),
        (file_of(Image.new("1", (8, 400))), "aspect"),
        (file_of(Image.new("1", (8000, 8000))), "pixels"),
    ],
    ids=["empty", "text", "jpeg", "cut", "tiny", "side", "aspect", "pixels"],
)
def test_the_limits_are_those_of_photos(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidImageError) as refusal:
        read_label(data, VOC)
    assert refusal.value.reason == reason
