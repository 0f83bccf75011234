"""Receptive fields: the box against brute force, the gradient against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import TINY_BACKBONE, randomise_batchnorm
from torch import nn

from seg.explain.receptive_field import (
    EffectiveField,
    effective_field,
    entropy_bits,
    has_image_pooling,
    margin,
    reach,
    theoretical_field,
    without_image_pooling,
)
from seg.models import build_model
from seg.models.folding import fold_batchnorm


def plain(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*layers).eval()


class Double(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class OverlappingMaximum(nn.Module):
    """Functional max pooling, windows that overlap, as in a ResNet's stem."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.max_pool2d(x, 3, stride=2, padding=1)
        return nn.functional.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


def pixel(at: tuple[int, int]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Reads the logits of one pixel (x, y)."""
    return lambda logits: logits[0, :, at[1], at[0]]


STACKS = {
    "one 3x3": plain(nn.Conv2d(3, 2, 3, padding=1)),
    "two 3x3": plain(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1)),
    "atrous": plain(nn.Conv2d(3, 4, 3, padding=3, dilation=3), nn.Conv2d(4, 2, 3, padding=1)),
    "down and up": plain(
        nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1)
    ),
    "max pooling": plain(nn.MaxPool2d(2), nn.Conv2d(3, 2, 3, padding=1), Double()),
    "functional max pooling": plain(nn.Conv2d(3, 2, 3, padding=1), OverlappingMaximum()),
    "grouped": plain(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4)),
}


def changed_by(network: nn.Module, size: tuple[int, int], at: tuple[int, int]) -> tuple[int, int, int, int]:
    """Brute force: change every input pixel in turn, in many pictures, and see whether the answer changes."""
    reaches = np.zeros(size, bool)
    with torch.inference_mode():
        for seed in range(6):
            x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed)).double()
            before = network(x)[0, :, at[1], at[0]]
            pixels = torch.arange(size[0] * size[1])
            many = x.repeat(len(pixels), 1, 1, 1)
            many[pixels, :, pixels // size[1], pixels % size[1]] += 10.0
            after = network(many)[:, :, at[1], at[0]]
            reaches |= ((after - before).abs().amax(dim=1) > 1e-12).view(size).numpy()
    rows, columns = np.flatnonzero(reaches.any(axis=1)), np.flatnonzero(reaches.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("at", [(8, 7), (0, 0), (15, 3)])
def test_the_box_is_what_can_change_the_answer(name: str, at: tuple[int, int]) -> None:
    network = STACKS[name]
    assert theoretical_field(network, (16, 16), at) == changed_by(network.double(), (16, 16), at)
    network.float()


@pytest.mark.parametrize("name", ["fcn8s", "unet", "deeplabv3"])
def test_the_box_of_a_real_network_holds_all_of_its_gradient(name: str) -> None:
    torch.manual_seed(0)
    options = {"atrous_rates": [1, 2, 3]} if name == "deeplabv3" else {}
    network = fold_batchnorm(randomise_batchnorm(build_model(name, num_classes=4, backbone=TINY_BACKBONE, **options)))
    at = (50, 40)
    x0, y0, x1, y1 = theoretical_field(network, (96, 128), at)
    x = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    found = effective_field(network, x, pixel(at))
    outside = found.weight.copy()
    outside[y0:y1, x0:x1] = 0
    assert not outside.any()
    assert x0 <= at[0] < x1
    assert y0 <= at[1] < y1


@pytest.mark.parametrize("at", [(160, 160), (171, 155)])
def test_the_box_of_a_network_that_pools_by_maximum_holds_all_of_its_gradient(at: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = build_model("unet_classic", num_classes=3, base_channels=4).eval()
    reached = np.zeros((320, 320), bool)
    for _ in range(4):
        reached |= effective_field(network, torch.randn(1, 3, 320, 320), pixel(at)).weight > 0
    x0, y0, x1, y1 = theoretical_field(network, (320, 320), at)
    rows, columns = np.flatnonzero(reached.any(axis=1)), np.flatnonzero(reached.any(axis=0))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x0, y0, x1, y1), "this one uses all it could"


def test_the_gradient_is_that_of_finite_differences() -> None:
    network = plain(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 3, padding=1)).double()
    x = torch.randn(1, 3, 7, 6, generator=torch.Generator().manual_seed(1)).double()
    found = effective_field(network, x, pixel((3, 4)), class_id=1)
    strength = np.zeros((7, 6))
    step = 1e-6
    with torch.inference_mode():
        for c, row, column in np.ndindex(3, 7, 6):
            moved = x.clone()
            moved[0, c, row, column] += step
            strength[row, column] += abs(float(network(moved)[0, 1, 4, 3] - network(x)[0, 1, 4, 3])) / step
    np.testing.assert_allclose(found.weight, strength / strength.sum(), atol=1e-5)
    np.testing.assert_allclose(found.scores, network(x)[0, :, 4, 3].detach())


def test_no_weight_keeps_a_gradient_of_a_visitor() -> None:
    network = STACKS["two 3x3"]
    effective_field(network, torch.randn(1, 3, 8, 8), pixel((2, 2)))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_area_and_radius_count_what_holds_the_weight() -> None:
    weight = np.zeros((10, 10), np.float32)
    weight[5, 5], weight[5, 8] = 0.75, 0.25
    field = EffectiveField(weight, 0, np.ones(1))
    assert (field.area_of(0.5), field.area_of(0.95)) == (0.01, 0.02)
    assert (field.radius_of(0.5, (5, 5)), field.radius_of(0.95, (5, 5))) == (0.0, 3.0)
    nothing = EffectiveField(np.zeros((4, 4), np.float32), 0, np.zeros(1))
    assert np.isnan(nothing.area_of(0.5))
    assert np.isnan(nothing.radius_of(0.5, (0, 0)))


def test_image_pooling_sees_everything_and_can_be_silenced() -> None:
    torch.manual_seed(0)
    # No squeeze-and-excitation in this encoder: with small rates it sees less than 320 pixels.
    network = build_model("deeplabv3", num_classes=3, backbone="test_resnet", atrous_rates=[1, 1, 1]).eval()
    assert has_image_pooling(network)
    assert theoretical_field(network, (64, 320), (10, 30)) == (0, 0, 320, 64)
    silent = without_image_pooling(network)
    assert not has_image_pooling(silent)
    assert theoretical_field(silent, (64, 320), (10, 30))[2] < 320
    assert has_image_pooling(network), "the network itself stays as it is"


def test_entropy_and_margin() -> None:
    assert entropy_bits(np.full(8, 1 / 8)) == pytest.approx(3)
    assert entropy_bits(np.array([1.0, 0, 0])) == 0
    assert margin([0.2, 0.7, 0.1]) == pytest.approx(0.5)


def test_reach_is_half_the_box_where_nothing_cuts_it_off() -> None:
    assert reach(STACKS["one 3x3"], 0, canvas=128) == (1, 1)
    assert reach(STACKS["two 3x3"], 0, canvas=128) == (2, 2)
    assert reach(STACKS["atrous"], 0, canvas=128) == (4, 4)
    assert reach(STACKS["atrous"], 0, canvas=8) is None
    torch.manual_seed(0)
    pooled = build_model("deeplabv3", num_classes=3, backbone="test_resnet", atrous_rates=[1, 1, 1])
    assert reach(pooled, 0, canvas=256) is None


@pytest.mark.parametrize("at", [(160, 160), (171, 155), (191, 131)])
def test_reach_is_the_box_at_every_place_of_the_strides_grid(at: tuple[int, int]) -> None:
    network = build_model("unet_classic", num_classes=3, base_channels=4).eval()
    left, right = reach(network, at[0]) or (0, 0)
    up, down = reach(network, at[1]) or (0, 0)
    box = at[0] - left, at[1] - up, at[0] + right + 1, at[1] + down + 1
    assert theoretical_field(network, (320, 320), at) == box


def test_a_network_whose_ways_are_not_known_is_refused_and_stays_as_it_is() -> None:
    network = plain(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1))
    with pytest.raises(ValueError, match=r"1\.weight"):
        theoretical_field(network, (16, 16), (8, 8))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
