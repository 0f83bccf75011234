"""The measures against scikit-learn's, scipy's and scikit-image's, and what happens where a class never occurs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from skimage.draw import disk
from skimage.segmentation import find_boundaries
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, jaccard_score

from seg.classes import IGNORE_INDEX, VOC, ClassSet, voc_colours
from seg.metrics import BoundaryF, ConfusionMatrix, TrimapBands, distance_to, miou_interval


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


# Borders


def blobs(seed: int, *, strip: bool) -> tuple[np.ndarray, np.ndarray]:
    """A target of four discs, with an unlabelled strip around them if asked for, and a label map a little off."""
    rng = np.random.default_rng(seed)
    target, label_map = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    for class_id in (1, 2, 3, 1):
        row, column, radius = rng.integers(10, 50), rng.integers(10, 70), rng.integers(5, 14)
        target[disk((row, column), radius, shape=target.shape)] = class_id
        label_map[disk((row + rng.integers(-4, 5), column + 2), radius + 1, shape=target.shape)] = class_id
    if strip:
        target[find_boundaries(target, mode="thick")] = IGNORE_INDEX
    return target, label_map


@pytest.mark.parametrize("limit", [1, 6, 40, 500])
def test_distances_equal_scipys(limit: int) -> None:
    seeds = np.random.default_rng(limit).random((37, 53)) < 0.004
    seeds[5, 7] = True
    expected = np.minimum(distance_transform_edt(~seeds), limit)
    np.testing.assert_allclose(distance_to(seeds, limit), expected, rtol=1e-6)
    assert (distance_to(np.zeros((4, 5), bool), limit) == limit).all()


@pytest.mark.parametrize("strip", [False, True])
def test_a_band_holds_the_labelled_pixels_near_a_border(strip: bool) -> None:
    bands = TrimapBands(4, widths=8)
    pairs = [blobs(seed, strip=strip) for seed in range(3)]
    for target, label_map in pairs:
        bands.update(target, label_map)
    for width, band in enumerate(bands.bands, start=1):
        truth, guess = [], []
        for target, label_map in pairs:
            border = find_boundaries(target, connectivity=1, mode="thick")
            inside = (distance_transform_edt(~border) < width) & (target != IGNORE_INDEX)
            truth.append(target[inside])
            guess.append(label_map[inside])
        expected = confusion_matrix(np.concatenate(truth), np.concatenate(guess), labels=range(4))
        np.testing.assert_array_equal(band.counts, expected)


def test_bands_wide_enough_hold_the_whole_picture() -> None:
    target, label_map = blobs(0, strip=True)
    bands, whole = TrimapBands(4, widths=200), ConfusionMatrix(4)
    bands.update(target, label_map)
    whole.update(target, label_map)
    np.testing.assert_array_equal(bands.bands[-1].counts, whole.counts)
    plain = TrimapBands(4)
    plain.update(np.zeros((9, 9), np.uint8), np.ones((9, 9), np.uint8))
    assert plain.rings.sum() == 0, "a picture without a border adds nothing"


@pytest.mark.parametrize("tolerance", [0.011, 0.02, 0.05])
def test_boundary_f_equals_the_one_from_distance_transforms(tolerance: float) -> None:
    pairs = [blobs(seed, strip=False) for seed in range(4)]
    boundary = BoundaryF(4, tolerance=tolerance)
    near = np.zeros((2, 2, 4))
    for target, label_map in pairs:
        boundary.update(target, label_map)
        for class_id in range(4):
            contours = [
                find_boundaries(ids, connectivity=1, mode="thick") & (ids == class_id) for ids in (target, label_map)
            ]
            for which, (here, there) in enumerate((contours, contours[::-1])):
                distance = distance_transform_edt(~there) if there.any() else np.full(there.shape, np.inf)
                near[which, :, class_id] += ((distance <= tolerance * 100) & here).sum(), here.sum()
    (recall, precision) = near[:, 0] / near[:, 1]
    expected = 2 * precision * recall / (precision + recall)
    np.testing.assert_allclose(boundary.per_class, expected)
    assert boundary.mean == pytest.approx(expected.mean())
    assert 0.1 < boundary.mean < 1


def test_the_right_contour_scores_one_and_may_run_anywhere_in_the_strip() -> None:
    inside, target = np.zeros((100, 140), np.uint8), np.zeros((100, 140), np.uint8)
    inside[30:60, 40:80] = 2
    target[28:62, 38:82] = IGNORE_INDEX  # a strip four pixels wide on the rectangle's border
    target[32:58, 42:78] = 2
    for grown in (-1, 0, 1):
        label_map = np.zeros_like(target)
        label_map[30 - grown : 60 + grown, 40 - grown : 80 + grown] = 2
        boundary = BoundaryF(3, tolerance=0.018)  # three pixels: filled corners are round
        boundary.update(target, label_map)
        np.testing.assert_array_equal(boundary.per_class, [1, np.nan, 1])


def test_what_the_network_draws_on_a_thing_without_a_label_does_not_count() -> None:
    target, label_map = np.zeros((100, 140), np.uint8), np.zeros((100, 140), np.uint8)
    target[20:50, 20:50] = label_map[20:50, 20:50] = 1
    target[60:90, 90:130] = IGNORE_INDEX
    label_map[60:90, 90:130] = 2
    boundary = BoundaryF(3)
    boundary.update(target, label_map)
    np.testing.assert_array_equal(boundary.per_class, [1, 1, np.nan])


def test_a_contour_that_only_one_side_has_scores_zero() -> None:
    target, label_map = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    target[5:15, 5:15], label_map[25:35, 25:35] = 1, 2
    boundary = BoundaryF(4)
    boundary.update(target, label_map)
    np.testing.assert_array_equal(boundary.per_class, [0, 0, 0, np.nan])
    assert boundary.mean == 0
    assert np.isnan(BoundaryF(2).mean)


def test_more_classes_than_a_word_has_bits() -> None:
    target = np.arange(150, dtype=np.uint8).reshape(10, 15).repeat(6, axis=0).repeat(6, axis=1)
    boundary = BoundaryF(200)
    boundary.update(target, target)
    np.testing.assert_array_equal(boundary.per_class, np.where(np.arange(200) < 150, 1, np.nan))


# How sure


def picture_counts(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    truth, said = rng.integers(50, 500, (2, n, 5))
    hits = np.minimum(truth, said) * rng.uniform(0.2, 1, (n, 5))
    return np.stack([hits.astype(int), truth, said], axis=1)


def test_the_interval_equals_a_bootstrap_drawn_picture_by_picture() -> None:
    counts = picture_counts(40)
    rng = np.random.default_rng(7)
    mious = []
    for _ in range(3000):
        hits, truth, said = counts[rng.integers(0, 40, 40)].sum(axis=0)
        mious.append((hits / (truth + said - hits)).mean())
    np.testing.assert_allclose(miou_interval(counts, samples=3000), np.quantile(mious, [0.025, 0.975]), atol=3e-3)


def test_the_interval_repeats_narrows_with_more_pictures_and_holds_the_figure() -> None:
    few, many = picture_counts(20), picture_counts(500)
    assert miou_interval(few) == miou_interval(few)
    (low, high), (lower, higher) = miou_interval(many), miou_interval(few)
    hits, truth, said = many.sum(axis=0)
    assert low < (hits / (truth + said - hits)).mean() < high
    assert high - low < (higher - lower) / 2


def test_the_interval_leaves_out_classes_that_a_draw_does_not_have() -> None:
    counts = np.array([[[9, 0], [10, 0], [10, 0]], [[10, 5], [10, 10], [10, 5]]])  # class 1 in one picture only
    low, high = miou_interval(counts)
    assert low == pytest.approx((19 / 21 + 5 / 10) / 2)  # each once
    assert high == pytest.approx(9 / 11)  # the first one twice: its one class
    assert np.isnan(miou_interval(np.zeros((3, 3, 2)))).all()
    with pytest.raises(ValueError, match="with at least one picture"):
        miou_interval(np.zeros((0, 3, 2)))


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
