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
SHARED = Path(__file__).resolve().parents[2] / "shared"
TEACHER = SHARED / "data/teacher/deeplabv3_mnv2_pascal_quant.tflite"


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
        lovasz_weight=0.5, cutmix=0.5, workers=1,
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


def test_soft_labels_land_on_the_pixels_they_are_about(recipe: Recipe, tmp_path: Path) -> None:
    """Channels of the grid tell row and column; so does the picture, whose colours go through the augmentation too."""
    width, height, side, g = 200, 120, 129, 9
    ramp = np.linspace(0, 160, g).round().astype(np.uint8)
    rows, columns = np.meshgrid(ramp, ramp, indexing="ij")
    extent = np.array([[77 / side, 1]], np.float32)  # 129 x 77 pixels of the square
    facts = replace(FACTS, scale=1.0, zero_point=0)
    write_soft_labels(tmp_path / "soft.safetensors", ["a"], np.stack([rows, columns])[None], extent, facts)
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    image = np.stack([y, x, np.full_like(x, 255)], axis=-1).astype(np.uint8)
    recipe = replace(recipe, crop_size=96, scale=(60, 240), brightness=0.0, contrast=0.0, saturation=0.0)
    augment = Augment(recipe, replace(Preprocess(), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    teacher = SoftLabels(tmp_path / "soft.safetensors")
    outside = flipped = 0
    for seed in range(12):
        torch.manual_seed(seed)
        pixels, target, positions = augment.with_positions(Image.fromarray(image), Image.new("L", (width, height), 1))
        torch.manual_seed(seed)
        plain = augment(Image.fromarray(image), Image.new("L", (width, height), 1))
        assert torch.equal(plain[0], pixels)
        assert torch.equal(plain[1], target)
        soft, inside = teacher.at("a", positions, (height, width))
        assert torch.equal(inside, target[2::4, 2::4] != IGNORE_INDEX)
        shown = 255 * pixels[:2, 2::4, 2::4]  # row and column in the photo
        place = (shown + 0.5) * torch.tensor([77 / height, side / width])[:, None, None] - 0.5  # in the square
        expected = place.clamp(0, side - 1) / (side - 1) * 160
        # The nearest pixel lies within one of the photo, which is at most 0.65 of the square, 0.8 of the ramp.
        assert (soft.float() - expected)[:, inside].abs().max() < 1.5
        assert (soft[:, ~inside] == 0).all()
        outside += int((~inside).sum())
        middle = positions[1, 48][positions[1, 48] >= 0]
        flipped += bool(middle[0] > middle[-1])
    assert outside > 0
    assert 0 < flipped < 12


def test_a_soft_label_file_travels_to_another_process_and_says_what_it_lacks(soft_labels: Path) -> None:
    teacher = SoftLabels(soft_labels)
    names = list(teacher.index)
    before = teacher.logits(names[2])
    assert torch.equal(pickle.loads(pickle.dumps(teacher)).logits(names[2]), before)
    expected = (np.random.default_rng(0).integers(0, 80, (len(names), 21, 9, 9), dtype=np.uint8)[2] - 36.0) / 4
    np.testing.assert_allclose(before.numpy(), expected)
    teacher.check(names, num_classes=21)
    with pytest.raises(ValueError, match="lacks 1 pictures of the training list, for example nobody; make it"):
        teacher.check([*names, "nobody"], num_classes=21)
    with pytest.raises(ValueError, match="knows 21 classes, the recipe has 3"):
        teacher.check(names, num_classes=3)
    with pytest.raises(FileNotFoundError, match="train teach"):
        SoftLabels(soft_labels.with_name("none.safetensors"))
    soft_labels.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no soft labels"):
        SoftLabels(soft_labels)


@pytest.mark.parametrize("stored", ["channels first", "channels last"])
def test_logits_are_read_as_they_were_written_however_they_lay(tmp_path: Path, stored: str) -> None:
    logits = np.arange(3 * 2 * 4 * 4, dtype=np.uint8).reshape(3, 2, 4, 4)
    given = (
        logits
        if stored == "channels first"
        else np.ascontiguousarray(logits.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    )
    write_soft_labels(tmp_path / "soft", ["a", "b", "c"], given, np.ones((3, 2), np.float32), FACTS)
    np.testing.assert_array_equal(SoftLabels(tmp_path / "soft").logits("b").numpy(), (logits[1] - 36.0) / 4)


def test_the_teachers_loss_is_the_sum_of_divergences_at_counted_positions() -> None:
    torch.manual_seed(0)
    logits, soft = torch.randn(2, 5, 16, 12), torch.randn(2, 5, 4, 3)
    counted = torch.rand(2, 4, 3) > 0.4
    expected = 0.0
    for n, i, j in itertools.product(range(2), range(4), range(3)):
        if counted[n, i, j]:
            p = np.exp(soft[n, :, i, j].double().numpy() / 3)
            q = np.exp(logits[n, :, 2 + 4 * i, 2 + 4 * j].double().numpy() / 3)
            p, q = p / p.sum(), q / q.sum()
            expected += 9 * float((p * np.log(p / q)).sum())
    total, number = distillation_sums(logits, soft, counted, temperature=3.0)
    assert total.item() == pytest.approx(expected, rel=1e-4)
    assert number == counted.sum()
    same, _ = distillation_sums(F.interpolate(soft, scale_factor=4), soft, counted, temperature=3.0)
    assert same.item() == pytest.approx(0, abs=1e-5)


def test_lovasz_softmax_is_the_lovasz_extension_of_the_jaccard_loss() -> None:
    """The integral over thresholds t of the Jaccard loss if the pixels with an error above t are wrong."""
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 8, 12, dtype=torch.float64)
    target = torch.randint(0, 3, (2, 8, 12))  # class 3 is not there
    target[0, 2, 2] = IGNORE_INDEX
    ids = target[:, 2::4, 2::4].flatten()
    chances = logits.softmax(dim=1)[:, :, 2::4, 2::4].movedim(1, -1).reshape(-1, 4)[ids != IGNORE_INDEX].numpy()
    ids = ids[ids != IGNORE_INDEX].numpy()
    losses = []
    for k in sorted(set(ids)):
        errors = np.where(ids == k, 1 - chances[:, k], chances[:, k])
        ends = np.unique([0.0, *errors])
        loss = 0.0
        for low, high in itertools.pairwise(ends):
            wrong = errors > low
            said = (ids == k) ^ wrong
            loss += (high - low) * (1 - (said & (ids == k)).sum() / (said | (ids == k)).sum())
        losses.append(loss)
    assert lovasz_softmax(logits, target).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_lovasz_softmax_is_nothing_for_a_certain_right_answer_and_for_no_labels() -> None:
    target = torch.randint(0, 3, (2, 16, 16))
    certain = 100 * F.one_hot(target, 3).movedim(-1, 1).float()
    assert lovasz_softmax(certain, target).item() == pytest.approx(0, abs=1e-6)
    assert lovasz_softmax(-certain, target).item() > 0.5
    unlabelled = lovasz_softmax(certain.requires_grad_(), torch.full_like(target, IGNORE_INDEX))
    unlabelled.backward()
    assert unlabelled.item() == 0


@pytest.mark.parametrize(
    "change",
    [
        {"teacher_weight": 1.1},
        {"teacher_weight": -0.1},
        {"cutmix": 1.5},
        {"teacher_temperature": 0.0},
        {"lovasz_weight": -1.0},
    ],
)
def test_weights_out_of_range_are_named(recipe: Recipe, change: dict[str, float]) -> None:
    (key,) = change
    with pytest.raises(ValueError, match=f"recipe key '{key}'"):
        replace(recipe, **change)  # type: ignore[arg-type]


def test_the_real_teacher_knows_a_cat(voc: Path, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    if not TEACHER.is_file():
        pytest.skip(f"no {TEACHER}")
    with Image.open(packaged_photo("chelsea.png")) as opened:
        photo = opened.convert("RGB")
    teacher = Teacher(TEACHER, threads=1)
    logits, size = teacher.logits(photo)
    assert logits.shape == (21, 33, 33)
    assert size == (round(513 * photo.height / photo.width), 513)
    assert logits.argmax(axis=0)[10, 16] == 8
    pairs = listed_pairs(voc, "val")
    labels = SoftLabels(teach(TEACHER, pairs, tmp_path, title="Cat", threads=1))
    assert labels.shape == (2, 21, 33, 33)
    assert labels.facts.title == "Cat"
    stored = (teacher.logits(Image.open(pairs[1].image))[0] - float(labels.facts.zero_point)) * labels.facts.scale
    np.testing.assert_allclose(labels.logits(pairs[1].image.stem).numpy(), stored, rtol=1e-4)
