"""The Segmentation contract, on a small checkpoint that was really saved and loaded."""

from __future__ import annotations

import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_model
from PIL import Image

import seg
from seg import InvalidImageError, Predictor, Segmentation, load_predictor
from seg.checkpoint import load_checkpoint
from seg.predictor import PreparedPhoto


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint: Path) -> Predictor:
    return load_predictor(tiny_checkpoint / "tiny.json")


@pytest.fixture(scope="module")
def result(predictor: Predictor, photo: Image.Image) -> Segmentation:
    return predictor.predict(photo)


def same(first: Segmentation, second: Segmentation) -> bool:
    return np.array_equal(first.label_map, second.label_map) and np.array_equal(first.confidence, second.confidence)


def test_the_public_names_are_there() -> None:
    assert set(seg.__all__) >= {"InvalidImageError", "list_checkpoints", "load_predictor", "read_image"}
    for name in seg.__all__:
        assert getattr(seg, name) is not None


def test_the_answer_has_the_promised_shapes_and_ranges(result: Segmentation, photo: Image.Image) -> None:
    assert result.label_map.shape == result.confidence.shape == (photo.height, photo.width)
    assert result.label_map.dtype == np.uint8
    assert result.confidence.dtype == np.float32
    assert result.label_map.max() < len(result.class_set) == 21
    assert len(np.unique(result.label_map)) > 1, "a picture of one class would make these tests blind"
    assert result.confidence.min() >= 1 / 21 - 1e-6  # the winner of 21 has at least this
    assert result.confidence.max() <= 1
    assert result.checkpoint == "tiny"
    assert 0 < result.network_seconds < result.seconds
    assert result.network_size == (64, 96)


def test_class_areas_add_up_and_come_largest_first(result: Segmentation) -> None:
    areas = result.class_areas
    assert sum(areas.values()) == pytest.approx(1)
    assert list(areas.values()) == sorted(areas.values(), reverse=True)
    assert set(areas) == {result.class_set.names[i] for i in np.unique(result.label_map)}
    name = next(iter(areas))
    assert areas[name] == pytest.approx((result.label_map == result.class_set.names.index(name)).mean())


def test_the_answer_cannot_be_changed(result: Segmentation) -> None:
    with pytest.raises(FrozenInstanceError):
        result.checkpoint = "other"  # type: ignore[misc]


def test_the_answer_equals_the_unfolded_network_by_hand(
    tiny_checkpoint: Path, result: Segmentation, photo: Image.Image
) -> None:
    model, card = load_checkpoint(tiny_checkpoint / "tiny.json")
    x, geometry = card.preprocess.apply(photo)
    with torch.inference_mode():
        probability = card.preprocess.restore(model(x), geometry).softmax(dim=0)
    assert (probability.argmax(dim=0).numpy() == result.label_map).mean() > 0.999
    np.testing.assert_allclose(result.confidence, probability.amax(dim=0).numpy(), atol=1e-3)


def test_path_text_bytes_picture_and_array_give_the_same(
    predictor: Predictor, result: Segmentation, photo: Image.Image, tmp_path: Path
) -> None:
    file = tmp_path / "photo.png"
    photo.save(file)
    for way in (file, str(file), file.read_bytes(), photo, np.asarray(photo)):
        assert same(predictor.predict(way), result), type(way)


def test_a_photo_the_camera_turned_gives_an_upright_map(
    predictor: Predictor, result: Segmentation, photo: Image.Image
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn clockwise to see it upright"
    buffer = io.BytesIO()
    photo.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    assert same(predictor.predict(buffer.getvalue()), result)


@pytest.mark.parametrize("size", [(8, 8), (9, 150), (37, 53), (160, 8)])
def test_small_and_odd_photos_keep_their_size(predictor: Predictor, size: tuple[int, int]) -> None:
    assert predictor.predict(Image.new("RGB", size)).label_map.shape == (size[1], size[0])


def test_a_bad_photo_does_not_spoil_the_next(predictor: Predictor, result: Segmentation, photo: Image.Image) -> None:
    with pytest.raises(InvalidImageError):
        predictor.predict(b"no picture")
    assert same(predictor.predict(photo), result)


def test_many_people_at_once_get_their_own_answers(predictor: Predictor, photo: Image.Image) -> None:
    photos = [photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), photo.resize((97, 61)), photo.convert("L")]
    alone = [predictor.predict(one) for one in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(predictor.predict, photos * 4))
    for index, answer in enumerate(together):
        assert same(answer, alone[index % 4])


def test_the_predictor_keeps_its_own_network(tiny_checkpoint: Path, photo: Image.Image) -> None:
    model, card = load_checkpoint(tiny_checkpoint / "tiny.json")
    predictor = Predictor(model, card)
    before = predictor.predict(photo)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert same(predictor.predict(photo), before)


def test_a_checkpoint_is_loaded_once(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "once"))
    loads = []

    def counting(path: Path) -> object:
        loads.append(path)
        return load_checkpoint(path)

    monkeypatch.setattr("seg.predictor.load_checkpoint", counting)
    monkeypatch.setenv("SEGLAB_CHECKPOINTS", str(folder))
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(load_predictor, ["tiny", "tiny", str(folder / "tiny.json"), folder / "tiny.json"]))
    assert len(found) == len(loads) == 1


# One photo for several networks


def test_a_prepared_photo_gives_every_network_s_own_answer(tiny_checkpoint: Path, photo: Image.Image) -> None:
    model, card = load_checkpoint(tiny_checkpoint / "tiny.json")
    other = replace(card, preprocess=replace(card.preprocess, short_side=96))
    predictors = [Predictor(model, card), Predictor(tiny_model(1), card), Predictor(model, other)]
    prepared = PreparedPhoto(photo)
    before = prepared.input_for(card.preprocess)[0].clone()
    for crf in (False, True):
        for predictor in predictors:
            assert same(predictor.predict(prepared, crf=crf), predictor.predict(photo, crf=crf))
    assert torch.equal(prepared.input_for(card.preprocess)[0], before)
    assert prepared.input_for(card.preprocess)[0] is prepared.input_for(replace(card.preprocess))[0]


# Sharpened with the CRF


def test_the_crf_moves_borders_and_keeps_every_promise(predictor: Predictor, photo: Image.Image) -> None:
    plain, sharp = predictor.predict(photo), predictor.predict(photo, crf=True)
    assert sharp.label_map.shape == plain.label_map.shape
    assert 0 < (sharp.label_map != plain.label_map).mean() < 0.5
    assert sharp.confidence.dtype == np.float32
    assert sharp.confidence.min() >= 0
    assert sharp.confidence.max() <= 1
    assert sharp.network_size == plain.network_size


def test_the_crf_sees_a_large_photo_small(
    predictor: Predictor, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(image: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        seen.append((image.shape[:2], probabilities.shape))
        return probabilities

    monkeypatch.setattr("seg.predictor.dense_crf", watched)
    large = photo.resize((2000, 1300))
    sharp = predictor.predict(large, crf=True)
    assert seen == [((325, 500), (21, 325, 500))]
    assert sharp.label_map.shape == (1300, 2000)
    assert (sharp.label_map == predictor.predict(large).label_map).mean() > 0.98, "only resized twice"


def test_a_network_loaded_in_inference_mode_still_lets_gradients_through(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for file in tiny_checkpoint.glob("tiny.*"):
        shutil.copy(file, tmp_path)  # another path: not loaded yet
    with torch.inference_mode():
        network = load_predictor(tmp_path / "tiny.json").network
    x = torch.randn(1, 3, 64, 64, requires_grad=True)
    network(x).sum().backward()
    assert x.grad is not None
