"""Atrous kernels by brute force, atrous features at two strides, and ASPP against changed networks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY_BACKBONE, randomise_batchnorm
from torch.nn import functional as F

from seg.explain.deeplab import aspp_view, at_output_stride, branch_names, coverage, projection, taps
from seg.models import build_model
from seg.models.deeplab import DeepLabV3
from seg.models.folding import fold_batchnorm

OPTIONS: dict[str, Any] = {
    "backbone": TINY_BACKBONE, "output_stride": 16, "atrous_rates": [2, 4, 6], "aspp_channels": 12,
}  # fmt: skip


@pytest.fixture(scope="module", params=["as trained", "folded"])
def network(request: pytest.FixtureRequest) -> DeepLabV3:
    torch.manual_seed(0)
    model = randomise_batchnorm(build_model("deeplabv3", num_classes=5, **OPTIONS)).eval()
    model = fold_batchnorm(model) if request.param == "folded" else model
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


@torch.inference_mode()
def test_another_output_stride_keeps_every_weight_and_scales_the_rates() -> None:
    """That atrous features, thinned out, are those of the larger stride is tested in test_models.py."""
    model = randomise_batchnorm(build_model("deeplabv3", num_classes=5, **OPTIONS)).eval()
    assert isinstance(model, DeepLabV3)
    x = picture()
    same = at_output_stride(model, 16, num_classes=5, options=OPTIONS)
    assert torch.equal(same(x), model(x))
    finer, coarser = (at_output_stride(model, stride, num_classes=5, options=OPTIONS) for stride in (8, 32))
    assert [rate for _, rate in branch_names(finer)] == [1, 4, 8, 12, 0]
    assert [rate for _, rate in branch_names(coarser)] == [1, 1, 2, 3, 0]
    assert finer.backbone(x)[-1].shape[-2:] == (12, 16)
    assert coarser.backbone(x)[-1].shape[-2:] == (3, 4)
    for name, tensor in finer.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


@torch.inference_mode()
def test_all_branches_heard_is_the_network_itself(network: DeepLabV3) -> None:
    x = picture((75, 101))
    view = aspp_view(network, x)
    assert torch.equal(view.logits, network(x))
    assert [(b.kind, b.rate) for b in view.branches] == [
        ("1x1", 1), ("atrous", 2), ("atrous", 4), ("atrous", 6), ("pooling", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("muted", [{0}, {2}, {4}, {1, 3}])
@torch.inference_mode()
def test_a_muted_branch_is_a_projection_without_weights_on_it(network: DeepLabV3, muted: set[int]) -> None:
    x = picture()
    changed = copy.deepcopy(network)
    for branch in muted:
        projection(changed.aspp).weight[:, 12 * branch : 12 * (branch + 1)] = 0
    found = aspp_view(network, x, muted=muted).logits
    torch.testing.assert_close(found, changed(x), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, network(x))


@torch.inference_mode()
def test_the_summands_add_up_to_the_projection(network: DeepLabV3) -> None:
    x = picture()
    branches = aspp_view(network, x).branches
    conv = projection(network.aspp)
    whole = conv(torch.cat([branch.output for branch in branches], dim=1))
    bias = 0 if conv.bias is None else conv.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(sum(branch.contribution for branch in branches) + bias, whole, atol=1e-4, rtol=1e-4)
