"""Lessons on DeepLab: numbers that add up and agree with the networks' own answers, controls that do something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seg import list_checkpoints, load_predictor, read_image
from seg.card import load_card
from seg.checkpoint import card_path, count_macs, load_checkpoint
from seg.transforms import Geometry
from seg.ui import lab
from seg.ui.lessons import aspp, atrous, family
from seg.ui.lessons._lesson import at_most
from seg.ui.photo import EXAMPLES

needs_deeplabv3 = pytest.mark.skipif("deeplabv3" not in list_checkpoints(), reason="its weights are not here")
HERE = (0.4, 0.6)


def blocks(lesson: Any, values: list[Any], point: tuple[float, float] = HERE) -> list[dict[str, Any]]:
    value = lab.ask(lesson, EXAMPLES[0], "en", point, lesson.checked(values))
    assert value is not None
    return value["blocks"]


def table_of(found: list[dict[str, Any]]) -> list[list[Any]]:
    return next(block["rows"] for block in found if block["kind"] == "table")


def findings(found: list[dict[str, Any]]) -> list[str]:
    return [block["text"]["en"] for block in found if block["kind"] == "text" and block["finding"]]


def test_a_large_photo_is_answered_at_a_smaller_size_and_a_small_one_as_it_is() -> None:
    geometry = Geometry((800, 1600), (256, 512))
    small, smaller = at_most(Image.new("RGB", (1600, 800)), geometry, 720)
    assert small.size == (720, 360)
    assert smaller == Geometry((360, 720), (256, 512))
    same, unchanged = at_most(Image.new("RGB", (40, 30)), Geometry((30, 40), (256, 512)), 720)
    assert same.size == (40, 30)
    assert unchanged == Geometry((30, 40), (256, 512))


@needs_deeplabv3
def test_taps_lie_rate_times_stride_network_pixels_apart() -> None:
    photo = read_image(EXAMPLES[0])
    height, width = load_predictor("deeplabv3").card.preprocess.network_size((photo.height, photo.width))
    shapes = blocks(atrous.LESSON, [3, 16], (0.5, 0.5))[0]["items"][0]["shapes"]
    xs, ys = (np.unique(np.round([dot[axis] for dot in shapes], 6)) for axis in "xy")
    assert len(shapes) == 9
    np.testing.assert_allclose(np.diff(xs) * width / photo.width, 3 * 16)
    np.testing.assert_allclose(np.diff(ys) * height / photo.height, 3 * 16)


@needs_deeplabv3
def test_each_control_of_atrous_and_the_point_change_the_answer() -> None:
    first = blocks(atrous.LESSON, [4, 16])
    taps = first[0]["items"][0]["shapes"]
    for values, point in (([5, 16], HERE), ([4, 8], HERE), ([4, 16], (0.5, 0.5))):
        assert blocks(atrous.LESSON, values, point)[0]["items"][0]["shapes"] != taps
    assert "Only the middle one lies on the photo" in findings(blocks(atrous.LESSON, [24, 32]))[0]
    notes = [item["note"]["en"] for item in blocks(atrous.LESSON, [2, 16])[2]["items"]]
    assert notes == [
        "13 × 13 positions; 71.0 % of them are holes: all rates are multiples of 2, so only one row and one column in "
        "2 is seen",
        "13 × 13 positions; no hole",
        "25 × 25 positions; 73.0 % of them are holes: all rates are multiples of 2, so only one row and one column in "
        "2 is seen",
    ]  # 1 - 49 / 169 and 1 - 169 / 625


@needs_deeplabv3
def test_the_lesson_shows_the_network_itself_at_its_own_stride_and_counts_what_pytorch_counts() -> None:
    model, card = load_checkpoint("deeplabv3")
    own = atrous.output_stride()
    assert atrous.at_stride(own) is load_predictor("deeplabv3")
    assert atrous.macs_at(own, card.macs_input) == pytest.approx(card.macs, rel=0.01)
    assert atrous.macs_at(own, (96, 64)) == pytest.approx(count_macs(model, (96, 64)), rel=0.01)
    finding = findings(blocks(atrous.LESSON, [4, 16]))[-1]
    assert "on every second position: the largest difference is < 0.001 %" in finding


@needs_deeplabv3
@torch.inference_mode()
def test_what_the_branches_bring_adds_up_to_the_score_of_the_pixel_in_the_tab_segment() -> None:
    photo, predictor = read_image(EXAMPLES[0]), load_predictor("deeplabv3")
    x, geometry = predictor.card.preprocess.apply(photo)
    scores = predictor.card.preprocess.restore(predictor.logits(x), geometry)[
        :, int(HERE[1] * photo.height), int(HERE[0] * photo.width)
    ]
    rows = table_of(blocks(aspp.LESSON, [[0, 1, 2, 3, 4]]))
    brought = [float(row[1]) for row in rows]
    assert sum(brought[:-1]) == pytest.approx(brought[-1], abs=0.05)  # seven rounded numbers
    assert brought[-1] == pytest.approx(float(scores.max()), abs=0.02)


@needs_deeplabv3
def test_muting_one_branch_changes_what_its_row_says() -> None:
    everything = blocks(aspp.LESSON, [[0, 1, 2, 3, 4]])
    assert findings(everything)[0] == "All branches are heard. Mute one above."
    for branch in (0, 4):
        muted = blocks(aspp.LESSON, [[number for number in range(5) if number != branch]])
        share = table_of(muted)[branch][3]["text"]
        assert findings(muted)[0] == f"{share} of the pixels got another label."
        assert table_of(muted) == table_of(everything)  # it is about each branch alone
    assert table_of(blocks(aspp.LESSON, [[0, 1, 2, 3, 4]], (0.02, 0.02))) != table_of(everything)
    assert "of the pixels" in findings(blocks(aspp.LESSON, [[]]))[0]  # nobody is heard: still an answer


def pictures_of(found: list[dict[str, Any]], title: str) -> list[str]:
    return next(
        [item["src"] for item in block["items"]]
        for block in found
        if block["kind"] == "pictures" and title in block["title"]["en"]
    )


@needs_deeplabv3
def test_the_crf_changes_nothing_at_0_and_more_later_and_only_what_its_numbers_say() -> None:
    crf = "fully connected CRF"
    none, two, ten = (blocks(family.LESSON, ["deeplabv3", n]) for n in (0, 2, 10))
    before, after, _ = pictures_of(none, crf)
    assert before == after
    assert findings(none) == ["No iteration: nothing changes. Move the slider."]
    assert pictures_of(two, crf)[0] == pictures_of(ten, crf)[0] == before
    assert len({before, pictures_of(two, crf)[1], pictures_of(ten, crf)[1]}) == 3
    values = next(block for block in ten if block["kind"] == "chart")["lines"][0]["values"]
    assert len(values) == 11
    assert values[0] == 0
    assert f"gives {values[-1]:.1f} % of the pixels another label" in findings(ten)[0]
    shares = [row[1:] for row in [b["rows"] for b in ten if b["kind"] == "table"][-1]]
    for column in zip(*shares, strict=True):
        assert sum(float(share.strip("< %")) for share in column) == pytest.approx(100, abs=0.5)


@needs_deeplabv3
@pytest.mark.skipif(len(list_checkpoints()) < 2, reason="there is one network")
def test_another_network_gets_its_own_crf_and_missing_versions_are_named() -> None:
    other = next(name for name in list_checkpoints() if name != "deeplabv3")
    first, second = blocks(family.LESSON, ["deeplabv3", 1]), blocks(family.LESSON, [other, 1])
    assert pictures_of(first, "CRF, on the photo") != pictures_of(second, "CRF, on the photo")
    assert pictures_of(first, "versions") == pictures_of(second, "versions")
    said = [block["text"]["en"] for block in first if block["kind"] == "text"]
    missing = "".join(sentence for sentence in said if sentence.startswith("Not installed here"))
    for name, title in family.FAMILY.items():
        assert (title in missing) == (name not in list_checkpoints())


@needs_deeplabv3
def test_the_table_tells_the_output_stride_that_each_network_really_has() -> None:
    found = blocks(family.LESSON, ["deeplabv3", 0])
    known = [name for name in family.FAMILY if name in list_checkpoints()]
    strides = [load_predictor(name).network.backbone.strides[-1] for name in known]  # type: ignore[union-attr, index]
    assert [row[4] for row in table_of(found)] == [str(stride) for stride in strides]
    said = "".join(b["text"]["en"] for b in found if b["kind"] == "text" and "In the papers v1" in b["text"]["en"])
    coarser = any(stride > 8 for name, stride in zip(known, strides, strict=True) if name != "deeplabv3")
    assert bool(said) == coarser
    if coarser:
        rates = {name: load_card(card_path(name)).model_options for name in ("deeplabv1", "deeplabv2")}
        assert f"DeepLab v1 with {rates['deeplabv1']['atrous_rate']};" in said
        assert f"DeepLab v2 with {', '.join(map(str, rates['deeplabv2']['atrous_rates']))}." in said


@needs_deeplabv3
def test_rates_that_are_not_the_paper_s_are_explained() -> None:
    card = load_card(card_path("deeplabv3"))
    (note,) = aspp.rates_note(card)
    assert "this network has 4, 8, 12: it was trained on crops of 256." in note["text"]["en"]
    assert aspp.rates_note(replace(card, model_options={"atrous_rates": [6, 12, 18]})) == []
    assert note in blocks(atrous.LESSON, [4, 16])
    assert note in blocks(aspp.LESSON, [[0, 1, 2, 3, 4]])
