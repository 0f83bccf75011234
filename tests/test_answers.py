"""Answers kept for a while: for the same visitor and question, within bounds, and for nobody else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gradio.context import LocalContext
from PIL import Image

from seg import Segmentation, list_checkpoints, load_predictor, read_image
from seg.classes import VOC
from seg.transforms import Preprocess
from seg.ui import answers, compare, device
from seg.ui.answers import MOST_BYTES, MOST_SECONDS, Kept, kept
from seg.ui.photo import EXAMPLES, SharedPhoto
from seg.ui.times import Times


def answer(pixels: int = 100) -> Segmentation:
    shape = (1, pixels)
    return Segmentation(np.zeros(shape, np.uint8), np.zeros(shape, np.float32), VOC, "tiny", 0.1, 0.1, (32, 32))


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_KEPT", Kept())


class Visitor:
    """Asks as one session of the page; `asked` counts how often the network had to work."""

    def __init__(self, session: str | None) -> None:
        self.request = SimpleNamespace(session_hash=session) if session else None
        self.asked = 0

    def ask(self, photo: Image.Image, question: Any = ("unet", False)) -> Segmentation:
        def make() -> Segmentation:
            self.asked += 1
            return answer()

        token = LocalContext.request.set(self.request)  # type: ignore[arg-type]
        try:
            return kept(SharedPhoto(photo), question, make)
        finally:
            LocalContext.request.reset(token)


def test_the_same_question_is_answered_once(photo):
    visitor = Visitor("a")
    assert visitor.ask(photo) is visitor.ask(photo.copy())
    assert visitor.asked == 1
    visitor.ask(photo, ("fcn8s", False))
    visitor.ask(photo, ("unet", True))
    visitor.ask(photo.rotate(1))
    assert visitor.asked == 4


def test_a_photo_is_one_visitor_s_and_an_example_everybody_s(photo):
    first, second = Visitor("a"), Visitor("b")
    assert first.ask(photo) is not second.ask(photo)
    assert (first.asked, second.asked) == (1, 1)
    example = read_image(EXAMPLES[0])
    assert first.ask(example) is second.ask(example)


def test_networks_that_are_compared_share_the_work_on_the_photo(photo, monkeypatch: pytest.MonkeyPatch):
    """The fingerprint is taken once, and what networks see is made once: all cards here ask for the same."""
    done = []
    monkeypatch.setattr(device, "TIMES", Times())
    monkeypatch.setattr("seg.ui.photo.fingerprint", lambda _: done.append("fingerprint") or "a photo")
    apply = Preprocess.apply
    monkeypatch.setattr(Preprocess, "apply", lambda *values: done.append("apply") or apply(*values))
    found = compare.answers(photo, [device.Network(name) for name in list_checkpoints()[:2]])
    assert sorted(done) == ["apply", "fingerprint"]
    monkeypatch.undo()
    for result, card in found:
        np.testing.assert_array_equal(result.label_map, load_predictor(card.name).predict(photo).label_map)


def test_an_answer_from_memory_is_no_time_of_the_network(monkeypatch: pytest.MonkeyPatch):
    times, example = Times(), read_image(EXAMPLES[0])
    monkeypatch.setattr(device, "TIMES", times)
    monkeypatch.setattr(device, "_predict", lambda *_: answer())
    network = device.Network(list_checkpoints()[0])
    assert network.predict(example) is network.predict(example)
    network.predict(example, crf=True)  # slower for another reason
    took = times.of("tiny")
    assert took is not None
    assert took.runs == 1


def test_without_a_visitor_nothing_is_kept(photo):
    nobody = Visitor(None)
    nobody.ask(photo)
    nobody.ask(photo)
    assert nobody.asked == 2
    assert not len(answers._KEPT)


def test_old_answers_are_forgotten():
    now = [0.0]
    store = Kept(clock=lambda: now[0])
    first = store.get("a", answer)
    now[0] = MOST_SECONDS
    assert store.get("a", answer) is first
    now[0] += 1
    store.forget_old()
    assert not len(store)


def test_memory_is_bounded_and_the_newest_stay():
    store = Kept()
    pixels = MOST_BYTES // 5 // 4  # five bytes a pixel: room for four
    first = store.get(0, lambda: answer(pixels))
    for key in range(1, 4):
        store.get(key, lambda: answer(pixels))
    assert store.get(0, answer) is first  # and is the newest now
    store.get(4, lambda: answer(pixels))
    assert len(store) == 4
    assert store.get(0, answer) is first
    store.get("too large", lambda: answer(6 * pixels))
    assert len(store) == 4
