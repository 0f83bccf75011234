"""What the tab "Scores" is told: figures from the cards and nowhere else, sentences that follow from them."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import tiny_card
from scored import SHAPES, metrics, scored_card

from seg.classes import VOC, ClassSet, voc_colours
from seg.ui import scores
from seg.ui.scores import FIGURES, confusion, confusion_sentences, facts, scores_value, sentences
from seg.ui.text import LANGUAGES
from seg.ui.times import RUNS, TimeHere, Times

PETS = ClassSet("pets", ("background", "cat", "dog", "cow"), ("背景", "猫", "狗", "牛"), voc_colours(4))


def pets(iou: list[float | None], per_mille: list[list[int]] | None = None, **changes: object):
    found = {"iou": dict(zip(PETS.names, iou, strict=True))}
    if per_mille:
        found["confusion_per_mille"] = per_mille
    return tiny_card(classes=PETS, metrics=found, **changes)


def only_network(card, language="en"):
    return scores_value([card], Times(), language)["groups"][0]["networks"][0]


def test_figures_are_the_cards_own():
    card = scored_card("guess", skill=0.7)
    network = only_network(card)
    for key in FIGURES:
        assert network[key] == card.metrics[key]
    assert network["interval"] == card.metrics["miou_interval"]
    assert network["iou"] == [card.metrics["iou"][name] for name in VOC.names]
    assert network["iou"][-1] is None  # the class that never occurs
    assert network["trimap"] == card.metrics["trimap"]["pixel_acc"]
    assert network["confusion"][-1] is None
    np.testing.assert_allclose(np.array(network["confusion"][:-1]).sum(axis=1), 1, atol=0.02)


def test_value_is_plain_json():
    value = scores_value([scored_card("guess", skill=0.7), tiny_card()], Times(), "zh")
    assert json.loads(json.dumps(value, allow_nan=False)) == value


def test_nothing_measured_is_none_and_said():
    network = only_network(tiny_card())
    for key in (*FIGURES, "interval", "iou", "confusion", "trimap", "parameters", "macs", "bytes", "seconds"):
        assert network[key] is None
    assert network["sentences"] == ["Tiny FCN has not been scored yet: its card has no figures per class."]
    assert network["mistakes"] == []


RUBBISH = {
    "miou": "0.7", "pixel_acc": float("nan"), "mean_acc": True, "fwiou": 7, "boundary_f": [], "miou_interval": [0.1],
    "iou": [0.1, 0.2], "trimap": 3, "confusion_per_mille": [[1, 2], [3, 4]],
}  # fmt: skip


@pytest.mark.parametrize("key", RUBBISH)
def test_rubbish_in_a_card_counts_as_not_measured(key):
    good = metrics(skill=0.7)
    network = only_network(tiny_card(metrics={**good, key: RUBBISH[key]}))
    shown = {"miou_interval": "interval", "confusion_per_mille": "confusion"}.get(key, key)
    assert network[shown] is None
    assert sum(network[key] is None for key in (*FIGURES, "interval", "iou", "confusion", "trimap")) == 1


@pytest.mark.parametrize("row", [[1, 2], "1000", None, [1000] + 19 * [0] + [-1], [1000] + 19 * [0] + ["x"]])
def test_a_broken_row_is_no_confusion_matrix(row):
    good = metrics(skill=0.7)["confusion_per_mille"]
    assert confusion(tiny_card(metrics={"confusion_per_mille": [row, *good[1:]]})) is None


def test_other_classes_stand_apart():
    cards = [tiny_card(name="a"), scored_card("b", skill=0.5, classes=SHAPES), tiny_card(name="c")]
    groups = scores_value(cards, Times(), "zh")["groups"]
    assert [[network["name"] for network in group["networks"]] for group in groups] == [["a", "c"], ["b"]]
    assert groups[1]["classes"] == list(SHAPES.names_zh)


def test_best_and_worst_leave_background_and_the_unmeasured_out():
    card = pets([0.99, 0.5, None, 0.2])
    assert sentences(card, "en") == ["Best at cat (0.50).", "Weakest at cow (0.20)."]
    assert sentences(card, "zh") == ["最擅长：猫（0.50）。", "最不擅长：牛（0.20）。"]


def test_best_and_worst_name_no_class_twice():
    best, worst = sentences(pets([0.9, 0.5, 0.4, 0.2]), "en")
    assert not set(re.findall(r"cat|dog|cow", best)) & set(re.findall(r"cat|dog|cow", worst))


def test_the_worst_class_is_missed():
    rows = [[1000, 0, 0, 0], [0, 1000, 0, 0], [0, 0, 1000, 0], [450, 180, 0, 370]]
    said = sentences(pets([0.9, 0.8, 0.7, 0.35], rows), "en")[-1]
    assert said == "It finds 37 % of the pixels that are cow; 45 % it calls background, 18 % it calls cat."


def test_the_worst_class_is_given_to_others_and_the_precision_is_right():
    counts = np.array([[700, 0, 0, 300], [0, 100, 0, 0], [0, 0, 100, 0], [20, 0, 0, 80]])
    hits = np.diag(counts)
    iou = hits / (counts.sum(0) + counts.sum(1) - hits)
    rows = (1000 * counts / counts.sum(1, keepdims=True)).round().astype(int).tolist()
    said = sentences(pets(iou.tolist(), rows), "en")[-1]
    precision = f"{100 * 80 / 380:.0f} %"  # counted, not derived from IoU
    assert said == f"It finds 80 % of the pixels that are cow, but only {precision} of what it calls cow is cow."


def test_a_class_never_found_is_no_division_by_zero():
    rows = [[1000, 0, 0, 0], [0, 1000, 0, 0], [0, 0, 1000, 0], [1000, 0, 0, 0]]
    assert sentences(pets([0.9, 0.8, 0.7, 0.0], rows), "en")[-1].startswith("It finds 0 % of the pixels that are cow")


def test_biggest_confusions():
    rows = [[900, 100, 0, 0], [300, 600, 100, 0], [0, 250, 750, 0], [0, 0, 0, 0]]
    card = pets([0.9, 0.8, 0.7, None], rows)
    assert confusion_sentences(card, "en") == [
        "Most often overlooked, called background: cat (30 %).",
        "Most often mixed up: dog called cat (25 %), cat called dog (10 %).",
    ]
    assert confusion_sentences(card, "zh")[1] == "最常混淆的：狗当成猫（25 %）、猫当成狗（10 %）。"
    assert confusion_sentences(pets([0.9, 0.8, 0.7, None]), "en") == []


@pytest.mark.parametrize("language", LANGUAGES.values())
def test_facts_leave_out_what_the_card_does_not_say(language):
    assert len(facts(tiny_card(), language)) == 1  # the licence
    training = {"data": "D", "pictures_seen": 13600, "encoder_init": "E"}
    rows = facts(tiny_card(training=training, metrics={"data": "M"}), language)
    assert [text for _, text in rows] == ["M", "D", "E", "13,600", "MIT"], (
        "pictures seen since the encoder started from E"
    )


# Time here


def test_time_is_never_invented():
    assert Times().of("tiny") is None


def test_time_is_the_median_of_what_was_served():
    times = Times()
    for seconds in (0.1, 9.0, 0.3):
        times.served(SimpleNamespace(checkpoint="tiny", seconds=seconds))
    assert times.of("tiny") == TimeHere(0.3, 3, False)
    assert times.of("other") is None


def test_measuring_shows_every_network_the_same_photo_and_leaves_the_first_run_out():
    shown: list[tuple[str, object]] = []
    now = [0.0]

    def network(name: str, first: float, later: float):
        def predict(photo: object) -> None:
            now[0] += later if (name, photo) in shown else first
            shown.append((name, photo))

        return predict

    times = Times()
    times.served(SimpleNamespace(checkpoint="a", seconds=100.0))
    times.measure({"a": network("a", 50.0, 1.0), "b": network("b", 60.0, 2.0)}, clock=lambda: now[0])
    assert times.of("a") == TimeHere(1.0, RUNS, True)
    assert times.of("b") == TimeHere(2.0, RUNS, True)
    assert len({id(photo) for _, photo in shown}) == 1


def test_times_reach_the_browser():
    times = Times()
    times.served(SimpleNamespace(checkpoint="tiny", seconds=0.25))
    network = scores_value([tiny_card()], times, "en")["groups"][0]["networks"][0]
    assert (network["seconds"], network["runs"], network["asked"]) == (0.25, 1, False)


@pytest.mark.parametrize(
    "points",
    [None, [], [{"step": 1, "loss": 1.0}], [{"step": 1, "loss": "x"}] * 2, [{"step": 1, "loss": -1.0}] * 2, "ab"],
)
def test_curves_that_cannot_be_drawn_are_left_out(points: object) -> None:
    assert scores.curves(tiny_card(training={"curves": points})) is None


def test_curves_come_from_the_card() -> None:
    points = [{"step": 20, "loss": 1.5, "miou": None}, {"step": 40, "loss": 0.5, "miou": 0.25}]
    assert scores.curves(tiny_card(training={"curves": points})) == points
