"""Atrous kernels by brute force, atrous features at two strides, and ASPP against changed networks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY_BACKBONE, randomise_batchnorm
from torch.nn import functional as F

from seg.explain.deeplab import (
    aspp_branches,
    at_output_stride,
    branch_names,
    class_shares,
    coverage,
    decode,
    encode,
    logits_of,
    projection,
    shared_grid,
    taps,
)
from seg.models import build_model
from seg.models.deeplab import DeepLabV3
from seg.models.folding import fold_batchnorm

OPTIONS: dict[str, Any] = {
    "backbone": TINY_BACKBONE, "output_stride": 16, "atrous_rates": [2, 4, 6], "aspp_channels": 12,
}  # fmt: skip


def random_model() -> DeepLabV3:
    torch.manual_seed(0)
    model = randomise_batchnorm(build_model("deeplabv3", num_classes=5, **OPTIONS)).eval()
    assert isinstance(model, DeepLabV3)
    return model


@pytest.fixture(scope="module", params=["as trained", "folded"])
def network(request: pytest.FixtureRequest) -> DeepLabV3:
    model = fold_batchnorm(random_model()) if request.param == "folded" else random_model()
    assert isinstance(model, DeepLabV3)
    return model


def picture(size: tuple[int, int] = (96, 128)) -> torch.Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))


def reached(rates: list[int], side: int = 41) -> np.ndarray:
    """Brute force: the gradient of the middle output of a stack of atrous convolutions of ones."""
    x = torch.zeros(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    y = x
    for rate in rates:
        y = F.conv2d(y, torch.ones(1, 1, 3, 3, dtype=torch.float64), padding=rate, dilation=rate)
    y[0, 0, side // 2, side // 2].backward()
    assert x.grad is not None
    return x.grad[0, 0].numpy()


@pytest.mark.parametrize("rate", [1, 2, 6])
def test_the_taps_are_where_an_atrous_kernel_looks(rate: int) -> None:
    rows, columns = np.nonzero(reached([rate]))
    assert {(int(x) - 20, int(y) - 20) for x, y in zip(columns, rows, strict=True)} == set(taps(rate))


@pytest.mark.parametrize("rates", [[1], [2, 2], [2, 2, 2], [1, 2, 3], [4, 8]])
def test_coverage_counts_the_ways(rates: list[int]) -> None:
    found = coverage(rates)
    reach = len(found) // 2
    assert found.shape == (1 + 2 * sum(rates),) * 2
    np.testing.assert_array_equal(found, reached(rates)[20 - reach : 21 + reach, 20 - reach : 21 + reach])


def test_equal_rates_leave_holes_and_growing_ones_do_not() -> None:
    assert (coverage([2, 2, 2]) == 0).mean() > 0.7
    assert (coverage([1, 2, 3]) > 0).all()


@pytest.mark.parametrize(("rates", "factor"), [([3, 3, 3], 3), ([2, 4, 6], 2), ([4, 8], 4)])
def test_a_common_factor_of_all_rates_is_never_filled_in(rates: list[int], factor: int) -> None:
    found = coverage(rates)
    middle = len(found) // 2
    rows, columns = np.nonzero(found)
    assert not ((rows - middle) % factor).any()
    assert not ((columns - middle) % factor).any()


@torch.inference_mode()
def test_another_output_stride_keeps_every_weight_and_scales_the_rates() -> None:
    model = random_model()
    x = picture()
    same = at_output_stride(model, 16, num_classes=5, options=OPTIONS)
    assert torch.equal(same(x), model(x))
    finer, coarser = (at_output_stride(model, stride, num_classes=5, options=OPTIONS) for stride in (8, 32))
    assert [rate for _, rate in branch_names(finer)] == [1, 4, 8, 12, 0]
    assert [rate for _, rate in branch_names(coarser)] == [1, 1, 2, 3, 0]
    assert encode(finer, x).shape[-2:] == (12, 16)
    assert encode(coarser, x).shape[-2:] == (3, 4)
    for name, tensor in finer.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def without_squeeze(model: DeepLabV3) -> DeepLabV3:
    """The tiny encoder has squeeze-and-excite, a mean over the whole map; the default one has not."""
    for module in model.backbone.modules():
        if hasattr(module, "se"):
            module.se = torch.nn.Identity()
    return model


@pytest.mark.parametrize("size", [(96, 128), (75, 101), (80, 104)])
@torch.inference_mode()
def test_atrous_features_thinned_out_are_the_strided_ones_up_to_the_border(size: tuple[int, int]) -> None:
    """Tiny encoder, padded on both sides: positions 0, 2, 4...; test_models.py has TensorFlow's padding, 1, 3, 5..."""
    model, x = random_model(), picture(size)
    finer = at_output_stride(model, 8, num_classes=5, options=OPTIONS)
    assert shared_grid(encode(finer, x), encode(model, x)).difference > 0.01  # squeeze-and-excite is not local
    fine, coarse = encode(without_squeeze(finer), x), encode(without_squeeze(model), x)
    assert shared_grid(fine, coarse).first == (0, 0)
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(fine[..., 1::2, 1::2], coarse[..., : fine.shape[2] // 2, : fine.shape[3] // 2], atol=0.1)
    for dense, thin in zip(aspp_branches(finer, fine), aspp_branches(model, coarse), strict=True):
        equal = torch.allclose(dense.output[..., ::2, ::2], thin.output, atol=1e-5, rtol=1e-4)
        assert equal == (dense.kind != "pooling")  # with doubled rates; only the mean counts other positions


def test_features_that_are_not_twice_as_dense_are_named() -> None:
    with pytest.raises(ValueError, match="not twice as dense"):
        shared_grid(torch.zeros(1, 2, 9, 9), torch.zeros(1, 2, 3, 3))


@torch.inference_mode()
def test_the_shared_grid_is_found_wherever_it_begins() -> None:
    fine = torch.randn(1, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    for first in ((0, 0), (0, 1), (1, 0), (1, 1)):
        found = shared_grid(fine, fine[..., first[0] :: 2, first[1] :: 2] + 0.001)
        assert found.first == first
        assert 0 < found.difference < 0.01


@torch.inference_mode()
def test_all_branches_heard_is_the_network_itself(network: DeepLabV3) -> None:
    x = picture((75, 101))
    features = encode(network, x)
    branches = aspp_branches(network, features)
    assert torch.equal(decode(network, features, (75, 101)), network(x))
    assert torch.equal(logits_of(network, branches, (75, 101)), network(x))
    assert [(b.kind, b.rate) for b in branches] == [
        ("1x1", 1), ("atrous", 2), ("atrous", 4), ("atrous", 6), ("pooling", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("muted", [{0}, {2}, {4}, {1, 3}, {0, 1, 2, 3, 4}])
@torch.inference_mode()
def test_a_muted_branch_is_a_projection_without_weights_on_it(network: DeepLabV3, muted: set[int]) -> None:
    x = picture()
    changed = copy.deepcopy(network)
    for branch in muted:
        projection(changed.aspp).weight[:, 12 * branch : 12 * (branch + 1)] = 0
    found = logits_of(network, aspp_branches(network, encode(network, x)), (96, 128), muted=muted)
    torch.testing.assert_close(found, changed(x), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, network(x))


@torch.inference_mode()
def test_the_summands_add_up_to_the_projection(network: DeepLabV3) -> None:
    branches = aspp_branches(network, encode(network, picture()))
    conv = projection(network.aspp)
    whole = conv(torch.cat([branch.output for branch in branches], dim=1))
    bias = 0 if conv.bias is None else conv.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(sum(branch.summand for branch in branches) + bias, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("class_id", [0, 3])
def test_the_shares_of_a_class_add_up_and_are_gradient_times_output(network: DeepLabV3, class_id: int) -> None:
    """Behind the branches the network is piecewise linear, so a share is the score's gradient times the output."""
    network = copy.deepcopy(network)  # the fixture's may have met inference mode
    with torch.no_grad():
        features = encode(network, picture())
        branches = aspp_branches(network, features)
        found = class_shares(network, branches, class_id)
        expected = network.classifier(network.aspp(features))[0, class_id]
    torch.testing.assert_close(found.score, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.branches.sum(dim=0) + found.constant, expected, atol=1e-4, rtol=1e-4)

    outputs = [branch.output.clone().requires_grad_() for branch in branches]
    score = network.classifier(network.aspp.project(torch.cat(outputs, dim=1)))[0, class_id]
    score.sum().backward()  # 1x1 from here on: a position's gradient comes from its own score alone
    for output, share in zip(outputs, found.branches, strict=True):
        assert output.grad is not None
        torch.testing.assert_close((output.grad * output)[0].sum(dim=0), share, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_share_is_not_what_muting_takes_away(network: DeepLabV3) -> None:
    """The sentence in the lesson: without a branch the ReLU lets other numbers through."""
    features = encode(network, picture())
    branches = aspp_branches(network, features)
    share = class_shares(network, branches, 3).branches[2]
    whole, muted = (logits_of(network, branches, features.shape[-2:], muted=m)[0, 3] for m in ((), {2}))
    assert not torch.allclose(whole - muted, share, atol=0.01)
