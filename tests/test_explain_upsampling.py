"""Our transposed convolution, step by step, against PyTorch's, for whatever numbers Hypothesis thinks of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from seg.explain.upsampling import Setting, bilinear, overlap, repeating_pattern, spread_out, transposed_convolution
from seg.models.fcn import bilinear_kernel

any_setting = st.builds(
    Setting,
    kernel_size=st.integers(1, 6),
    stride=st.integers(1, 5),
    padding=st.integers(0, 8),
    output_padding=st.integers(0, 4),
    dilation=st.integers(1, 4),
)
any_shape = st.tuples(st.integers(1, 5), st.integers(1, 5))
any_seed = st.integers(0, 2**32 - 1)


def by_torch(x: np.ndarray, kernel: np.ndarray, setting: Setting) -> np.ndarray:
    return F.conv_transpose2d(
        torch.from_numpy(x)[None, None],
        torch.from_numpy(kernel)[None, None],
        stride=setting.stride,
        padding=setting.padding,
        output_padding=setting.output_padding,
        dilation=setting.dilation,
    )[0, 0].numpy()


def random_case(shape: tuple[int, int], setting: Setting, seed: int) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(seed)
    return numbers.normal(size=shape), numbers.normal(size=(setting.kernel_size,) * 2)


@given(any_shape, any_setting, any_seed)
def test_the_steps_are_pytorchs_transposed_convolution(shape: tuple[int, int], setting: Setting, seed: int) -> None:
    x, kernel = random_case(shape, setting, seed)
    try:
        expected = by_torch(x, kernel, setting)
    except RuntimeError:  # what PyTorch refuses, we refuse
        with pytest.raises(ValueError, match="padding"):
            transposed_convolution(x, kernel, setting)
        return
    steps = transposed_convolution(x, kernel, setting)
    np.testing.assert_allclose(steps.output, expected, atol=1e-10)
    assert expected.shape == tuple(map(setting.output_size, shape))


@given(any_shape, any_setting, any_seed)
def test_each_output_is_its_window_times_the_turned_kernel(shape: tuple[int, int], setting: Setting, seed: int) -> None:
    if setting.ambiguous or min(map(setting.output_size, shape)) < 1:
        return
    x, kernel = random_case(shape, setting, seed)
    steps = transposed_convolution(x, kernel, setting)
    ordinary = F.conv2d(
        torch.from_numpy(steps.padded)[None, None],
        torch.from_numpy(kernel[::-1, ::-1].copy())[None, None],
        dilation=setting.dilation,
    )
    np.testing.assert_allclose(ordinary[0, 0].numpy(), by_torch(x, kernel, setting), atol=1e-10)
    for row, column in ((0, 0), tuple(side - 1 for side in steps.output.shape)):
        by_hand = float((steps.window(row, column) * steps.turned).sum())
        assert by_hand == pytest.approx(steps.output[row, column], abs=1e-10)


@given(any_shape, any_setting)
def test_the_overlap_is_the_transposed_convolution_of_ones(shape: tuple[int, int], setting: Setting) -> None:
    if setting.ambiguous or min(map(setting.output_size, shape)) < 1:
        return
    ones = by_torch(np.ones(shape), np.ones((setting.kernel_size,) * 2), setting)
    np.testing.assert_array_equal(overlap(shape, setting), np.rint(ones))


@given(any_setting, any_seed)
def test_far_from_the_border_a_picture_of_ones_repeats_the_pattern(setting: Setting, seed: int) -> None:
    if setting.ambiguous:
        return
    kernel = np.random.default_rng(seed).normal(size=(setting.kernel_size,) * 2)
    first = max(setting.extent, setting.padding)  # from this landing place on, every weight finds its pixel
    side = (first + setting.padding) // setting.stride + 3
    places = first + np.arange(setting.stride)
    middle = slice(first - setting.padding, first - setting.padding + setting.stride)
    found = by_torch(np.ones((side, side)), kernel, setting)[middle, middle]
    expected = repeating_pattern(kernel, setting)[np.ix_(places % setting.stride, places % setting.stride)]
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_numbers_that_are_no_convolution_are_refused() -> None:
    with pytest.raises(ValueError, match="start at 1"):
        Setting(0)
    with pytest.raises(ValueError, match="setting says 2"):
        transposed_convolution(np.ones((2, 2)), np.ones((3, 3)), Setting(2))


def test_zeros_are_spread_between_neighbours_only() -> None:
    np.testing.assert_array_equal(
        spread_out(np.array([[1.0, 2.0], [3.0, 4.0]]), 3), [[1, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
    )


def test_bilinear_is_the_networks_own_kernel_at_its_sizes_and_a_tent_at_others() -> None:
    for factor in (2, 4, 8, 16):
        np.testing.assert_allclose(bilinear(2 * factor), bilinear_kernel(factor).numpy(), atol=1e-7)
    np.testing.assert_allclose(bilinear(3)[1], [0.5, 1, 0.5])
    np.testing.assert_allclose(bilinear(1), [[1]])
