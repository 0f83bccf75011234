"""The lesson on U-Net's skips: every control counts, and its figures against changed networks and scikit-learn."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import jaccard_score

from seg import Predictor, load_predictor
from seg.classes import IGNORE_INDEX, VOC
from seg.explain.unet import unet_logits
from seg.render import share_text, to_indexed
from seg.ui.lessons import skips, truth

FIRST = {control.name: control.settings["value"] for control in skips.LESSON.controls}
KEPT = dict.fromkeys(FIRST, "keep")


def ask(photo: Image.Image, **values: Any) -> list[dict[str, Any]]:
    return skips.answer(photo=photo, point=(0.5, 0.5), **{**FIRST, **values})


def table_of(blocks: list[dict[str, Any]], title: str) -> list[list[Any]]:
    return next(block["rows"] for block in blocks if block["kind"] == "table" and block["title"]["en"] == title)


def changed_labels(photo: Image.Image, treatments: list[Any]) -> np.ndarray:
    """By the probe, which has tests of its own."""
    predictor = load_predictor("unet")
    with torch.inference_mode():
        x, geometry = predictor.card.preprocess.apply(photo)
        logits = unet_logits(predictor.network, x, treatments)  # type: ignore[arg-type]
        return predictor.card.preprocess.restore_labels(logits, geometry)[0]


def test_every_control_changes_the_answer(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skips, "_unetpp", lambda *_: [])  # the same whatever is chosen
    chosen = [{name: "zero"} for name in FIRST] + [{"s16": "shuffle"}]
    answers = {ask(photo, **{**KEPT, **change})[0]["items"][1]["src"] for change in chosen}
    intact = ask(photo, **KEPT)
    assert "nothing changes" in intact[1]["text"]["en"]
    assert intact[0]["items"][0]["src"] == intact[0]["items"][1]["src"] not in answers
    assert len(answers) == len(chosen)


def test_each_skip_alone_is_about_a_network_without_weights_on_it(photo: Image.Image) -> None:
    """The other way: not the skip is emptied, but what the network makes of it."""
    predictor = load_predictor("unet")
    intact = predictor.predict(photo).label_map
    rows = table_of(ask(photo), "Pixels that change their label")
    assert [row[0]["en"] for row in rows] == [f"stride {stride}" for stride in (16, 8, 4, 2)]
    for place, (_, emptied, shuffled) in enumerate(rows):
        network = copy.deepcopy(predictor.network)
        with torch.inference_mode():
            network.decoder[place].conv[0].weight[:, : network.encoder.channels[3 - place]] = 0  # type: ignore[index, union-attr]
        share = float((Predictor(network, predictor.card).predict(photo).label_map != intact).mean())
        assert emptied["bar"] == pytest.approx(share, abs=1e-3)
        other = changed_labels(photo, ["shuffle" if i == place else "keep" for i in range(4)])
        assert shuffled["bar"] == pytest.approx(float((other != intact).mean()), abs=1e-3)
    assert len({row[1]["bar"] for row in rows}) == len({row[2]["bar"] for row in rows}) == 4


def test_the_agreement_of_two_answers_is_what_scikit_learn_counts() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 5, (2, 40, 50), dtype=np.uint8)
    found = skips.agreement_iou(first, second, 7)
    np.testing.assert_allclose(found[:5], jaccard_score(first.ravel(), second.ravel(), average=None))
    assert np.isnan(found[5:]).all()


def test_with_a_label_both_answers_are_scored_as_in_the_lesson_ground_truth(photo: Image.Image) -> None:
    predictor = load_predictor("unet")
    ids = np.roll(predictor.predict(photo).label_map, 3, axis=1)
    ids[:20] = IGNORE_INDEX
    file = io.BytesIO()
    to_indexed(ids, VOC).save(file, "PNG")
    given = {"source": "file", "label": file.getvalue(), "painted": None}
    intact, now = table_of(ask(photo, truth=given), "Against your label")
    counted = ids != IGNORE_INDEX
    treated = changed_labels(photo, [FIRST[f"s{stride}"] for stride in (16, 8, 4, 2)])
    for row, labels in ((intact, predictor.predict(photo).label_map), (now, treated)):
        present = np.union1d(ids[counted], labels[counted])
        expected = jaccard_score(ids[counted], labels[counted], labels=present, average="macro")
        assert row[1]["bar"] == pytest.approx(expected)
    scored = truth.answer(
        photo=photo, point=(0.5, 0.5), names=["unet"], source="file", skips=False, label=file.getvalue()
    )
    shown = {row[0]["en"]: row[1] for row in table_of(scored, "Scores on this photo")[-3:]}
    assert intact[1:] == [shown["mean (mIoU)"], shown["boundary F"]]
    assert now[1:] != intact[1:]


@pytest.mark.parametrize("given", [None, {"source": "file", "label": b"no picture", "painted": None}])
def test_without_a_label_there_is_no_score(photo: Image.Image, given: dict[str, Any] | None) -> None:
    blocks = ask(photo, truth=given)
    assert not any(block["kind"] == "table" and block["title"]["en"] == "Against your label" for block in blocks)
    assert any(block["kind"] == "text" and block["text"] == skips.NO_LABEL for block in blocks)


def test_shares_of_the_photo_are_counted(photo: Image.Image) -> None:
    ids = load_predictor("unet").predict(photo).label_map
    shown = {row[0]["text"]["en"]: row[1] for row in table_of(ask(photo), "Share of the photo")}
    for i in np.unique(ids):
        assert shown[VOC.names[i]] == share_text(float((ids == i).mean()))
