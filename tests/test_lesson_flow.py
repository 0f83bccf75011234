"""The lesson on data flow: its strips lead to the stages they show."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import tiny_card
from page_server import ROOT

from seg import list_checkpoints, load_predictor
from seg.checkpoint import save_checkpoint
from seg.classes import VOC
from seg.explain.flow import stage_names
from seg.image import read_image
from seg.models import build_model
from seg.ui import lab
from seg.ui.lessons import flow
from seg.ui.networks import default_networks
from seg.ui.photo import EXAMPLES

MOST = flow.LESSON.controls[1].settings["maximum"]


@pytest.fixture(scope="module")
def photo() -> Any:
    return read_image(EXAMPLES[0])


def strips_of(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [block for block in blocks if block["kind"] == "strip"]


def test_every_box_leads_to_its_own_stage(photo: Any) -> None:
    point = lab.CENTRE
    shown = strips_of(flow.answer(photo=photo, point=point, network="fcn8s", stage=3))
    assert [strip["boxes"][0]["values"]["network"] for strip in shown] == default_networks()
    for strip in shown:
        last = strip["boxes"][-1]
        assert list(last["values"].values()) == list(flow.LESSON.checked(list(last["values"].values())).values())
        blocks = flow.answer(photo=photo, point=point, **last["values"])
        chosen = [box["words"] for other in strips_of(blocks) for box in other["boxes"] if box["chosen"]]
        assert chosen == [last["words"]]
        assert any(f"Stage {len(strip['boxes'])}," in str(block.get("title")) for block in blocks)


def test_boxes_shrink_with_the_encoder_and_grow_to_the_photo_with_u_net(photo: Any) -> None:
    blocks = strips_of(flow.answer(photo=photo, point=lab.CENTRE, network="deeplabv2", stage=1))
    assert len(blocks) == len(default_networks()) + 1, "the chosen network joins the three"
    heights = {strip["boxes"][0]["values"]["network"]: [box["height"] for box in strip["boxes"]] for strip in blocks}
    boxes = [box for strip in blocks for box in strip["boxes"]]
    widths = [box["width"] for box in boxes]
    by_channels: dict[str, set[float]] = {}
    for box in boxes:
        by_channels.setdefault(box["words"]["en"].split(", ")[-2], set()).add(box["width"])
    assert all(len(same) == 1 for same in by_channels.values()), "as many channels are as wide in every strip"
    assert max(widths) == 1
    assert heights["unet"][-1] == 1
    assert min(heights["unet"]) < min(heights["deeplabv3"]), "DeepLab stops shrinking at its output stride"
    assert all(0 < share <= 1 for share in [*widths, *(h for row in heights.values() for h in row)])


def test_the_slider_ends_at_the_longest_strip_and_beyond_a_shorter_one_that_is_said(photo: Any) -> None:
    assert max(len(stage_names(load_predictor(name).network)) for name in list_checkpoints()) == MOST
    beyond, last = (flow.answer(photo=photo, point=lab.CENTRE, network="fcn8s", stage=n) for n in (MOST, 15))
    said = [block for block in beyond if block not in last]
    assert [block["text"]["en"] for block in said] == ["This network has only 15 stages; the last one is shown."]


def test_a_box_says_what_the_table_says(photo: Any) -> None:
    blocks = flow.answer(photo=photo, point=lab.CENTRE, network="deeplabv3", stage=1)
    (boxes,) = (strip["boxes"] for strip in strips_of(blocks) if strip["boxes"][0]["chosen"])
    (rows,) = (block["rows"] for block in blocks if block["kind"] == "table")
    for box, (_, words, _, positions, stride, channels, _, _) in zip(boxes, rows, strict=True):
        for language, said in (("en", "{} positions, stride {}, {} channels"), ("zh", "{} 个位置，步幅 {}，{} 个通道")):
            assert words[language] in box["words"][language]
            assert said.format(positions, stride.removeprefix("1/"), channels) in box["words"][language]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"network": "unet", "stage": 5}, {"network": "unet", "stage": 5}),
        ({"network": "../etc", "stage": 10**400}, {"network": "fcn8s", "stage": MOST}),
        ({"stage": "7"}, {"stage": 3}),
        ({"photo": "x"}, {}),
    ],
)
def test_controls_take_from_a_box_only_what_they_offer(sent: dict[str, Any], expected: dict[str, Any]) -> None:
    desk: Any = SimpleNamespace(lesson=flow.LESSON, controls=[control.name for control in flow.LESSON.controls])
    updates = lab._chooser(desk)(SimpleNamespace(**sent))  # type: ignore[arg-type]
    assert {name: update["value"] for name, update in updates.items()} == expected


def test_somebodys_own_network_of_another_kind_has_no_strip_and_leaves_the_others_theirs(
    photo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"base_channels": 2}
    own = build_model("unet_classic", num_classes=len(VOC), **options)
    save_checkpoint(own, tiny_card(name="own", model="unet_classic", model_options=options), tmp_path)
    monkeypatch.setenv("SEGLAB_CHECKPOINTS", f"{tmp_path}:{ROOT / 'checkpoints'}")
    monkeypatch.setattr(flow, "default_networks", lambda: ["own", "fcn8s"])
    shown = strips_of(flow.answer(photo=photo, point=lab.CENTRE, network="fcn8s", stage=1))
    assert [strip["boxes"][0]["values"]["network"] for strip in shown] == ["fcn8s"]
