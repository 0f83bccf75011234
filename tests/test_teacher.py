"""Learning from a teacher's soft labels, and the Lovász-Softmax loss."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import packaged_photo
from PIL import Image
from test_loop import SEVERAL_STEPS, PowerCut, assert_same_run, power_cut, stop_at, weights_of
from torch.nn import functional as F

from seg.classes import IGNORE_INDEX
from seg.transforms import Preprocess
from train.augment import Augment
from train.config import Recipe
from train.data import listed_pairs, voc_pairs
from train.loop import fit
from train.losses import distillation_sums, lovasz_softmax
from train.soft_labels import SoftLabels, TeacherFacts, write_soft_labels
from train.teacher import Teacher, teach

FACTS = TeacherFacts("Tiny teacher", "ab" * 32, side=129, scale=0.25, zero_point=36)
TEACHER = Path(__file__).resolve().parents[1].parent / "shared/data/teacher/deeplabv3_mnv2_pascal_quant.tflite"


@pytest.fixture
def soft_labels(voc: Path, tmp_path: Path) -> Path:
    """Random logits on a grid of 9 x 9 for the pictures of trainaug, 90 x 70 pixels."""
    names = [pair.image.stem for pair in voc_pairs(voc, "trainaug")]
    logits = np.random.default_rng(0).integers(0, 80, (len(names), 21, 9, 9), dtype=np.uint8)
    extent = np.tile(np.array([[100 / 129, 1]], np.float32), (len(names), 1))
    write_soft_labels(tmp_path / "soft.safetensors", names, logits, extent, FACTS)
    return tmp_path / "soft.safetensors"


def test_a_run_with_a_teacher_and_lovasz_goes_on_as_if_nothing_had_happened(
    recipe: Recipe, soft_labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(
        recipe, **SEVERAL_STEPS, teacher=str(soft_labels), teacher_weight=0.7, teacher_temperature=2.0,
        lovasz_weight=0.5, workers=1,
    )  # fmt: skip
    card = fit(recipe, tmp_path / "whole", resume=False, command="")
    with monkeypatch.context() as patch:
        stop_at(patch, 3, power_cut)
        with pytest.raises(PowerCut):
            fit(recipe, tmp_path / "killed", resume=False, command="")
    fit(recipe, tmp_path / "killed", resume=True, command="")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert card is not None
    assert card.training["teacher"] == {
        "title": "Tiny teacher", "sha256": "ab" * 32, "weight": 0.7, "temperature": 2.0,
    }  # fmt: skip
    alone = fit(replace(recipe, teacher="", lovasz_weight=0.0), tmp_path / "alone", resume=False, command="")
    assert "teacher" not in alone.training  # type: ignore[union-attr]
    assert not torch.equal(
        weights_of(tmp_path / "alone")["score8.weight"], weights_of(tmp_path / "whole")["score8.weight"]
    )
