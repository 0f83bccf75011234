"""The measures against scikit-learn's, and what happens where a class never occurs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, jaccard_score

from seg.classes import IGNORE_INDEX, VOC, ClassSet, voc_colours
from seg.metrics import ConfusionMatrix


def random_pair(seed: int, num_classes: int, ignored: float) -> tuple[np.ndarray, np.ndarray]:
    """A target and a label map that agrees with it on about half of the pixels."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, num_classes, (41, 53)).astype(np.uint8)
    label_map = np.where(rng.random(target.shape) < 0.5, target, rng.integers(0, num_classes, target.shape))
    target[rng.random(target.shape) < ignored] = IGNORE_INDEX
    return target, label_map.astype(np.uint8)


@pytest.mark.parametrize("num_classes", [2, 5, 21])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_every_measure_equals_scikit_learns(num_classes: int, ignored: float) -> None:
    pairs = [random_pair(seed, num_classes, ignored) for seed in range(3)]
    confusion = ConfusionMatrix(num_classes)
    for target, label_map in pairs:
        confusion.update(target, label_map)

    truth = np.concatenate([target[target != IGNORE_INDEX] for target, _ in pairs])
    guess = np.concatenate([label_map[target != IGNORE_INDEX] for target, label_map in pairs])
    ids = list(range(num_classes))
    np.testing.assert_array_equal(confusion.counts, confusion_matrix(truth, guess, labels=ids))
    np.testing.assert_allclose(confusion.iou, jaccard_score(truth, guess, labels=ids, average=None))
    np.testing.assert_allclose(confusion.miou, jaccard_score(truth, guess, labels=ids, average="macro"))
    np.testing.assert_allclose(confusion.fwiou, jaccard_score(truth, guess, labels=ids, average="weighted"))
    np.testing.assert_allclose(confusion.pixel_acc, accuracy_score(truth, guess))
    np.testing.assert_allclose(confusion.mean_acc, balanced_accuracy_score(truth, guess))


def test_what_the_network_says_where_there_is_no_label_does_not_count() -> None:
    confusion = ConfusionMatrix(3)
    confusion.update(np.array([[0, 255, 255]]), np.array([[0, 1, 2]]))
    assert confusion.counts.sum() == 1
    assert confusion.miou == 1.0


def test_a_class_that_never_occurs_is_nan_and_left_out_of_the_mean() -> None:
    confusion = ConfusionMatrix(3)
    confusion.update(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 1, 0]]))
    np.testing.assert_allclose(confusion.iou, [2 / 3, 1 / 2, np.nan])
    assert confusion.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert confusion.mean_acc == pytest.approx((1 + 1 / 2) / 2)


def test_a_class_only_the_network_sees_counts_as_zero() -> None:
    confusion = ConfusionMatrix(3)
    confusion.update(np.array([[0, 0]]), np.array([[0, 2]]))
    np.testing.assert_allclose(confusion.iou, [0.5, np.nan, 0.0])
    assert confusion.miou == 0.25


def test_without_any_labelled_pixel_everything_is_nan() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(np.full((2, 2), IGNORE_INDEX), np.zeros((2, 2)))
    for value in (confusion.miou, confusion.pixel_acc, confusion.mean_acc, confusion.fwiou):
        assert np.isnan(value)


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"target is \(4, 5\), label map \(5, 4\); score at the target's own size"):
        ConfusionMatrix(2).update(np.zeros((4, 5)), np.zeros((5, 4)))


@pytest.mark.parametrize(("target", "label_map", "message"), [
    (3, 0, "target has id 3; ids of 3 classes are 0..2"),
    (0, 7, "label map has id 7"),
    (0, -1, "label map has id -1"),
    (0, IGNORE_INDEX, "label map has id 255"),
])  # fmt: skip
def test_impossible_ids_are_refused(target: int, label_map: int, message: str) -> None:
    confusion = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        confusion.update(np.array([[0, target]]), np.array([[0, label_map]]))
    assert confusion.counts.sum() == 0, "a refused picture must not count in part"


# Classes


def test_voc_has_its_21_names_and_colours() -> None:
    assert len(VOC) == 21
    assert VOC.names[0] == "background"
    assert (VOC.names[8], VOC.names[14], VOC.names[15]) == ("cat", "motorbike", "person")
    assert VOC.names_zh[8] == "猫"
    assert VOC.colours[:3] == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    assert VOC.colours[15] == (192, 128, 128)  # person, as the VOC development kit draws it
    assert len(set(voc_colours(256))) == 256


def test_colormap_cannot_be_changed_by_accident() -> None:
    assert VOC.colormap.shape == (256, 3)
    assert tuple(VOC.colormap[IGNORE_INDEX]) == (224, 224, 192)
    with pytest.raises(ValueError, match="read-only"):
        VOC.colormap[0] = 1


def test_class_set_survives_its_dictionary_and_fills_in_what_is_missing() -> None:
    assert ClassSet.from_dict(VOC.to_dict()) == VOC
    assert ClassSet.from_dict({"name": "two", "names": ["a", "b"]}).colours == ((0, 0, 0), (128, 0, 0))


@pytest.mark.parametrize(("names", "names_zh", "colours", "message"), [
    (("a",), ("a",), ((0, 0, 0),), "needs 2 to 255 classes, got 1"),
    (("a", "a"), ("a", "b"), ((0, 0, 0), (1, 1, 1)), "names a class twice"),
    (("a", "b"), ("a",), ((0, 0, 0), (1, 1, 1)), "1 Chinese names"),
    (("a", "b"), ("a", "b"), ((0, 0, 0), (1, 1, 256)), "colour of class 'b'"),
])  # fmt: skip
def test_impossible_class_sets_are_refused(
    names: tuple[str, ...], names_zh: tuple[str, ...], colours: tuple[tuple[int, int, int], ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ClassSet(name="set", names=names, names_zh=names_zh, colours=colours)
