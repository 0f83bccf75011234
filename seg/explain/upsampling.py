"""Transposed convolution step by step, in plain numpy (FCN's section 3.3 calls it backwards strided convolution).

A transposed convolution of stride s is an ordinary convolution of stride 1 on a picture that was spread first
(Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4):

    spread with s - 1 zeros between neighbours -> pad with zeros -> slide the kernel, turned by 180 degrees
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Setting:
    """Numbers of a transposed convolution with a square kernel, named as in `torch.nn.ConvTranspose2d`.

    Attributes:
        kernel_size: side of the kernel, at least 1.
        stride: output pixels from one input pixel to the next, at least 1.
        padding: output rows and columns cut off on each side, at least 0.
        output_padding: rows and columns added at the bottom and right, at least 0.
        dilation: distance between neighbouring kernel weights, at least 1.
    """

    kernel_size: int
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        if min(self.kernel_size, self.stride, self.dilation) < 1 or min(self.padding, self.output_padding) < 0:
            raise ValueError(f"kernel size, stride and dilation start at 1, paddings at 0, got {self}")

    @property
    def extent(self) -> int:
        """From the kernel's first weight to its last: dilation * (kernel_size - 1)."""
        return self.dilation * (self.kernel_size - 1)

    @property
    def ambiguous(self) -> bool:
        """Output padding that no stride or dilation calls for; PyTorch refuses it."""
        return self.output_padding >= max(self.stride, self.dilation)

    def output_size(self, side: int) -> int:
        """Output pixels for `side` input pixels; below 1 where padding cuts everything off."""
        return (side - 1) * self.stride - 2 * self.padding + self.extent + self.output_padding + 1


@dataclass(frozen=True)
class Steps:
    """A transposed convolution as an ordinary one; all arrays float64, two axes.

    Attributes:
        spread: the input with stride - 1 zeros between neighbours.
        padded: that with extent - padding zeros on every side, and output_padding more at the bottom and right; cut
            instead where a number is negative.
        turned: the kernel turned by 180 degrees, with dilation - 1 zeros between its weights.
        output: every window of `padded` as large as `turned`, multiplied with it and summed.
    """

    spread: np.ndarray
    padded: np.ndarray
    turned: np.ndarray
    output: np.ndarray

    def window(self, row: int, column: int) -> np.ndarray:
        """The part of `padded` that makes `output[row, column]`."""
        side = len(self.turned)
        return self.padded[row : row + side, column : column + side]


def transposed_convolution(x: np.ndarray, kernel: np.ndarray, setting: Setting) -> Steps:
    """All steps for input x (h, w) and a kernel (k, k).

    Raises:
        ValueError: the kernel is not of the setting's size, or the setting is one that PyTorch refuses.
    """
    if kernel.shape != (setting.kernel_size,) * 2:
        raise ValueError(f"the kernel is {kernel.shape}, the setting says {setting.kernel_size}")
    if setting.ambiguous:
        raise ValueError(f"output padding must be smaller than stride or dilation, got {setting}")
    if min(map(setting.output_size, x.shape)) < 1:
        raise ValueError(f"padding cuts off the whole output of an input {x.shape}, with {setting}")
    spread = spread_out(x, setting.stride)
    before = setting.extent - setting.padding
    padded = _pad_or_cut(spread, before, before + setting.output_padding)
    turned = spread_out(kernel[::-1, ::-1], setting.dilation)
    windows = np.lib.stride_tricks.sliding_window_view(padded, turned.shape)  # (H, W, extent + 1, extent + 1)
    return Steps(spread, padded, turned, np.einsum("abij,ij->ab", windows, turned))


def spread_out(values: np.ndarray, step: int) -> np.ndarray:
    """(h, w) -> ((h - 1) step + 1, (w - 1) step + 1): zeros between neighbours."""
    result = np.zeros([(side - 1) * step + 1 for side in values.shape])
    result[::step, ::step] = values
    return result


def overlap(shape: tuple[int, int], setting: Setting) -> np.ndarray:
    """How many (input pixel, kernel weight) pairs meet in each output pixel, integers.

    Uneven counts are where the checkerboard patterns of Odena, Dumoulin and Olah (Distill, 2016) come from.
    """
    rows, columns = (_overlap_along(side, setting) for side in shape)
    return np.outer(rows, columns)


def _overlap_along(side: int, setting: Setting) -> np.ndarray:
    counts = np.zeros(setting.output_size(side), np.int64)
    for pixel in range(side):
        for weight in range(setting.kernel_size):
            lands_at = pixel * setting.stride + weight * setting.dilation - setting.padding
            if 0 <= lands_at < len(counts):
                counts[lands_at] += 1
    return counts


def repeating_pattern(kernel: np.ndarray, setting: Setting) -> np.ndarray:
    """(s, s): what a picture of ones becomes far from the border, where it repeats every s = stride pixels.

    Entry (i, j) is for output row r and column c with (r + padding) % s = i and (c + padding) % s = j. All equal: even
    pictures stay even. A kernel of ones gives the overlap counts.
    """
    pattern = np.zeros((setting.stride, setting.stride))
    place = np.arange(setting.kernel_size) * setting.dilation % setting.stride
    np.add.at(pattern, np.ix_(place, place), kernel)
    return pattern


def bilinear(kernel_size: int) -> np.ndarray:
    """The bilinear kernel of any size: weights fall linearly from the centre to just beyond the rim.

    Size 2f, with f even, is `seg.models.fcn.bilinear_kernel(f)`. One axis, size 3: 0.5 1 0.5.
    """
    reach = (kernel_size + 1) // 2
    distance = np.abs(np.arange(kernel_size) - (kernel_size - 1) / 2)
    ramp = 1 - distance / reach
    return np.outer(ramp, ramp)


def _pad_or_cut(values: np.ndarray, before: int, after: int) -> np.ndarray:
    """Zeros around both axes; a negative number cuts. Padding comes first, so that a cut may reach into it."""
    padded = np.pad(values, (max(before, 0), max(after, 0)))
    return padded[max(-before, 0) : len(padded) - max(-after, 0), max(-before, 0) : padded.shape[1] - max(-after, 0)]
