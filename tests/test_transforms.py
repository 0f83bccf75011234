"""Every way in has a way back: what is drawn on the photo returns to the same pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from torch.nn import functional as F

from seg.image import MAX_ASPECT
from seg.transforms import MIN_SIDE, Geometry, Preprocess, _contenders

ODD_SIZES = [(97, 131), (351, 499), (601, 401), (1023, 767), (63, 1001)]  # (H, W)


@pytest.mark.parametrize("size", ODD_SIZES)
def test_a_drawn_square_returns_within_one_pixel(size: tuple[int, int]) -> None:
    height, width = size
    left, top, right, bottom = width // 4, height // 4, width // 2, height // 2
    photo = Image.new("RGB", (width, height))
    ImageDraw.Draw(photo).rectangle((left, top, right - 1, bottom - 1), fill="white")
    preprocess = Preprocess()
    x, geometry = preprocess.apply(photo)
    brightness = x.mean(dim=1, keepdim=True)
    label_map, _ = preprocess.restore_labels(torch.cat([-brightness, brightness], dim=1), geometry)
    assert label_map.shape == size
    rows, columns = np.flatnonzero(label_map.any(axis=1)), np.flatnonzero(label_map.any(axis=0))
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(found - [left, top, right, bottom]).max() <= 1, found


@pytest.mark.parametrize("photo_size", [(7, 5), (32, 32), (63, 64), (64, 65), (129, 40), (300, 517)])
@pytest.mark.parametrize("network_size", [(32, 64), (96, 33), (160, 160), (1, 1)])
def test_labels_equal_argmax_and_softmax_of_resized_scores(
    photo_size: tuple[int, int], network_size: tuple[int, int]
) -> None:
    logits = 3 * torch.randn(1, 5, *network_size, generator=torch.Generator().manual_seed(0))
    geometry = Geometry(photo_size, network_size)
    before = logits.clone()
    label_map, confidence = Preprocess().restore_labels(logits, geometry)
    scores = F.interpolate(logits, size=photo_size, mode="bilinear", align_corners=False)[0]
    probability, expected = scores.softmax(dim=0).max(dim=0)

    top = scores.topk(2, dim=0).values
    clear = (top[0] - top[1] > 1e-3).numpy()  # elsewhere two classes tie up to the rounding of float32 positions
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(label_map[clear], expected.numpy()[clear])
    np.testing.assert_allclose(confidence, probability.numpy(), atol=2e-4)
    np.testing.assert_allclose(Preprocess().restore(logits, geometry).numpy(), scores.numpy(), atol=1e-3)
    assert (label_map.dtype, confidence.dtype) == (np.uint8, np.float32)
    assert torch.equal(logits, before), "the caller's logits must stay"


@pytest.mark.parametrize("photo_size", [(300, 401), (40, 50)])
def test_classes_that_win_nowhere_are_resized_together(photo_size: tuple[int, int]) -> None:
    coarse = 4 * torch.randn(1, 21, 5, 6, generator=torch.Generator().manual_seed(1))
    coarse[:, 7:] -= 8  # winners are among the first seven
    logits = F.interpolate(coarse, size=(75, 90), mode="bilinear", align_corners=False)
    geometry = Geometry(photo_size, (75, 90))
    assert 2 <= _contenders(logits).sum() <= 10
    label_map, confidence = Preprocess().restore_labels(logits, geometry)
    probability, expected = Preprocess().restore(logits, geometry).softmax(dim=0).max(dim=0)
    assert (label_map == expected.numpy()).mean() > 0.9999  # but for ties
    np.testing.assert_allclose(confidence, probability.numpy(), atol=5e-3)


def test_a_class_may_win_between_two_pixels_and_at_neither() -> None:
    logits = torch.tensor([[10.0, 0.0], [0.0, 10.0], [9.0, 9.0], [-20.0, -20.0]]).view(1, 4, 1, 2)
    assert _contenders(logits).tolist() == [True, True, True, False]
    label_map, _ = Preprocess().restore_labels(logits, Geometry((1, 9), (1, 2)))
    assert list(dict.fromkeys(label_map[0].tolist())) == [0, 2, 1]


def test_scores_that_are_no_numbers_do_not_stop_it() -> None:
    label_map, _ = Preprocess().restore_labels(torch.full((1, 3, 4, 4), torch.nan), Geometry((8, 8), (4, 4)))
    assert label_map.shape == (8, 8)


def test_the_photo_becomes_normalised_rgb_in_order() -> None:
    photo = Image.new("RGB", (320, 320), (255, 0, 51))
    x, geometry = Preprocess(short_side=64, long_side=64, mean=(0.5, 0.4, 0.2), std=(0.5, 0.2, 0.1)).apply(photo)
    assert x.shape == (1, 3, 64, 64)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x[0, :, 10, 20], torch.tensor([1.0, -2.0, 0.0]))
    assert geometry == Geometry((320, 320), (64, 64))


sides = st.integers(8, 20_000)


@settings(max_examples=300, deadline=None)
@given(height=sides, width=sides, short=st.integers(32, 700), extra=st.integers(0, 700), multiple=st.integers(1, 64))
def test_network_size_stays_in_its_bounds(height: int, width: int, short: int, extra: int, multiple: int) -> None:
    if short + extra < multiple:
        extra = multiple
    preprocess = Preprocess(short_side=short, long_side=short + extra, multiple=multiple)
    h, w = preprocess.network_size((height, width))
    assert min(h, w) >= MIN_SIDE
    assert h % multiple == w % multiple == 0
    assert max(h, w) <= max(short + extra, MIN_SIDE + multiple - 1)


@settings(max_examples=200, deadline=None)
@given(height=sides, width=sides)
def test_network_size_keeps_the_photos_shape(height: int, width: int) -> None:
    if max(height, width) > MAX_ASPECT * min(height, width):
        return
    h, w = Preprocess().network_size((height, width))
    scale = min(352 / min(height, width), 640 / max(height, width))
    assert abs(h - scale * height) <= 16
    assert abs(w - scale * width) <= 16


@pytest.mark.parametrize(
    "values",
    [{"short_side": 16}, {"short_side": 700}, {"multiple": 0}, {"multiple": 1000}, {"std": (1.0, 0.0, 1.0)},
     {"mean": (0.5,)}],
)  # fmt: skip
def test_impossible_preprocessing_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="preprocess needs"):
        Preprocess(**values)  # type: ignore[arg-type]


def test_preprocess_survives_its_dictionary() -> None:
    preprocess = Preprocess(short_side=100, mean=(0.1, 0.2, 0.3))
    assert Preprocess.from_dict(preprocess.to_dict()) == preprocess


@pytest.mark.parametrize("at", [(0, 0), (76, 49), (31, 17), (75, 0)])
def test_one_pixel_of_the_restored_scores_is_had_without_the_others(at: tuple[int, int]) -> None:
    logits = torch.randn(1, 5, 9, 12, generator=torch.Generator().manual_seed(0))
    geometry = Geometry(photo_size=(50, 77), network_size=(9, 12))
    expected = Preprocess().restore(logits, geometry)[:, at[1], at[0]]
    torch.testing.assert_close(Preprocess().restore_at(logits, geometry, at), expected, atol=1e-5, rtol=1e-5)
