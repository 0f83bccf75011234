"""FCN's inside against the network itself, against networks whose skips are zeroed, and against known ramps."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from conftest import TINY_BACKBONE, randomise_batchnorm
from torch import nn

from seg.explain.fcn import STRIDES, fuse_scores, rim, score_maps, summands, transition_width, upsampling_kernels
from seg.models import build_model
from seg.models.fcn import FCN, BilinearUpsample
from seg.models.folding import fold_batchnorm

SIZES = [(64, 96), (65, 129), (33, 47), (32, 32)]
sizes = pytest.mark.parametrize("size", SIZES)


def tiny_fcn(name: str = "fcn8s", backbone: str = TINY_BACKBONE) -> FCN:
    """Every part says something: no silent skip, no kernel that is still bilinear."""
    torch.manual_seed(0)
    model = randomise_batchnorm(build_model(name, num_classes=4, backbone=backbone, fc_channels=16)).eval()
    assert isinstance(model, FCN)
    for key, parameter in model.named_parameters():
        if key.startswith(("score", "up")):
            nn.init.normal_(parameter, std=0.1)
    return model


@sizes
@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
@torch.inference_mode()
def test_the_steps_end_at_the_networks_logits(name: str, size: tuple[int, int]) -> None:
    model, x = tiny_fcn(name), torch.randn(2, 3, *size)
    scores = score_maps(model, x)
    fusion = fuse_scores(model, scores, x)
    assert torch.equal(fusion.logits, model(x))
    assert [stage.stride for stage in fusion.stages] == list(STRIDES[: len(scores)])
    assert min(scores) == model.finest_stride
    for stage in fusion.stages[1:]:
        assert stage.upsampled is not None
        assert torch.equal(stage.total, stage.upsampled + stage.own)


@torch.inference_mode()
def test_encoders_that_round_down_work_too() -> None:
    model, x = tiny_fcn(backbone="test_convnext"), torch.randn(1, 3, 65, 97)
    assert torch.equal(fuse_scores(model, score_maps(model, x), x).logits, model(x))


@torch.inference_mode()
def test_a_folded_network_is_asked_in_the_same_way() -> None:
    model, x = fold_batchnorm(tiny_fcn()), torch.randn(1, 3, 64, 96)
    assert isinstance(model, FCN)
    assert torch.equal(fuse_scores(model, score_maps(model, x), x).logits, model(x))


@sizes
@pytest.mark.parametrize("away", [(8,), (16,), (8, 16)])
@torch.inference_mode()
def test_taking_skips_away_is_zeroing_their_layers(away: tuple[int, ...], size: tuple[int, int]) -> None:
    model, x = tiny_fcn(), torch.randn(1, 3, *size)
    silent = copy.deepcopy(model)
    for stride in away:
        for parameter in silent.get_submodule(f"score{stride}").parameters():
            parameter.zero_()
    keep = set(STRIDES) - set(away)
    found = fuse_scores(model, score_maps(model, x), x, keep=keep).logits
    assert torch.equal(found, silent(x))
    assert not torch.allclose(found, model(x))


@sizes
@torch.inference_mode()
def test_the_logits_are_the_sum_of_one_summand_per_stride(size: tuple[int, int]) -> None:
    model, x = tiny_fcn(), torch.randn(1, 3, *size)
    scores = score_maps(model, x)
    parts = summands(model, scores, x)
    assert list(parts) == [32, 16, 8]
    assert all(part.abs().max() > 0 for part in parts.values())
    torch.testing.assert_close(sum(parts.values()), model(x))
    torch.testing.assert_close(parts[32] + parts[16], fuse_scores(model, scores, x, keep=(32, 16)).logits)


def test_a_rim_lies_inside_and_not_along_the_pictures_border() -> None:
    inside = np.zeros((6, 7), bool)
    inside[2:, 1:5] = True
    expected = np.zeros((6, 7), bool)
    expected[2, 1:5] = expected[2:, 1] = expected[2:, 4] = True
    assert np.array_equal(rim(inside), expected)
    assert not rim(np.ones((3, 3), bool)).any()


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 200])
@pytest.mark.parametrize("pixels", [4.0, 10.0, 25.0])
def test_a_ramp_is_as_wide_as_it_was_made(angle: float, pixels: float) -> None:
    y, x = np.mgrid[:120, :130] - 60.0
    along = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    ramp = np.clip(0.5 + 0.8 * along / pixels, 0, 1)  # from 1/10 to 9/10 within `pixels`
    assert transition_width(ramp) == pytest.approx(pixels, rel=1e-6)


@pytest.mark.parametrize("factor", [8, 16, 32])
def test_a_step_between_two_scores_becomes_a_ramp_of_the_stride(factor: int) -> None:
    step = torch.zeros(1, 1, 6, 6)
    step[..., 3:] = 1  # as hard as scores can be
    ramp = BilinearUpsample(1, factor=factor)(step)[0, 0].detach().numpy()
    inside = ramp[2 * factor : -2 * factor]  # near the border upsampling fades to zero
    assert transition_width(inside) == pytest.approx(0.8 * factor, rel=1e-3)


def test_without_an_outline_there_is_no_width() -> None:
    assert transition_width(np.full((20, 20), 0.2)) is None
    assert transition_width(np.full((20, 20), 0.9)) is None


@torch.no_grad()
def test_kernels_are_bilinear_until_they_learn() -> None:
    model = build_model("fcn8s", num_classes=4, backbone=TINY_BACKBONE, fc_channels=16)
    assert isinstance(model, FCN)
    kernels = upsampling_kernels(model, 2)
    assert [(kernel.layer, kernel.factor) for kernel in kernels] == [("up32to16", 2), ("up16to8", 2), ("up8to1", 8)]
    assert all(np.array_equal(kernel.start, kernel.learned) and kernel.other_weight == 0 for kernel in kernels)
    model.up16to8.weight[2, 2, 0, 3] += 0.5  # from class 2 to itself
    model.up16to8.weight[1, 2, 3, 0] = -0.25  # from class 1 into class 2
    model.up16to8.weight[2, 1, 3, 0] = 9.0  # from class 2 into class 1: not asked for
    changed = upsampling_kernels(model, 2)[1]
    assert np.argwhere(changed.learned != changed.start).tolist() == [[0, 3]]
    assert (changed.other, changed.other_weight) == (1, -0.25)
    x = torch.zeros(1, 4, 2, 2)
    x[0, 2, 0, 0] = 1  # one score of class 2 is stamped as its kernel, less the padding
    stamped = model.up16to8(x)[0, 2, :3, :3].numpy()
    np.testing.assert_array_equal(stamped, changed.learned[1:, 1:])
