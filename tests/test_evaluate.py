"""`python -m train eval` on four drawn pictures: the predictor's own figures, views, CRF, pictures, cards."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_card, tiny_model
from PIL import Image, ImageDraw

from seg.card import load_card, save_card
from seg.classes import IGNORE_INDEX, VOC
from seg.explain.crf import dense_crf
from seg.metrics import BoundaryF, ConfusionMatrix, TrimapBands
from seg.predictor import Predictor
from train.__main__ import main
from train.data import Pair, voc_pairs
from train.evaluate import Protocol, predict_labels, report_dict, score, scores_dict, with_scores
from train.figures import chosen, write_figures


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC2012 folder whose val list names four pictures of 96 x 70 pixels: noise, and a disc with a border of 255."""
    root = tmp_path_factory.mktemp("data") / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(4):
        image = Image.fromarray(rng.integers(0, 255, (7, 9, 3), dtype=np.uint8)).resize((96, 70))
        label = Image.new("P", (96, 70))
        label.putpalette(VOC.colormap.tobytes())
        ImageDraw.Draw(label).ellipse((10 + 5 * i, 8, 50 + 5 * i, 60), fill=1 + i, outline=IGNORE_INDEX, width=2)
        image.save(root / "JPEGImages" / f"picture{i}.jpg", quality=95)
        label.save(root / "SegmentationClassAug" / f"picture{i}.png")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(f"picture{i}" for i in range(4)) + "\n")
    return root


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(tiny_model(), tiny_card())


def test_scores_are_those_of_the_predictor(voc: Path, predictor: Predictor) -> None:
    pairs = voc_pairs(voc, "val")
    scores = score(predictor, pairs)
    confusion, bands, boundary = ConfusionMatrix(21), TrimapBands(21), BoundaryF(21)
    for i, pair in enumerate(pairs):
        target, label_map = np.asarray(Image.open(pair.label)), predictor.predict(pair.image).label_map
        alone = ConfusionMatrix(21)
        for measure in (confusion, alone, bands, boundary):
            measure.update(target, label_map)
        assert scores.image_mious[i] == pytest.approx(alone.miou)
    np.testing.assert_array_equal(scores.confusion.counts, confusion.counts)
    np.testing.assert_array_equal(scores.bands.rings, bands.rings)
    np.testing.assert_array_equal(scores.boundary.per_class, boundary.per_class)
    np.testing.assert_array_equal(
        np.sum(scores.per_image, axis=0),
        [np.diag(confusion.counts), confusion.counts.sum(axis=1), confusion.counts.sum(axis=0)],
    )
    low, high = scores.miou_interval
    assert low <= high


def test_one_view_through_probabilities_is_the_predictor(voc: Path, predictor: Predictor) -> None:
    for pair in voc_pairs(voc, "val"):
        twice = predict_labels(predictor, pair, Protocol(scales=(1.0, 1.0)))
        assert (twice == predictor.predict(pair.image).label_map).mean() > 0.999  # rounding may break a tie


def test_with_flip_a_mirrored_photo_has_the_mirrored_label_map(predictor: Predictor, tmp_path: Path, voc: Path) -> None:
    pair = voc_pairs(voc, "val")[0]
    mirrored = tmp_path / "mirrored.png"
    Image.open(pair.image).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
    protocol = Protocol(scales=(0.75, 1.25), flip=True)
    label_map = predict_labels(predictor, pair, protocol)
    other = predict_labels(predictor, Pair(mirrored, pair.label), protocol)
    assert label_map.shape == (70, 96)
    assert (label_map == other[:, ::-1]).mean() > 0.99
    assert (label_map != predictor.predict(pair.image).label_map).any()


def test_views_are_averaged_as_probabilities(voc: Path, predictor: Predictor) -> None:
    pair = voc_pairs(voc, "val")[1]
    photo = Image.open(pair.image).convert("RGB")
    total = np.zeros((21, 70, 96))
    for scale in (0.5, 1.5):
        preprocess = type(predictor.card.preprocess)(short_side=round(64 * scale), long_side=round(128 * scale))
        x, _ = preprocess.apply(photo)
        logits = torch.nn.functional.interpolate(predictor.logits(x), (70, 96), mode="bilinear", align_corners=False)
        total += logits[0].softmax(dim=0).numpy()
    found = predict_labels(predictor, pair, Protocol(scales=(0.5, 1.5)))
    assert (found == total.argmax(axis=0)).mean() > 0.999


def test_the_crf_refines_the_probabilities_at_the_photos_size(voc: Path, predictor: Predictor) -> None:
    pair = voc_pairs(voc, "val")[0]
    photo = Image.open(pair.image).convert("RGB")
    x, geometry = predictor.card.preprocess.apply(photo)
    probabilities = predictor.card.preprocess.restore(predictor.logits(x), geometry).softmax(dim=0).numpy()
    refined = dense_crf(np.asarray(photo), probabilities)
    found = predict_labels(predictor, pair, Protocol(crf=True))
    np.testing.assert_array_equal(found, refined.argmax(axis=0))
    assert (found != predictor.predict(photo).label_map).any()


def test_protocols_have_names() -> None:
    assert Protocol().name == ""
    assert Protocol(crf=True).name == "CRF"
    assert Protocol((0.75, 1.0, 1.25), True, True).name == "scales 0.75 1 1.25 + flip + CRF"
    with pytest.raises(ValueError, match="scales must be numbers above 0"):
        Protocol(scales=(0.0, 1.0))


def test_labels_that_do_not_fit_are_named(predictor: Predictor, voc: Path, tmp_path: Path) -> None:
    pair = voc_pairs(voc, "val")[0]
    for ids, message in (
        (np.full((70, 96), 21, np.uint8), " has id 21"),
        (np.zeros((7, 9), np.uint8), r": target is \(7, 9\)"),
    ):
        Image.fromarray(ids).save(tmp_path / "bad.png")
        with pytest.raises(ValueError, match=rf"bad\.png{message}"):
            score(predictor, [Pair(pair.image, tmp_path / "bad.png")])
    with pytest.raises(ValueError, match="there is no image to score"):
        score(predictor, [])


def test_figures_show_best_worst_and_some_between(voc: Path, predictor: Predictor, tmp_path: Path) -> None:
    pairs = voc_pairs(voc, "val")
    scores = score(predictor, pairs)
    files = write_figures(tmp_path / "new" / "figures", predictor, pairs, scores, Protocol(), each=1)
    order = np.argsort(-scores.image_mious, kind="stable")
    assert [file.name for file in files[:2]] == [
        f"tiny-best1-picture{order[0]}.png", f"tiny-worst1-picture{order[3]}.png"
    ]  # fmt: skip
    assert len(files) == 3
    for file in files:
        picture = np.asarray(Image.open(file))
        assert picture.shape[1] == 1500
        cream = (picture[100:400, 520:980] > 150).all(axis=2)  # red and black are the other colours there
        assert 0.005 < cream.mean() < 0.1, "the label with its unlabelled border stands in the middle"


def test_images_are_chosen_once_and_never_without_a_figure() -> None:
    mious = np.linspace(0, 1, 41)
    mious[7] = np.nan
    names, indices = zip(*chosen(mious, 3), strict=True)
    assert names == ("best1", "best2", "best3", "worst1", "worst2", "worst3", "even1", "even2", "even3")
    assert indices[:6] == (40, 39, 38, 0, 1, 2)
    np.testing.assert_allclose(indices[6:], [32, 20, 9], atol=2)
    for n in range(12):
        indices = tuple(index for _, index in chosen(np.linspace(0, 1, n), 3))
        assert len(set(indices)) == len(indices) == min(n, 9)


def eval_command(monkeypatch: pytest.MonkeyPatch, voc: Path, *options: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "eval", "--data", str(voc), *map(str, options)])
    main()


def test_the_command_writes_card_and_json(
    voc: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for file in tiny_checkpoint.glob("tiny.*"):
        shutil.copy(file, tmp_path)
    card_file, json_file = tmp_path / "tiny.json", tmp_path / "all.txt"
    monkeypatch.setattr("train.__main__.write_figures", partial(write_figures, each=1))  # drawing is slow
    eval_command(monkeypatch, voc, card_file, "--write", "--json", json_file, "--figures", tmp_path / "figures")
    printed = capsys.readouterr().out
    metrics = load_card(card_file).metrics
    assert f"miou       {metrics['miou']:.4f}" in printed
    assert metrics["data"] == "VOC 2012 val, 4 of 1,449 images"
    assert metrics["miou_interval"][0] <= metrics["miou_interval"][1]
    assert len(metrics["trimap"]["miou"]) == len(metrics["trimap"]["pixel_acc"]) == 20
    rows = np.array(metrics["confusion_per_mille"]).sum(axis=1)
    assert ((rows == 0) | (abs(rows - 1000) <= 10)).all()
    assert set(metrics["boundary_f_by_class"]) == set(metrics["iou"]) == set(VOC.names)
    assert len(list((tmp_path / "figures").glob("*.png"))) == 3

    report = json.loads(json_file.read_text())["tiny"]
    counts = ConfusionMatrix.of_counts(np.array(report["confusion"]))
    assert round(counts.miou, 4) == report["miou"] == metrics["miou"]
    assert list(report["miou_by_image"]) == [f"picture{i}" for i in range(4)]

    size = card_file.stat().st_size
    eval_command(monkeypatch, voc, card_file, "--write", "--flip", "--limit", 2)
    both = load_card(card_file).metrics
    assert both.pop("with")["flip"]["images"] == 2
    assert both == metrics
    assert size < 12_000, "cards stay small"


def test_two_checkpoints_of_one_name_do_not_mix_their_reports(
    voc: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "other")
    both = (tiny_checkpoint / "tiny.json", tmp_path / "other" / "tiny.json")
    for option in ("--json", "--figures"):
        with pytest.raises(SystemExit, match="two checkpoints have one name"):
            eval_command(monkeypatch, voc, *both, option, tmp_path / "out")


def test_images_of_one_name_in_two_folders_both_have_a_figure(voc: Path, predictor: Predictor, tmp_path: Path) -> None:
    pairs = []
    for folder, pair in zip("ab", voc_pairs(voc, "val"), strict=False):
        (tmp_path / folder).mkdir()
        pairs.append(Pair(Path(shutil.copy(pair.image, tmp_path / folder / "0001.jpg")), pair.label))
    report = report_dict(score(predictor, pairs), VOC.names)
    assert list(report["miou_by_image"]) == [pair.image.as_posix() for pair in pairs]


def test_a_card_keeps_what_the_predictor_gives_apart_from_what_more_gives(voc: Path, predictor: Predictor) -> None:
    pairs = voc_pairs(voc, "val")
    plain = scores_dict(score(predictor, pairs), VOC.names)
    first = with_scores({"miou": 0.1}, plain, Protocol())
    assert first == plain
    more = with_scores(first, {**plain, "miou": 0.9}, Protocol(crf=True))
    assert (more["miou"], more["with"]["CRF"]["miou"]) == (plain["miou"], 0.9)
    assert "confusion_per_mille" not in more["with"]["CRF"]
    assert with_scores(more, plain, Protocol())["with"] == more["with"]
    before = {"plain": {"miou": 0.2, "training": "labels alone"}, "miou": 0.1}
    assert with_scores(before, plain, Protocol()) == {**plain, "plain": before["plain"]}
    json.dumps(report_dict(score(predictor, pairs), VOC.names), allow_nan=False)


def test_lists_of_numbers_take_one_line_in_a_card_and_words_stay(tmp_path: Path) -> None:
    words = ("a list [\n1,\n 2\n] in words", "[1, 2]")
    numbers = [[1, -2.5, 1e-07], [], [3]]
    weights = {"file": "f", "sha256": "0", "dtype": "d", "bytes": 1}
    card = tiny_card(metrics={"x": numbers, "none": [None, 0.5]}, known_failures=words, weights=weights)
    save_card(card, tmp_path / "tiny.json")
    assert load_card(tmp_path / "tiny.json") == card
    lines = (tmp_path / "tiny.json").read_text("utf-8").splitlines()
    assert "   [1, -2.5, 1e-07]," in lines
