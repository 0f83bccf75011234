"""The trainer on six drawn pictures: recipes, data, augmentation, loss and scores. Runs are in test_loop.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_BACKBONE, tiny_card, tiny_model
from PIL import Image

from seg.checkpoint import load_checkpoint
from seg.classes import IGNORE_INDEX, VOC
from seg.models import build_model
from seg.predictor import Predictor
from seg.transforms import Preprocess
from train.augment import Augment, cutmix
from train.config import Recipe, load_recipe
from train.data import BadPairsError, DrawnSamples, Pair, balanced_weights, check_pairs, voc_pairs
from train.encoder import encoder_of, init_encoder, keep_in_float32
from train.evaluate import evaluate, metrics_dict
from train.losses import segmentation_loss
from train.state import new_run

# Recipes


@pytest.mark.parametrize("file", sorted((Path(__file__).parent.parent / "train" / "recipes").glob("*.toml")), ids=str)
def test_every_recipe_of_the_repository_builds_its_network(file: Path) -> None:
    recipe = load_recipe(file)
    assert recipe.name == file.stem
    run = new_run(replace(recipe, classes="voc"), begin=False)  # knows every layer of freeze and aux_layers
    assert len(run.model.classifiers) == len(recipe.aux_layers)
    for start in (recipe.init, recipe.encoder_init):
        assert start in ("", "imagenet", "none") or (file.parents[2] / start).is_file(), start


def recipe_file(folder: Path, text: str) -> Path:
    file = folder / "recipe.toml"
    file.write_text(text, "utf-8")
    return file


GOOD = 'name = "a"\ntitle = "A"\nmodel = "unet"\n'


def test_overrides_are_toml_or_a_bare_word(tmp_path: Path) -> None:
    overrides = ["steps=7", "head_lr = 0.5", "scale=[100, 200]", "data=/some/where", "name=b", "encoder_lr=1"]
    recipe = load_recipe(recipe_file(tmp_path, GOOD), overrides)
    assert (recipe.steps, recipe.head_lr, recipe.scale) == (7, 0.5, (100, 200))
    assert (recipe.data, recipe.name, recipe.model) == ("/some/where", "b", "unet")


def test_one_option_of_the_network_can_be_changed(tmp_path: Path) -> None:
    text = GOOD + 'model_options = { backbone = "resnet18", fc_channels = 8 }\n'
    recipe = load_recipe(recipe_file(tmp_path, text), ["model_options.fc_channels=16"])
    assert recipe.model_options == {"backbone": "resnet18", "fc_channels": 16}


@pytest.mark.parametrize(("text", "override", "message"), [
    (GOOD + "stepz = 3\n", "", r"recipe\.toml: unknown key stepz; known: .*steps"),
    ('name = "a"\n', "", r"missing key model, title"),
    ("name = \n", "", r"recipe\.toml is not TOML"),
    (GOOD, "steps", "--set takes key=value, got 'steps'"),
    (GOOD, "steps=many", "recipe key 'steps' takes int, got 'many'"),
    (GOOD, "steps=1.5", "recipe key 'steps' takes int"),
    (GOOD, "steps=true", "recipe key 'steps' takes int"),
    (GOOD, "steps=0", "recipe key 'steps' must be at least 1, got 0"),
    (GOOD, "head_lr=fast", "recipe key 'head_lr' takes float"),
    (GOOD, "batch_size=1", "recipe key 'batch_size' must be at least 2"),
    (GOOD, "crop_size=8", "recipe key 'crop_size' must be at least 32"),
    (GOOD, "scale=[200, 100]", "two short sides, 32 <= low < high"),
    (GOOD, "scale=200", "recipe key 'scale' takes"),
    (GOOD, "mixed_precision=fp8", "takes 'auto', 'bf16' or 'no', got 'fp8'"),
    (GOOD, "optimizer=lamb", "takes 'sgd' or 'adamw', got 'lamb'"),
    (GOOD, "schedule=step", "takes 'poly' or 'onecycle', got 'step'"),
    (GOOD, "ema_decay=1.0", r"recipe key 'ema_decay' takes 0 \(no average\) to below 1, got 1.0"),
    (GOOD, "model_options=[1]", "recipe key 'model_options' takes dict"),
])  # fmt: skip
def test_mistakes_in_a_recipe_are_named(tmp_path: Path, text: str, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe(recipe_file(tmp_path, text), [override] if override else [])


# Data


def test_missing_pictures_and_lists_are_named(voc: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no list .*test\.txt; set `data` .* --data of `eval`"):
        voc_pairs(voc, "test")
    lists = voc / "ImageSets" / "Segmentation"
    (lists / "ghost.txt").write_text("picture0\nghost\n")
    with pytest.raises(BadPairsError, match=r"1 of 2 pairs cannot be used; (.|\n)*there is no .*ghost\.jpg"):
        check_pairs(voc_pairs(voc, "ghost"))
    (lists / "nothing.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"nothing\.txt names no pictures"):
        voc_pairs(voc, "nothing")


def test_pictures_and_labels_of_different_size_are_named(voc: Path, tmp_path: Path) -> None:
    Image.new("P", (5, 5)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match=r"picture0\.jpg is 90 x 70 pixels, its label .*small\.png is 5 x 5"):
        Pair(voc / "JPEGImages" / "picture0.jpg", tmp_path / "small.png").load()


def test_a_label_with_an_unknown_id_is_named(voc: Path, tmp_path: Path) -> None:
    present = check_pairs(voc_pairs(voc, "trainaug"))
    assert present.shape == (4, 21)
    np.testing.assert_array_equal(np.flatnonzero(present[1]), [0, 2])  # its border of 255 is no class
    Image.fromarray(np.array([[0, 21]], np.uint8)).save(tmp_path / "bad.png")
    with pytest.raises(ValueError, match=r"bad\.png has id 21; there are 21 classes"):
        check_pairs([Pair(voc / "JPEGImages" / "picture0.jpg", tmp_path / "bad.png")])


def test_pictures_of_rare_classes_are_drawn_more_often() -> None:
    present = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0]], bool)
    np.testing.assert_allclose(balanced_weights(present, 0), 1 / 5)
    rarity = 1 / np.array([3, 3, 3, 1, 5])
    np.testing.assert_allclose(balanced_weights(present, 1), rarity / rarity.sum())
    np.testing.assert_allclose(balanced_weights(present, 0.5), np.sqrt(rarity) / np.sqrt(rarity).sum())


def drawn(voc: Path, recipe: Recipe, start: int, stop: int) -> DrawnSamples:
    pairs = voc_pairs(voc, "trainaug")
    augment = Augment(recipe, Preprocess())
    return DrawnSamples(pairs, np.full(len(pairs), 1 / len(pairs)), augment, start=start, stop=stop, seed=3)


def test_a_sample_depends_on_its_position_alone(voc: Path, recipe: Recipe) -> None:
    whole, rest = drawn(voc, recipe, 0, 12), drawn(voc, recipe, 7, 20)
    assert (len(whole), len(rest)) == (12, 13)
    torch.manual_seed(99)  # what else happens must not matter
    state = torch.get_rng_state()
    for position in (11, 7, 9):
        x, target = whole[position]
        again, same_target = rest[position - 7]
        assert torch.equal(x, again)
        assert torch.equal(target, same_target)
    assert torch.equal(torch.get_rng_state(), state), "drawing must not disturb the training's own random numbers"
    assert not torch.equal(whole[0][0], whole[1][0])


# Augmentation


@pytest.mark.parametrize("side", [64, 50])
def test_cutmix_pastes_the_neighbour_with_all_that_is_said_about_it(side: int) -> None:
    numbers = torch.arange(40)
    coarse = len(range(2, side, 4))
    batch = [
        numbers.float().view(-1, 1, 1, 1).expand(-1, 3, side, side),
        numbers.view(-1, 1, 1).expand(-1, side, side),
        numbers.half().view(-1, 1, 1, 1).expand(-1, 5, coarse, coarse),
        (numbers % 2 == 0).view(-1, 1, 1).expand(-1, coarse, coarse),
    ]
    torch.manual_seed(0)
    x, target, soft, counted = cutmix(batch, 1.0)
    pasted = target == (numbers.view(-1, 1, 1) - 1) % 40
    assert (pasted | (target == numbers.view(-1, 1, 1))).all()
    assert (x == target[:, None]).all()
    assert (soft == target[:, None, 2::4, 2::4]).all()
    assert (counted == (target[:, 2::4, 2::4] % 2 == 0)).all()
    shares = pasted.float().mean(dim=(1, 2))
    assert 0.15 < shares.min() < shares.max() < 0.6
    for picture in pasted.float():  # a rectangle, and nothing but
        assert torch.equal(picture, torch.outer(picture.amax(dim=1), picture.amax(dim=0)))
    assert len({tuple(picture.flatten().tolist()) for picture in pasted.float()}) > 30
    some, _ = cutmix(batch[:2], 0.3)
    assert 2 < (some != batch[0]).flatten(1).any(dim=1).sum() < 25
    for own, kept in zip(batch, cutmix(batch, 0.0), strict=True):
        assert torch.equal(own, kept)


@pytest.mark.parametrize("seed", range(12))
def test_augmentation_moves_picture_and_label_together(recipe: Recipe, seed: int) -> None:
    # Four quarters with an id each; red tells the id. Whatever is cut, flipped or scaled, they must still agree.
    ids = np.kron(np.array([[1, 2], [3, 4]], np.uint8), np.ones((35, 45), np.uint8))
    image = Image.fromarray(np.stack([ids * 50, ids * 0, ids * 0], axis=2))
    augment = Augment(replace(recipe, brightness=0.0, contrast=0.0, saturation=0.0), Preprocess())
    torch.manual_seed(seed)
    x, target = augment(image, Image.fromarray(ids))
    assert (x.shape, x.dtype) == ((3, 64, 64), torch.float32)
    assert (target.shape, target.dtype) == ((64, 64), torch.int64)
    assert set(target.unique().tolist()) <= {1, 2, 3, 4, IGNORE_INDEX}

    told = ((x[0] * 0.5 + 0.5) * 255 / 50).round().long()
    labelled = target != IGNORE_INDEX
    assert labelled.float().mean() > 0.3
    assert (told == target)[labelled].float().mean() > 0.9  # they part only where resizing mixed two quarters
    inner = labelled & (torch.nn.functional.max_pool2d(target[None].float(), 5, 1, 2)[0] == target)
    inner &= -torch.nn.functional.max_pool2d(-target[None].float(), 5, 1, 2)[0] == target
    assert inner.any()
    assert (told == target)[inner].all()


def test_where_there_is_no_picture_there_is_no_label(recipe: Recipe) -> None:
    white, label = Image.new("RGB", (200, 60), "white"), Image.new("L", (200, 60), 7)
    augment = Augment(replace(recipe, crop_size=128, scale=(60, 61), brightness=0.0, contrast=0.0), Preprocess())
    x, target = augment(white, label)
    outside = target == IGNORE_INDEX
    assert 60 * 128 == (~outside).sum() == (target == 7).sum()
    assert (x[:, ~outside] > 0.9).all()
    assert x[:, outside].abs().max() < 0.01  # mid-grey: zero for the network


def test_colours_change_and_labels_do_not(recipe: Recipe) -> None:
    augment = Augment(replace(recipe, scale=(64, 65)), Preprocess())
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        x, target = augment(Image.new("RGB", (64, 64), (90, 90, 90)), Image.new("L", (64, 64), 7))
        seen.add(round(float(x.mean()), 3))
        assert (target == 7).all()
    assert len(seen) > 3


# Loss, encoder, precision


def test_loss_leaves_out_what_has_no_label() -> None:
    logits, target = torch.randn(2, 5, 6, 7), torch.randint(0, 5, (2, 6, 7))
    target[0] = IGNORE_INDEX
    probability = logits[1].softmax(dim=0).gather(0, target[1][None])
    torch.testing.assert_close(segmentation_loss(logits, target), -probability.log().mean())


def test_a_batch_without_any_label_gives_no_gradient_instead_of_nan() -> None:
    logits = torch.randn(1, 5, 6, 7, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 6, 7), IGNORE_INDEX))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()  # type: ignore[union-attr]


def test_the_encoder_of_another_checkpoint_is_taken_over(tiny_checkpoint: Path) -> None:
    model = build_model("deeplabv3", num_classes=21, backbone=TINY_BACKBONE)
    told = init_encoder(model, str(tiny_checkpoint / "tiny.json"), TINY_BACKBONE)
    assert "the encoder of tiny" in told
    donor, _ = load_checkpoint(tiny_checkpoint / "tiny.json")
    for ours, theirs in zip(encoder_of(model).parameters(), encoder_of(donor).parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="has another encoder than 'resnet18'"):
        init_encoder(build_model("unet", num_classes=21, backbone="resnet18"), str(tiny_checkpoint / "tiny.json"),
                     "resnet18")  # fmt: skip


def test_depthwise_convolutions_stay_in_float32() -> None:
    model, x = tiny_model(), torch.randn(1, 3, 64, 64)
    before = model(x)
    kinds: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    keep_in_float32(model)
    torch.testing.assert_close(model(x), before)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            inner, depthwise = module._conv_forward, module.groups > 1

            def spy(y, weight, bias, inner=inner, depthwise=depthwise):  # type: ignore[no-untyped-def]
                out = inner(y, weight, bias)
                kinds[depthwise].add(out.dtype)
                return out

            module._conv_forward = spy  # type: ignore[method-assign]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(x)
    assert kinds == {True: {torch.float32}, False: {torch.bfloat16}}


# Scores


def test_evaluation_counts_what_the_predictor_says(voc: Path) -> None:
    predictor = Predictor(tiny_model(), tiny_card())
    pairs = voc_pairs(voc, "val")
    confusion = evaluate(predictor, pairs)
    counts = np.zeros((21, 21), int)
    for pair in pairs:
        target = np.asarray(Image.open(pair.label))
        label_map = predictor.predict(pair.image).label_map
        for truth, guess in zip(target[target != 255], label_map[target != 255], strict=True):
            counts[truth, guess] += 1
    np.testing.assert_array_equal(confusion.counts, counts)

    metrics = metrics_dict(confusion, VOC.names)
    assert metrics["pixel_acc"] == pytest.approx(np.trace(counts) / counts.sum(), abs=1e-4)
    seen = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    assert [name for name, iou in metrics["iou"].items() if iou is not None] == [
        name for name, occurs in zip(VOC.names, seen, strict=True) if occurs
    ]  # type: ignore[attr-defined]
