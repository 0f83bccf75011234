"""The lesson Ground truth: no score without a label that fits, and scores that scikit-learn agrees with."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score

from seg import Predictor, load_predictor, read_image
from seg.classes import IGNORE_INDEX, VOC
from seg.explain.truth import MAX_SCORED, nearest, score, scored_size
from seg.render import to_indexed
from seg.ui.board import text
from seg.ui.lessons import truth
from seg.ui.painter import MAX_SIDE, painter_photo, read_painting
from seg.ui.photo import EXAMPLES, fingerprint

POINT = (0.5, 0.5)


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    return read_image(EXAMPLES[0])


def ask(photo: Image.Image, **more: Any) -> list[dict[str, Any]]:
    return truth.answer(photo=photo, point=POINT, **{"names": ["unet"], "source": "file", "skips": False, **more})


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def label_for(photo: Image.Image) -> np.ndarray:
    ids = np.zeros((photo.height, photo.width), np.uint8)
    ids[:, photo.width // 3 :] = 8
    ids[:30] = IGNORE_INDEX
    return ids


def test_the_table_shows_what_scikit_learn_counts(cat: Image.Image) -> None:
    ids = label_for(cat)
    blocks = ask(cat, label=png(to_indexed(ids, VOC)))
    predicted = load_predictor("unet").predict(cat).label_map
    counted = ids != IGNORE_INDEX
    present = np.union1d(ids[counted], predicted[counted])
    expected = jaccard_score(ids[counted], predicted[counted], labels=present, average=None)
    table = next(block for block in blocks if block["kind"] == "table")
    shown = {row[0]["text"]["en"]: row[1] for row in table["rows"][: len(present)]}
    assert set(shown) == {VOC.names[i] for i in present}
    for i, iou in zip(present, expected, strict=True):
        assert shown[VOC.names[i]]["bar"] == pytest.approx(iou)
    assert table["rows"][len(present)][1]["bar"] == pytest.approx(expected.mean())
    chart = next(block for block in blocks if block["kind"] == "chart")
    assert len(chart["lines"]) == 1
    json.dumps(blocks, allow_nan=False)


def test_ids_and_colours_give_the_same_answer(cat: Image.Image) -> None:
    ids = label_for(cat)
    assert ask(cat, label=png(to_indexed(ids, VOC))) == ask(cat, label=png(Image.fromarray(VOC.colormap[ids])))


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (None, "No label yet"),
        (b"no picture", "not a PNG"),
        (png(Image.new("L", (20, 20))), "The label has 20 × 20 pixels and the photo 451 × 300"),
        (png(Image.new("L", (451, 300), 77)), "the number 77"),
        (png(Image.new("RGB", (451, 300), (9, 9, 9))), r"the colour (9, 9, 9)"),
        (png(Image.new("L", (451, 300), IGNORE_INDEX)), "The label is empty"),
        ({"path": "x"}, "No label yet"),
    ],
)
def test_no_label_no_score(cat: Image.Image, label: Any, said: str) -> None:
    (block,) = ask(cat, label=label)
    assert block["kind"] == "text"
    assert said in block["text"]["en"]
    assert "{" not in block["text"]["en"] + block["text"]["zh"]
    assert ask(cat, label=label, skips=True) == [block, text(truth.SKIPS_LATER)]


def test_without_each_skip_there_is_a_row_per_skip(cat: Image.Image) -> None:
    label = png(to_indexed(label_for(cat), VOC))
    complete = ask(cat, label=label)
    *blocks, rows = ask(cat, label=label, skips=True)
    assert blocks == complete
    assert len(rows["rows"]) == 5
    whole = next(block for block in complete if block["kind"] == "table")["rows"]
    assert rows["rows"][0][1] == whole[-3][1]  # the intact network's mIoU


@torch.inference_mode()
def test_the_row_of_a_skip_is_about_a_network_without_weights_on_it(cat: Image.Image) -> None:
    """The other way: not the skip is emptied, but what the network makes of it."""
    predictor = load_predictor("unet")
    ids = predictor.predict(cat).label_map
    ids[:30] = IGNORE_INDEX
    shown = ask(cat, label=png(to_indexed(ids, VOC)), skips=True)[-1]["rows"][1:]
    counted, found = ids != IGNORE_INDEX, []
    for place, stride in enumerate((16, 8, 4, 2)):
        network = copy.deepcopy(predictor.network)
        network.decoder[place].conv[0].weight[:, : network.encoder.channels[3 - place]] = 0  # type: ignore[index, union-attr]
        labels = Predictor(network, predictor.card).predict(cat).label_map
        present = np.union1d(ids[counted], labels[counted])
        expected = jaccard_score(ids[counted], labels[counted], labels=present, average="macro")
        assert shown[place][0]["en"] == f"without the skip at stride {stride}"
        assert shown[place][1]["bar"] == pytest.approx(expected, abs=1e-6)
        found.append(expected)
    assert np.diff(sorted(found)).min() > 1e-5, f"the photo does not tell the skips apart: {found}"


def painting(photo: Image.Image, ids: np.ndarray, **changes: Any) -> dict[str, Any]:
    """As the browser sends it."""
    flat, runs = ids.ravel().tolist(), []
    for value in flat:
        if runs and runs[-2] == value:
            runs[-1] += 1
        else:
            runs += [value, 1]
    return {"key": fingerprint(photo), "width": ids.shape[1], "height": ids.shape[0], "runs": runs, **changes}


def test_a_painting_scores_as_the_file_does(cat: Image.Image) -> None:
    ids = label_for(cat)
    assert painter_photo(cat, "k")["width"] == 451  # not reduced, so that both are the same label
    from_file = ask(cat, label=png(to_indexed(ids, VOC)))
    assert ask(cat, source="paint", painted=painting(cat, ids)) == from_file


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "another photo"}, {"width": 9}, {"width": "4"}, {"width": True}, {"height": 10**9}, {"runs": None},
        {"runs": [0]}, {"runs": [21, 12]}, {"runs": [0, -1, 0, 13]}, {"runs": [0.0, 12]}, {"runs": [254, 12]},
        {"runs": "0, 12"}, {"width": MAX_SIDE + 1},
    ],
)  # fmt: skip
def test_a_painting_from_a_browser_may_be_nonsense(cat: Image.Image, changes: dict[str, Any]) -> None:
    ids = np.zeros((3, 4), np.uint8)
    key = fingerprint(cat)
    good = painting(cat, ids)
    assert read_painting(good, key, len(VOC)) is not None
    assert read_painting({**good, **changes}, key, len(VOC)) is None
    assert read_painting(changes, key, len(VOC)) is None
    assert read_painting([good], key, len(VOC)) is None


def test_large_pictures_are_scored_on_part_of_their_pixels() -> None:
    height, width = scored_size(3000, 4000)
    assert 0.99 * MAX_SCORED < height * width <= MAX_SCORED
    assert width / height == pytest.approx(4 / 3, rel=0.01)
    assert scored_size(375, 500) == (375, 500)
    np.testing.assert_array_equal(nearest(np.arange(6)[None], (1, 3)), [[1, 3, 5]])
    np.testing.assert_array_equal(nearest(np.array([[1, 2]]), (2, 4)), [[1, 1, 2, 2], [1, 1, 2, 2]])


def test_what_does_not_occur_has_no_number() -> None:
    whole = np.zeros((30, 30), np.uint8)
    found = score(whole, whole, len(VOC))
    assert found.miou == found.pixel_acc == 1
    assert np.isnan(found.iou[1:]).all()
    assert np.isnan(found.boundary_f)
    assert np.isnan(found.band_miou).all()
