"""The quiz: an order nobody can read before the reveal, and a score that counts once."""

from __future__ import annotations

import copy
import json
from collections import Counter
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from seg import Predictor, load_predictor
from seg.explain.shape import shape_of
from seg.ui.lessons import quiz
from seg.ui.photo import EXAMPLES, fingerprint, open_photo

POINT = (0.5, 0.5)


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    return open_photo(EXAMPLES[0], "en")


def done(now: dict[str, Any], photo: Image.Image) -> dict[str, Any]:
    return {**now, "photo": fingerprint(photo), "guesses": quiz.contestants(), "reason": "thin"}


def test_every_order_occurs_and_a_round_keeps_its_own() -> None:
    orders = Counter(tuple(quiz.order_of(quiz.new_round()["secret"], "photo")) for _ in range(300))
    assert len(orders) == 6
    assert min(orders.values()) > 15
    secret = quiz.new_round()["secret"]
    assert quiz.order_of(secret, "photo") == quiz.order_of(secret, "photo")
    assert len({tuple(quiz.order_of(secret, f"photo {i}")) for i in range(50)}) == 6


def test_nothing_names_a_network_before_the_reveal(cat: Image.Image) -> None:
    now = quiz.new_round()
    said = json.dumps(quiz.answer(photo=cat, point=POINT, round=now))
    after = json.dumps(quiz.answer(photo=cat, point=POINT, round=done(now, cat)))
    for name in quiz.contestants():
        title = quiz.load_title(name)
        assert name not in said
        assert title not in said
        assert title in after
    assert now["secret"] not in after


def test_what_was_revealed_of_one_photo_says_nothing_about_the_next(cat: Image.Image) -> None:
    astronaut = open_photo(EXAMPLES[1], "en")
    now = done(quiz.new_round(), cat)
    assert len(quiz.answer(photo=astronaut, point=POINT, round=now)) == 1


@torch.inference_mode()
def test_the_reveal_takes_away_what_each_network_alone_has(cat: Image.Image) -> None:
    """The other way: weights that make the part silent, in a copy."""
    blocks = quiz.answer(photo=cat, point=POINT, round=done(quiz.new_round(), cat))
    items = next(b["items"] for b in blocks if b["kind"] == "pictures" and "its own" in str(b["title"]))
    shown = {item["title"]: item["note"]["en"] for item in items}
    for name, missing in (("fcn8s", "its skips"), ("unet", "the skips at strides 2 and 4"),
                          ("deeplabv3", "image pooling")):  # fmt: skip
        predictor = load_predictor(name)
        network: Any = copy.deepcopy(predictor.network)
        if name == "fcn8s":
            for score in (network.score16, network.score8):
                score.weight.zero_()
                score.bias.zero_()
        elif name == "unet":
            for place, channels in ((2, network.encoder.channels[1]), (3, network.encoder.channels[0])):
                network.decoder[place].conv[0].weight[:, :channels] = 0
        else:
            network.aspp.project[0][0].weight[:, -256:] = 0
        changed = Predictor(network, predictor.card).predict(cat).label_map != predictor.predict(cat).label_map
        said = shown[predictor.card.title]
        share = float(said.split(": ")[1].split(" %")[0].strip("< "))
        assert said.startswith(f"without {missing}: ")
        assert share == pytest.approx(100 * changed.mean(), abs=0.11)
        assert changed.any()


def test_a_score_counts_each_photo_of_a_round_once(cat: Image.Image) -> None:
    now = quiz.new_round()
    order = quiz.order_of(now["secret"], fingerprint(cat))
    checked, score = quiz.hand_in(EXAMPLES[0], "en", now, None, *order, "thin")
    assert score == {"right": 3, "rounds": 1}
    swapped = [order[1], order[0], order[2]]
    assert quiz.hand_in(EXAMPLES[0], "en", checked, score, *swapped, "thin") == (checked, score)
    _, score = quiz.hand_in(EXAMPLES[0], "en", {**now, "photo": None}, score, *swapped, "guess")
    assert score == {"right": 4, "rounds": 2}


@pytest.mark.parametrize(
    "answers", [(None, None, None, "thin"), ("fcn8s", "fcn8s", "unet", "thin"), ("unet", "fcn8s", "deeplabv3", None)]
)
def test_an_incomplete_answer_is_refused_and_not_counted(answers: tuple[Any, ...]) -> None:
    with pytest.raises(gr.Error, match="Choose another network"):
        quiz.hand_in(EXAMPLES[0], "en", quiz.new_round(), None, *answers)


@pytest.mark.parametrize(
    "nonsense", [None, "x", {}, *({"right": right, "rounds": 1} for right in (4, -1, True, 1.0, "1", None))]
)
def test_a_score_from_a_browser_may_be_nonsense(nonsense: Any) -> None:
    assert quiz.counted(nonsense) == quiz.NO_SCORE


def test_fewer_than_three_networks_are_said(cat: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiz, "default_networks", lambda: ["fcn8s", "unet"])
    (block,) = quiz.answer(photo=cat, point=POINT, round=quiz.new_round())
    assert block["text"] == quiz.FEW


def test_masks_without_a_difference_make_no_quiz() -> None:
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    (block,) = quiz.answer(photo=grey, point=POINT, round=quiz.new_round())
    assert block["kind"] == "text"
    assert "exactly the same" in block["text"]["en"]


def test_a_reason_holds_only_where_the_count_says_so() -> None:
    plain, dotted = Image.new("L", (60, 60)), Image.new("L", (60, 60))
    plain.paste(8, (10, 10, 50, 50))
    for x in range(5, 60, 10):
        dotted.paste(8, (x, 5, x + 4, 9))
    lined = plain.copy()
    lined.paste(8, (0, 30, 60, 31))  # one pixel wide, far out on both sides
    shapes = [shape_of(np.asarray(picture)) for picture in (plain, dotted, plain)]
    assert "fits two best" in quiz.about_reason("pieces", ["one", "two", "three"], shapes)["en"]
    assert "fits two best" in quiz.about_reason("outline", ["one", "two", "three"], shapes)["en"]
    assert "no single network" in quiz.about_reason("holes", ["one", "two", "three"], shapes)["en"]
    assert "no single network" in quiz.about_reason("smooth", ["one", "two", "three"], shapes)["en"]
    shapes = [shape_of(np.asarray(picture)) for picture in (plain, plain, lined)]
    assert "fits three best" in quiz.about_reason("thin", ["one", "two", "three"], shapes)["en"]
    guessed = quiz.about_reason("guess", [], [])
    assert (guessed["en"][:12], guessed["zh"][:4]) == ("You guessed.", "你是猜的")
