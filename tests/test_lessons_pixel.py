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


@pytest.mark.parametrize("name", list_checkpoints())
def test_the_heat_map_is_about_the_class_that_the_table_names(name: str) -> None:
    """Also where the network's own pixel below the point says another: next to an outline."""
    photo, predictor = read_image(EXAMPLES[0]), load_predictor(name)
    x, _ = predictor.card.preprocess.apply(photo)
    coarse = predictor.logits(x)[0].argmax(dim=0).numpy()
    fine = predictor.predict(photo).label_map
    (h, w), (height, width) = coarse.shape, fine.shape
    below = coarse[np.ix_(np.arange(height) * h // height, np.arange(width) * w // width)]
    rows, columns = np.nonzero(below != fine)
    assert len(rows), "the photo has no such place"
    differs = []
    for i in range(0, len(rows), max(1, len(rows) // 3)):
        at = int(columns[i]), int(rows[i])
        found, shown = pixel.field_at(predictor, photo, at), pixel.probabilities_at(predictor, photo, at)
        np.testing.assert_allclose(pixel._softmax(found.scores), shown, atol=1e-3)
        assert np.sort(shown)[-2] > shown.max() - 2e-3 or found.class_id == shown.argmax()
        differs.append(found.class_id != below[at[1], at[0]])
    assert any(differs)


def test_every_control_and_the_point_change_the_answer() -> None:
    names = list_checkpoints()[:2]
    first = lab.ask(pixel.LESSON, EXAMPLES[0], "en", (0.5, 0.5), {"names": names, "field": "hide"})
    elsewhere = lab.ask(pixel.LESSON, EXAMPLES[0], "en", (0.02, 0.03), {"names": names, "field": "hide"})
    alone = lab.ask(pixel.LESSON, EXAMPLES[0], "en", (0.5, 0.5), {"names": names[:1], "field": "hide"})
    none = lab.ask(pixel.LESSON, EXAMPLES[0], "en", (0.5, 0.5), {"names": [], "field": "hide"})
    tables = [[b for b in value["blocks"] if b["kind"] == "table"] for value in (first, elsewhere, alone, none)]  # type: ignore[index]
    assert tables[0] != tables[1]
    shown = lab.ask(pixel.LESSON, EXAMPLES[0], "en", (0.5, 0.5), {"names": names, "field": "show"})
    assert first is not None
    assert shown is not None
    assert len(shown["blocks"]) > len(first["blocks"])
    assert [len(t[0]["rows"]) if t else 0 for t in tables] == [2, 2, 1, 0]
