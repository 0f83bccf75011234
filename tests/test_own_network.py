"""A network trained on one's own classes: page, API and command line offer it as it is, with no change of code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_BACKBONE

from seg import list_checkpoints, load_predictor
from seg.__main__ import main
from seg.checkpoint import EXTRA_FOLDER_VARIABLE
from seg.ui import api, segment
from seg.ui.compare import comparable
from seg.ui.page import build
from train.config import load_recipe
from train.loop import fit
from train.shapes import SHAPES, write_shapes

RECIPES = Path(__file__).resolve().parent.parent / "train" / "recipes"


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A drawn picture, and in the folder that the variable names a network that learned such pictures a little."""
    root = tmp_path_factory.mktemp("own")
    write_shapes(root / "shapes", images=12, side=48)
    changes = ["steps=4", "batch_size=2", "crop_size=32", "scale=[40, 56]", "encoder_init=none", "workers=0"]
    changes += [f'model_options={{ backbone = "{TINY_BACKBONE}", fc_channels = 16 }}', f'data="{root / "shapes"}"']
    recipe = load_recipe(RECIPES / "shapes.toml", changes)
    fit(recipe, root / "checkpoints", resume=False, command="a test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(EXTRA_FOLDER_VARIABLE, str(root / "checkpoints"))
        yield root / "shapes" / "images" / "0000.jpg"


def test_it_stands_beside_the_others_with_classes_of_its_own(drawing: Path) -> None:
    assert list_checkpoints()[-1] == "shapes"
    predictor = load_predictor("shapes")
    assert predictor.card.classes == SHAPES
    result = predictor.predict(drawing)
    assert result.label_map.max() < len(SHAPES)
    assert set(result.class_areas) <= set(SHAPES.names)
    assert "shapes" not in [other.card.name for other in comparable()]  # its ids mean other things


def test_the_page_offers_it_and_draws_its_own_names_and_colours(drawing: Path) -> None:
    offered = [
        value
        for block in build().blocks.values()
        if getattr(block, "elem_id", None) == "network"
        for _, value in getattr(block, "choices", [])
    ]
    assert "shapes" in offered
    value = segment.segment(str(drawing), "shapes", "zh")
    assert [(c["en"], c["zh"], tuple(c["colour"])) for c in value["classes"]] == list(
        zip(SHAPES.names, SHAPES.names_zh, SHAPES.colours, strict=True)
    )


def test_the_api_answers_with_its_classes(drawing: Path) -> None:
    labels, _, facts = api.segment_photo(str(drawing), "shapes")
    assert facts["class_ids"] == {name: i for i, name in enumerate(SHAPES.names)}
    assert tuple(labels.getpalette()[3:6]) == SHAPES.colours[1]
    assert np.asarray(labels).max() < len(SHAPES)


def test_the_command_line_lists_and_uses_it(drawing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "shapes" in capsys.readouterr().out
    assert main(["predict", str(drawing), "--model", "shapes", "--out", str(tmp_path)]) == 0
    assert any("shapes" in file.name for file in tmp_path.iterdir())
