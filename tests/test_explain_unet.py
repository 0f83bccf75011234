"""What U-Net's skips carry: treatments against changed networks, and the two halves of a convolution."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import TINY_BACKBONE, randomise_batchnorm
from torch.nn import functional as F

from seg.explain.unet import joints, responses, sides, skip_strides, treated, unet_logits, unetpp_nodes
from seg.models import build_model
from seg.models.folding import fold_batchnorm
from seg.models.unet import UNet, UNetPlusPlus

SIZES = [(64, 64), (75, 101)]


@pytest.fixture(scope="module", params=["as trained", "folded"])
def network(request: pytest.FixtureRequest) -> UNet:
    torch.manual_seed(0)
    model = build_model("unet", num_classes=5, backbone=TINY_BACKBONE, decoder_channels=(24, 16, 12, 8, 8))
    model = randomise_batchnorm(model).eval()
    model = fold_batchnorm(model) if request.param == "folded" else model
    assert isinstance(model, UNet)
    return model


def picture(size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_all_skips_kept_is_the_network_itself(network: UNet, size: tuple[int, int]) -> None:
    assert skip_strides(network) == [16, 8, 4, 2]
    x = picture(size)
    assert torch.equal(unet_logits(network, x, ["keep"] * 4), network(x))
    features = network.encoder(x)
    for _ in range(2):  # the features stay for the next treatment
        assert torch.equal(unet_logits(network, x, ["keep"] * 4, features), network(x))


@pytest.mark.parametrize("place", range(4))
@torch.inference_mode()
def test_a_zeroed_skip_is_a_network_without_weights_on_it(network: UNet, place: int) -> None:
    x = picture(SIZES[1])
    changed = copy.deepcopy(network)
    up = changed.decoder[place]
    channels = changed.encoder.channels[-2::-1][place]
    up.conv[0].weight[:, :channels] = 0
    treatments = ["zero" if i == place else "keep" for i in range(4)]
    found = unet_logits(network, x, treatments)  # type: ignore[arg-type]
    torch.testing.assert_close(found, changed(x), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, network(x))


def test_shuffling_moves_places_and_nothing_else() -> None:
    skip = torch.randn(2, 3, 5, 7)
    moved = treated(skip, "shuffle")
    assert not torch.equal(moved, skip)
    assert torch.equal(moved, treated(skip, "shuffle"))
    torch.testing.assert_close(moved.flatten(2).sort().values, skip.flatten(2).sort().values)
    together = torch.stack([moved.flatten(2)[0], skip.flatten(2)[0]])  # whole columns of channels move
    assert {tuple(c) for c in together[0].T.tolist()} == {tuple(c) for c in together[1].T.tolist()}


@torch.inference_mode()
def test_shuffling_changes_the_answer(network: UNet) -> None:
    x = picture(SIZES[0])
    assert not torch.allclose(unet_logits(network, x, ["keep", "keep", "keep", "shuffle"]), network(x))


@torch.inference_mode()
def test_the_two_halves_and_the_bias_are_the_whole_convolution(network: UNet) -> None:
    *features, y = network.encoder(picture(SIZES[1]))
    up, skip = network.decoder[0], features[-1]
    below, beside = sides(up, y, skip)
    conv = up.conv[0]
    whole = F.conv2d(torch.cat([beside, below], dim=1), conv.weight, conv.bias, padding=1)
    bias = 0 if conv.bias is None else conv.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(sum(responses(up, y, skip)) + bias, whole, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_joints_tell_channels_and_shares(network: UNet) -> None:
    found = joints(network, picture(SIZES[0]))
    assert [joint.stride for joint in found] == [16, 8, 4, 2]
    assert [joint.skip for joint in found] == network.encoder.channels[-2::-1]
    assert [joint.below for joint in found] == [24, 16, 12, 8]
    assert [joint.size for joint in found] == [(4, 4), (8, 8), (16, 16), (32, 32)]
    assert all(0 < joint.skip_share < 1 for joint in found)


def test_wrong_treatments_are_named(network: UNet) -> None:
    with pytest.raises(ValueError, match="has 4 skips, got 1 treatments"):
        unet_logits(network, picture(SIZES[0]), ["keep"])
    with pytest.raises(ValueError, match="unknown treatment 'drop'; known: keep, zero, shuffle"):
        treated(torch.zeros(1, 1, 2, 2), "drop")  # type: ignore[arg-type]


def test_nodes_of_unetpp_are_those_of_the_figure() -> None:
    options = {"backbone": TINY_BACKBONE, "decoder_channels": (16, 12, 8, 8, 8)}
    network = build_model("unetpp", num_classes=3, **options)
    assert isinstance(network, UNetPlusPlus)
    nodes = unetpp_nodes(network)
    assert len(nodes) == 10
    assert {(n.row, n.column) for n in nodes} == {(i, j) for j in range(1, 5) for i in range(5 - j)}
    channels = network.encoder.channels
    for node in nodes:  # the paper's equation: j maps of the row, and one from below
        conv = network.nodes[f"{node.row}_{node.column}"].conv[0]
        of_row = (8, 8, 12, 16)[node.row]
        assert conv.in_channels == channels[node.row] + (node.column - 1) * of_row + of_row
        assert node.joined == node.column + 1
        assert node.stride == 2 ** (node.row + 1)
