"""The CRF against the sum over all pairs of pixels, written out, and what must hold whatever the numbers are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

from seg.explain import crf
from seg.explain.crf import CrfSettings, colour_steps, dense_crf, dense_crf_steps

HEIGHT, WIDTH, CLASSES = 22, 31, 4


def noisy_photo(seed: int = 0) -> np.ndarray:
    """Two halves of different colour, (22, 31, 3), with noise."""
    photo = np.full((HEIGHT, WIDTH, 3), (60, 90, 120), float)
    photo[:, WIDTH // 2 :] = (180, 140, 60)
    return (photo + np.random.default_rng(seed).normal(0, 6, photo.shape)).clip(0, 255).astype(np.uint8)


def smooth_probabilities(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(CLASSES, HEIGHT, WIDTH))
    return softmax(np.stack([12 * gaussian_filter(plane, 3) for plane in noise]), axis=0).astype(np.float32)


def gaussian_kernel(features: np.ndarray) -> np.ndarray:
    """(N, N) from features (d, N)."""
    return np.exp(-((features[:, :, None] - features[:, None]) ** 2).sum(axis=0) / 2)


def direct(photo: np.ndarray, probabilities: np.ndarray, settings: CrfSettings) -> np.ndarray:
    """Mean field with every pair of pixels, O(N^2), in double precision, costs as in the paper's algorithm 1."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].reshape(2, -1).astype(float)
    colours = photo.reshape(-1, 3).T.astype(float)
    near = np.stack([x, y])
    kernels = [
        gaussian_kernel(np.concatenate([near / settings.sigma_alpha, colours / settings.sigma_beta])),
        gaussian_kernel(near / settings.sigma_gamma),
    ]
    kernels = [kernel / np.sqrt(np.outer(kernel.sum(axis=0), kernel.sum(axis=0))) for kernel in kernels]
    pairwise = settings.bilateral_weight * kernels[0] + settings.smooth_weight * kernels[1]
    compatibility = 1 - np.eye(len(probabilities))
    cost = -np.log(probabilities.reshape(len(probabilities), -1).astype(float).clip(1e-8))
    q = softmax(-cost, axis=0)
    for _ in range(settings.iterations):
        q = softmax(-cost - compatibility @ (q @ pairwise), axis=0)
    return q.reshape(probabilities.shape)


ALL = CrfSettings(least=0.0)


def test_the_smoothing_kernel_is_exact() -> None:
    settings = replace(ALL, bilateral_weight=0.0, sigma_gamma=2.5)
    photo, probabilities = noisy_photo(), smooth_probabilities()
    np.testing.assert_allclose(
        dense_crf(photo, probabilities, settings), direct(photo, probabilities, settings), atol=1e-4
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "settings", [ALL, replace(ALL, iterations=1), replace(ALL, sigma_alpha=8.0, sigma_beta=20.0, iterations=1)], ids=str
)
def test_both_kernels_give_nearly_what_all_pairs_give(seed: int, settings: CrfSettings) -> None:
    photo, probabilities = noisy_photo(seed), smooth_probabilities(seed)
    expected, found = direct(photo, probabilities, settings), dense_crf(photo, probabilities, settings)
    change, difference = np.abs(expected - probabilities).mean(), np.abs(expected - found).mean()
    assert difference < 0.15 * change, "the approximation must be small against what the CRF does"
    assert (expected.argmax(axis=0) != found.argmax(axis=0)).mean() < 0.05


@pytest.mark.parametrize("d", [2, 3, 5])
def test_the_lattice_filters_as_a_gaussian_of_standard_deviation_one(d: int) -> None:
    rng = np.random.default_rng(d)
    features = rng.uniform(0, 2.5, (d, 600)).astype(np.float32)
    values = rng.random((3, 600)).astype(np.float32)
    found = crf._lattice_filter(features)(torch.from_numpy(values)).numpy()
    ratio = found / (values @ gaussian_kernel(features))
    assert ratio.std() < 0.12 * ratio.mean()


def test_every_pixel_lies_in_its_simplex() -> None:
    features = np.random.default_rng(0).normal(0, 4, (5, 500)).astype(np.float32)
    elevated = crf._elevate(features)
    np.testing.assert_allclose(elevated.sum(axis=0), 0, atol=1e-4)
    corner0, rank = crf._enclosing_simplex(elevated)
    np.testing.assert_array_equal(np.sort(rank, axis=0), np.tile(np.arange(6)[:, None], 500))
    np.testing.assert_array_equal(corner0.sum(axis=0), 0)
    assert (corner0 % 6 == 0).all()
    weights = crf._barycentric(elevated - corner0, rank)
    assert weights.min() > -1e-5
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-5)
    # Corner r has coordinates r, and r - 6 for the r highest ranks; weighted by nearness they give the pixel back.
    corners = np.stack([corner0 + r - 6 * (rank > 5 - r) for r in range(6)])
    np.testing.assert_allclose((weights[:, None] * corners).sum(axis=0), elevated, atol=1e-3)
    step = crf._key_steps(corner0)
    np.testing.assert_array_equal(crf._corner_keys(corner0, rank, step), np.einsum("rdn,d->rn", corners, step))


def test_probabilities_stay_probabilities() -> None:
    result = dense_crf(noisy_photo(), smooth_probabilities())
    assert (result.shape, result.dtype) == ((CLASSES, HEIGHT, WIDTH), np.float32)
    assert result.min() >= 0
    np.testing.assert_allclose(result.sum(axis=0), 1, atol=1e-5)


def test_who_knows_nothing_learns_nothing() -> None:
    uniform = np.full((CLASSES, HEIGHT, WIDTH), 1 / CLASSES, np.float32)
    np.testing.assert_allclose(dense_crf(noisy_photo(), uniform), uniform, atol=1e-6)


def test_the_order_of_classes_does_not_matter() -> None:
    photo, probabilities = noisy_photo(), smooth_probabilities()
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(
        dense_crf(photo, probabilities[order]), dense_crf(photo, probabilities)[order], atol=1e-5
    )


def test_a_border_beside_an_edge_moves_onto_it() -> None:
    clean = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    clean[:, WIDTH // 2 :] = 200
    right = np.broadcast_to(np.arange(WIDTH) >= WIDTH // 2 + 3, (HEIGHT, WIDTH))  # three pixels off
    probabilities = np.where(np.stack([~right, right]), 0.7, 0.3).astype(np.float32)
    label_map = dense_crf(clean, probabilities).argmax(axis=0)
    np.testing.assert_array_equal(label_map, np.broadcast_to(np.arange(WIDTH) >= WIDTH // 2, label_map.shape))


def test_a_lone_pixel_is_smoothed_away() -> None:
    probabilities = np.full((2, HEIGHT, WIDTH), 0.2, np.float32)
    probabilities[0] = 0.8
    probabilities[:, 9, 9] = (0.3, 0.7)
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    assert not dense_crf(grey, probabilities).argmax(axis=0).any()


def test_steps_lead_from_the_network_to_the_result() -> None:
    photo, probabilities = noisy_photo(), smooth_probabilities()
    steps = list(dense_crf_steps(photo, probabilities, CrfSettings(iterations=3, least=0.0)))
    assert len(steps) == 4
    np.testing.assert_allclose(steps[0], probabilities, atol=1e-6)
    np.testing.assert_array_equal(steps[3], dense_crf(photo, probabilities, CrfSettings(iterations=3, least=0.0)))
    np.testing.assert_allclose(
        dense_crf(photo, probabilities, CrfSettings(iterations=0, least=0.0)), probabilities, atol=1e-6
    )


def test_no_iteration_changes_no_label() -> None:
    photo, probabilities = noisy_photo(), smooth_probabilities()
    expected = probabilities.argmax(axis=0)
    np.testing.assert_array_equal(dense_crf(photo, probabilities, CrfSettings(iterations=0)).argmax(axis=0), expected)
    first, *_, last = dense_crf_steps(photo, probabilities, CrfSettings(iterations=4))
    np.testing.assert_array_equal(first.argmax(axis=0), expected)
    assert (last.argmax(axis=0) != expected).any()


def test_colour_steps_are_means_over_pairs_of_neighbours() -> None:
    photo = noisy_photo()
    label_map = smooth_probabilities().argmax(axis=0).astype(np.uint8)
    every, across = [], []
    for y in range(HEIGHT):
        for x in range(WIDTH):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v < HEIGHT and u < WIDTH:
                    step = math.dist(photo[y, x].tolist(), photo[v, u].tolist())
                    every.append(step)
                    across += [step] if label_map[y, x] != label_map[v, u] else []
    assert across
    assert colour_steps(photo, label_map) == pytest.approx((np.mean(across), np.mean(every)), rel=1e-5)


def test_where_nothing_meets_there_is_no_colour_step() -> None:
    found = colour_steps(noisy_photo(), np.zeros((HEIGHT, WIDTH), np.uint8))
    assert math.isnan(found[0])
    assert found[1] > 0
    assert all(map(math.isnan, colour_steps(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8))))


def test_a_class_that_plays_no_part_is_left_out() -> None:
    probabilities = np.full((3, HEIGHT, WIDTH), 0.02, np.float32)
    probabilities[0], probabilities[1] = 0.58, 0.4
    result = dense_crf(noisy_photo(), probabilities)
    assert not result[2].any()
    np.testing.assert_allclose(result.sum(axis=0), 1, atol=1e-5)
    assert dense_crf(noisy_photo(), probabilities, ALL)[2].all()
    few = np.full((30, HEIGHT, WIDTH), 1 / 30, np.float32)  # nobody reaches `least`, but somebody wins
    assert np.isfinite(dense_crf(noisy_photo(), few)).all()


def test_a_photo_of_one_row_and_one_column() -> None:
    for size in ((1, 9), (9, 1), (1, 1)):
        result = dense_crf(np.zeros((*size, 3), np.uint8), np.full((2, *size), 0.5, np.float32))
        np.testing.assert_allclose(result, 0.5, atol=1e-6)


@pytest.mark.parametrize(("photo", "probabilities", "message"), [
    (np.zeros((4, 5), np.uint8), np.ones((2, 4, 5)), r"takes a photo \(H, W, 3\) uint8 RGB, got \(4, 5\) of uint8"),
    (np.zeros((4, 5, 3)), np.ones((2, 4, 5)), "of float64"),
    (np.zeros((4, 5, 3), np.uint8), np.ones((2, 5, 4)), r"probabilities are \(2, 5, 4\), the photo \(4, 5, 3\)"),
    (np.zeros((4, 5, 3), np.uint8), np.ones((0, 4, 5)), r"probabilities are \(0, 4, 5\)"),
    (np.zeros((4, 5, 3), np.uint8), -np.ones((2, 4, 5)), "take the softmax of the logits first"),
    (np.zeros((4, 5, 3), np.uint8), np.full((2, 4, 5), np.nan), "must be finite"),
])  # fmt: skip
def test_wrong_arrays_are_named(photo: np.ndarray, probabilities: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dense_crf(photo, probabilities)
    with pytest.raises(ValueError, match=message):
        dense_crf_steps(photo, probabilities)  # before the first step is asked for


@pytest.mark.parametrize("wrong", [{"sigma_beta": 0.0}, {"iterations": -1}, {"smooth_weight": -1.0}])
def test_wrong_settings_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sigmas above 0 and no number below 0, got CrfSettings"):
        CrfSettings(**wrong)  # type: ignore[arg-type]


def test_sigmas_that_the_lattice_cannot_count_are_named() -> None:
    with pytest.raises(ValueError, match="sigmas are too small"):
        dense_crf(noisy_photo(), smooth_probabilities(), CrfSettings(sigma_beta=1e-3))
