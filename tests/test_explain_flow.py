"""Stages of every network: shapes, strides and work against independent counts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from conftest import TINY_BACKBONE
from torch import nn

from seg.checkpoint import count_macs
from seg.explain.flow import Stage, flow, stage_names, strongest
from seg.models import build_model

OPTIONS: dict[str, dict[str, Any]] = {
    "fcn32s": {"fc_channels": 16},
    "fcn16s": {"fc_channels": 16},
    "fcn8s": {"fc_channels": 16},
    "unet": {"decoder_channels": (24, 16, 12, 8, 8)},
    "unetpp": {"decoder_channels": (16, 12, 8, 8, 8)},
    "deeplabv1": {"fc_channels": 16},
    "deeplabv2": {"fc_channels": 16},
    "deeplabv3": {"aspp_channels": 16},
}
SIZE = (64, 96)


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, num_classes=5, backbone=TINY_BACKBONE, **OPTIONS[name]).eval()


def picture() -> torch.Tensor:
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", OPTIONS)
def test_the_stages_cost_what_the_whole_network_costs(name: str) -> None:
    network = network_of(name)
    stages = flow(network, picture())
    assert [stage.name for stage in stages] == stage_names(network)
    assert sum(stage.macs for stage in stages) == count_macs(network, SIZE)
    outside = sum(p.numel() for n, p in network.named_parameters() if not n.startswith(tuple(stage_names(network))))
    assert sum(stage.parameters for stage in stages) + outside == sum(p.numel() for p in network.parameters())
    assert outside < 0.02 * sum(p.numel() for p in network.parameters()), "only BatchNorms between the stages"


@pytest.mark.parametrize("name", OPTIONS)
def test_a_stage_s_output_is_what_the_shared_network_hands_on(name: str) -> None:
    network, x = network_of(name), picture()
    stages = {stage.name: stage for stage in flow(network, x)}
    assert not any(module._forward_hooks for module in network.modules()), "nobody else is watched"
    last = stage_names(network)[-1]
    seen: list[torch.Tensor] = []
    handle = network.get_submodule(last).register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.inference_mode():
        network(x)
    handle.remove()
    torch.testing.assert_close(stages[last].output, seen[0][0], atol=1e-5, rtol=1e-5)
    for stage in stages.values():
        if stage.output.shape[-1] > 1:
            assert abs(stage.output.shape[-1] * stage.stride - SIZE[1]) < stage.stride


def test_strides_of_fcn_are_those_of_the_paper() -> None:
    stages = {stage.name: stage for stage in flow(network_of("fcn8s"), picture())}
    assert [stages[name].stride for name in ("fc", "score32", "score16", "score8", "up8to1")] == [32, 32, 16, 8, 1]


def test_the_strongest_maps_are_the_strongest() -> None:
    output = torch.tensor([0.1, -3.0, 2.0, 0.0]).view(4, 1, 1).expand(4, 2, 3)
    found = strongest(Stage("x", output, 1, 0, 0), 3)
    assert [channel for channel, _ in found] == [1, 2, 0]
    assert torch.equal(found[0][1], output[1])


def test_many_visitors_at_once_see_their_own_photo() -> None:
    network = network_of("fcn8s")
    photos = [torch.full((1, 3, *SIZE), value) for value in (-1.0, 0.0, 1.0, 2.0)] * 3
    alone = [flow(network, x) for x in photos]
    done = threading.Event()

    def ask_unwatched() -> None:
        while not done.is_set():
            network(photos[0])

    with ThreadPoolExecutor(6) as threads:
        others = [threads.submit(ask_unwatched) for _ in range(2)]
        try:
            together = list(threads.map(lambda x: flow(network, x), photos))
        finally:
            done.set()
        assert all(other.result() is None for other in others)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one[0].output, other[0].output)
        assert [stage.macs for stage in one] == [stage.macs for stage in other]


def test_a_network_of_no_known_family_is_named() -> None:
    with pytest.raises(ValueError, match="no strip of stages is written down for Linear"):
        stage_names(nn.Linear(1, 1))
