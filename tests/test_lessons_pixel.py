"""Lesson "One pixel": the same numbers as the tab "Segment", and controls that do something."""

from __future__ import annotations

import numpy as np
import pytest

from seg import list_checkpoints, load_predictor, read_image
from seg.ui import lab
from seg.ui.lessons import pixel
from seg.ui.photo import EXAMPLES

POINTS = [(0, 0), (200, 150), (450, 299), (97, 31)]


@pytest.mark.parametrize("name", list_checkpoints())
def test_the_likeliest_class_and_its_probability_are_what_the_tab_segment_shows(name: str) -> None:
    photo, predictor = read_image(EXAMPLES[0]), load_predictor(name)
    result = predictor.predict(photo)
    for x, y in POINTS:
        probabilities = pixel.probabilities_at(predictor, photo, (x, y))
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert probabilities.max() == pytest.approx(float(result.confidence[y, x]), abs=1e-3)
        close = np.sort(probabilities)[-2] > probabilities.max() - 1e-3
        assert close or probabilities.argmax() == result.label_map[y, x]


def test_every_control_and_the_point_change_the_answer() -> None:
    names = list_checkpoints()[:2]
    first = lab.ask(pixel.LESSON, EXAMPLES[0], "en", (0.5, 0.5), [names, "hide"])
    elsewhere = lab.ask(pixel.LESSON, EXAMPLES[0], "en", (0.02, 0.03), [names, "hide"])
    alone = lab.ask(pixel.LESSON, EXAMPLES[0], "en", (0.5, 0.5), [names[:1], "hide"])
    none = lab.ask(pixel.LESSON, EXAMPLES[0], "en", (0.5, 0.5), [[], "hide"])
    tables = [[b for b in value["blocks"] if b["kind"] == "table"] for value in (first, elsewhere, alone, none)]  # type: ignore[index]
    assert tables[0] != tables[1]
    assert [len(t[0]["rows"]) if t else 0 for t in tables] == [2, 2, 1, 0]
