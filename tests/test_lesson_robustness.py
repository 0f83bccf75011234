"""The lesson Robustness: agreement with the clean answer, and with a label where the lesson Ground truth has one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score

from seg import load_predictor, read_image
from seg.classes import VOC
from seg.explain.robustness import KINDS, disturb
from seg.render import to_indexed
from seg.ui import lab
from seg.ui.lessons import LESSONS, robustness, truth
from seg.ui.lessons.robustness import STEPS
from seg.ui.photo import EXAMPLES

CAT = EXAMPLES[0]
PLACE = LESSONS.index(robustness.LESSON)


def png(ids: np.ndarray) -> bytes:
    file = io.BytesIO()
    to_indexed(ids, VOC).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    return read_image(CAT)


@pytest.fixture(scope="module")
def label(cat: Image.Image) -> np.ndarray:
    ids = np.zeros((cat.height, cat.width), np.uint8)
    ids[40:, cat.width // 3 :] = 8
    return ids


def charts(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [block for block in blocks if block["kind"] == "chart"]


def ask(photo: Image.Image, given: dict[str, Any] | None) -> list[dict[str, Any]]:
    return robustness.answer(photo=photo, point=(0.5, 0.5), names=["unet"], kind="blur", strength=0.4, truth=given)


def test_the_curve_against_the_label_is_what_scikit_learn_counts(cat: Image.Image, label: np.ndarray) -> None:
    (_, _, scored) = charts(ask(cat, {"source": "file", "label": png(label), "painted": None}))
    assert scored["title"]["en"] == "mIoU against your label"
    (line,) = scored["lines"]
    for place in (0, 3):
        blurred = disturb(cat, "blur", STEPS[place]).photo
        found = load_predictor("unet").predict(blurred).label_map
        present = np.union1d(label, found)
        expected = jaccard_score(label.ravel(), found.ravel(), labels=present, average="macro")
        assert line["values"][place] == pytest.approx(expected)


@pytest.mark.parametrize("given", [None, {"source": "file", "label": b"no picture", "painted": None}])
def test_without_a_label_that_fits_there_is_no_such_curve(cat: Image.Image, given: dict[str, Any] | None) -> None:
    same, mious = charts(ask(cat, given))
    assert same["lines"][0]["values"][0] == 100
    assert mious["lines"][0]["values"][0] == 1


@pytest.mark.parametrize(
    "change",
    [
        *({"kind": kind} for kind in KINDS if kind != "blur"),
        {"strength": 0.5},
        {"names": ["fcn8s"]},
        {"names": ["unet", "fcn8s"]},
    ],
)
def test_every_control_changes_the_answer(photo: Image.Image, change: dict[str, Any]) -> None:
    first = {"names": ["unet"], "kind": "blur", "strength": 0.4}
    known, found = (
        robustness.answer(photo=photo, point=(0.5, 0.5), **values)  # type: ignore[arg-type]
        for values in (first, {**first, **change})
    )
    assert known[0] != found[0]
    assert (charts(known) != charts(found)) == ("strength" not in change)


def test_every_disturbance_can_be_chosen() -> None:
    (kinds,) = ([value for _, value in c.choices] for c in robustness.LESSON.controls if c.name == "kind")
    assert kinds == list(KINDS)


def test_the_label_comes_from_the_lesson_ground_truth(label: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "label.png").write_bytes(png(label))
    asker = lab._asker([None for _ in LESSONS])  # type: ignore[misc]

    def asked(given: str | None, asked_before: dict[str, Any]) -> list[Any]:
        values = []
        for lesson in LESSONS:
            values += [["unet"] if control.name == "names" else None for control in lesson.controls]
            values += [given if lesson is truth.LESSON and name == "label" else None
                       for name in (lesson.extra.inputs if lesson.extra else ())]  # fmt: skip
        return asker("en", CAT, "lab", robustness.LESSON.key, lab.CENTRE, asked_before, *values)

    *answers, before = asked(None, {})
    assert len(charts(answers[PLACE]["blocks"])) == 2
    *answers, before = asked(str(tmp_path / "label.png"), before)
    assert len(charts(answers[PLACE]["blocks"])) == 3
    *answers, _ = asked(str(tmp_path / "label.png"), before)
    assert "blocks" not in answers[PLACE]  # nothing is computed twice
