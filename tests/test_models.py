"""Every registered network keeps the same contract; the papers' parts agree with independent computations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import TINY_BACKBONE, randomise_batchnorm
from torch import nn
from torch.nn import functional as F

from seg.models import build_model, list_models, register
from seg.models.backbone import Backbone, resize
from seg.models.fcn import BilinearUpsample, bilinear_kernel
from seg.models.folding import fold_batchnorm

SIZES = [(32, 32), (33, 47), (64, 96), (65, 129)]
networks = pytest.mark.parametrize("name", list_models())
without_timm = {"unet_classic", "torchvision_reference"}
on_timm_encoders = pytest.mark.parametrize("name", [name for name in list_models() if name not in without_timm])


def build_tiny(name: str) -> nn.Module:
    options: dict[str, Any] = {"backbone": TINY_BACKBONE}
    if name == "unet_classic":
        options = {"base_channels": 4}
    elif name == "torchvision_reference":
        options = {"arch": "lraspp_mobilenet_v3_large"}
    return build_model(name, num_classes=4, **options)


def test_the_papers_networks_are_registered() -> None:
    family = {"fcn32s", "fcn16s", "fcn8s", "unet", "unetpp", "unet_classic", "deeplabv1", "deeplabv2", "deeplabv3"}
    assert family <= set(list_models())


@networks
def test_logits_have_the_size_of_the_input(name: str) -> None:
    model = build_tiny(name).eval()
    with torch.inference_mode():
        for height, width in SIZES:
            assert model(torch.zeros(2, 3, height, width)).shape == (2, 4, height, width)


@on_timm_encoders
@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2_035"])
def test_other_encoders_work(name: str, backbone: str) -> None:
    model = build_model(name, num_classes=3, backbone=backbone).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 65, 97)).shape == (1, 3, 65, 97)


@pytest.mark.parametrize("name", [name for name in list_models() if name.startswith(("fcn", "deeplab"))])
def test_encoders_that_round_odd_sizes_down_work(name: str) -> None:
    model = build_model(name, num_classes=3, backbone="test_convnext").eval()  # patch embeddings drop odd rows
    with torch.inference_mode():
        for height, width in SIZES:
            assert model(torch.zeros(1, 3, height, width)).shape == (1, 3, height, width)


@networks
def test_every_parameter_receives_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = build_tiny(name).train()
    model(torch.randn(2, 3, 96, 96)).square().mean().backward()
    idle = [key for key, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    fixed = {"fcn32s": ["up32to1.weight"], "fcn16s": ["up16to1.weight"], "fcn8s": ["up8to1.weight"]}
    assert idle == fixed.get(name, [])  # FCN's last enlargement stays bilinear


@networks
def test_logits_are_raw_scores(name: str) -> None:
    torch.manual_seed(0)
    logits = build_tiny(name).eval()(torch.randn(1, 3, 64, 64))
    assert not torch.allclose(logits.sum(dim=1), torch.ones(1, 64, 64), atol=0.01)
    assert logits.min() < 0


@networks
def test_state_dict_makes_the_same_network_again(name: str) -> None:
    torch.manual_seed(0)
    first = randomise_batchnorm(build_tiny(name)).eval()
    second = build_tiny(name).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert not torch.equal(first(x), second(x))
        second.load_state_dict(first.state_dict())
        torch.testing.assert_close(first(x), second(x), rtol=0, atol=0)


@networks
def test_pictures_of_a_batch_do_not_influence_each_other(name: str) -> None:
    torch.manual_seed(0)
    model = build_tiny(name).eval()
    x = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(model(x)[1:], model(x[1:]), rtol=1e-4, atol=1e-5)


def test_unknown_network_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown network 'unnet'; known: " + ", ".join(list_models())):
        build_model("unnet", num_classes=21)


@networks
def test_unknown_option_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=rf"network '{name}' has no option 'bakcbone'; known: \w+"):
        build_model(name, num_classes=21, bakcbone="resnet18")


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lit0", "hf-hub:someone/something"])
def test_unknown_backbone_is_named_with_a_near_one(backbone: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown backbone '{backbone}'.*tf_efficientnet_lite0"):
        build_model("unet", num_classes=21, backbone=backbone)


def test_encoder_without_the_needed_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="'test_vit' cannot serve as an encoder at output stride 32"):
        build_model("fcn8s", num_classes=21, backbone="test_vit")
    with pytest.raises(ValueError, match=r"no features at stride 2; it has \[4, 8, 16, 32\]"):
        Backbone("test_convnext").at_stride(2)


def test_unet_says_how_many_steps_up_it_needs() -> None:
    with pytest.raises(ValueError, match=r"one entry per step up, 5 for .*got 2"):
        build_model("unet", num_classes=21, decoder_channels=(8, 8))


def test_builders_are_keyword_only_and_named_once() -> None:
    def positional(num_classes: int) -> nn.Module:
        return nn.Conv2d(3, num_classes, 1)

    def unet(*, num_classes: int) -> nn.Module:
        return nn.Conv2d(3, num_classes, 1)

    with pytest.raises(TypeError, match="keyword-only; positional: num_classes"):
        register(positional)
    with pytest.raises(ValueError, match="'unet' is registered twice"):
        register(unet)


# Folding BatchNorm


@on_timm_encoders
@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "resnet18"])
def test_folded_network_computes_the_same(name: str, backbone: str) -> None:
    torch.manual_seed(0)
    model = randomise_batchnorm(build_model(name, num_classes=4, backbone=backbone)).eval()
    folded = fold_batchnorm(model)
    left = [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert not [name for name in left if not name.endswith(".norm")]  # U-Net's skips come from no convolution
    assert [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)], "the original must stay"
    x = torch.randn(1, 3, 65, 97)
    with torch.inference_mode():
        expected = model(x)
        torch.testing.assert_close(folded(x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


class SharedConv(nn.Module):
    """The convolution's output is read twice, as in pre-activation networks: folding would change the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y + self.bn(y)


class ReluBetween(nn.Sequential):
    """An in-place ReLU hands on the very tensor that left the convolution, but its values are others."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(3))


@pytest.mark.parametrize("kind", [SharedConv, ReluBetween])
def test_what_cannot_be_folded_stays_as_it_is(kind: type[nn.Module]) -> None:
    model = randomise_batchnorm(kind()).eval()
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(fold_batchnorm(model)(x), model(x))


# FCN: upsampling that starts as bilinear interpolation


@pytest.mark.parametrize("factor", [2, 4, 8, 16, 32])
def test_upsampling_starts_as_bilinear_interpolation(factor: int) -> None:
    x = torch.randn(1, 3, 7, 9)
    up = BilinearUpsample(3, factor=factor)(x)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    assert up.shape == expected.shape
    inside = (..., slice(factor, -factor), slice(factor, -factor))  # at the border it fades to zero instead
    torch.testing.assert_close(up[inside], expected[inside])


def test_bilinear_kernel_refuses_odd_factors() -> None:
    torch.testing.assert_close(bilinear_kernel(2)[0], torch.tensor([0.0625, 0.1875, 0.1875, 0.0625]))
    with pytest.raises(ValueError, match=r"factor must be even.*got 3"):
        bilinear_kernel(3)


@pytest.mark.parametrize(
    ("name", "scores"), [("fcn32s", [300.0, 4000.0]), ("fcn16s", [300.0, 4020.0]), ("fcn8s", [301.0, 4020.0])]
)
def test_fcn_adds_the_scores_of_its_strides(name: str, scores: list[float]) -> None:
    model = build_model(name, num_classes=2, backbone=TINY_BACKBONE).eval()
    for layer, bias in {"score8": [1.0, 0.0], "score16": [0.0, 20.0], "score32": [300.0, 4000.0]}.items():
        if hasattr(model, layer):
            nn.init.zeros_(getattr(model, layer).weight)
            getattr(model, layer).bias.data = torch.tensor(bias)
    centre = model(torch.zeros(1, 3, 256, 256))[0, :, 128, 128]
    torch.testing.assert_close(centre, torch.tensor(scores))


def test_a_grown_fcn_begins_with_what_the_coarser_one_knew() -> None:
    torch.manual_seed(0)
    coarse = randomise_batchnorm(build_model("fcn32s", num_classes=4, backbone=TINY_BACKBONE)).eval()
    fine = build_model("fcn8s", num_classes=4, backbone=TINY_BACKBONE).eval()
    fine.load_state_dict(coarse.state_dict(), strict=False)
    x = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        expected, found = coarse(x), fine(x)
    inside = (..., slice(64, -64), slice(64, -64))  # near the border each upsampling fades to zero in its own way
    expected, found = expected[inside], found[inside]
    assert (found - expected).square().mean() < 0.1 * expected.var(dim=(2, 3)).mean()  # 2x2x8 smooths more than 32x


# U-Net: concatenation at every scale


def test_unet_goes_up_as_often_as_the_encoder_goes_down() -> None:
    model = build_model("unet", num_classes=2)
    assert len(model.decoder) + 1 == len(model.encoder.strides) == 5  # the last step up has no skip
    seen: list[tuple[torch.Size, torch.Size]] = []
    for up in model.decoder:
        up.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0].shape, inputs[1].shape)))
    model.eval()(torch.zeros(1, 3, 64, 96))
    assert [tuple(skip[-2:]) for _, skip in seen] == [(4, 6), (8, 12), (16, 24), (32, 48)]
    for (y, skip), up in zip(seen, model.decoder, strict=True):
        assert up.halve.in_channels == y[1]
        assert up.conv[0].in_channels == up.halve.out_channels + skip[1]


def test_a_step_up_halves_before_it_joins() -> None:
    up = build_model("unet", num_classes=2).decoder[0]
    seen: list[torch.Tensor] = []
    up.conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    below, skip = torch.randn(2, 320, 3, 4), torch.randn(2, 112, 5, 8)
    up.eval()(below, skip)
    torch.testing.assert_close(seen[0][:, :112], up.norm(skip))
    torch.testing.assert_close(seen[0][:, 112:], resize(up.halve(below), (5, 8)))


def test_unetpp_joins_every_node_with_all_before_it_on_its_row() -> None:
    model = build_model("unetpp", num_classes=2, decoder_channels=(40, 30, 20, 10, 5)).eval()
    assert list(model.nodes) == ["0_1", "1_1", "2_1", "3_1", "0_2", "1_2", "2_2", "0_3", "1_3", "0_4"]
    encoder = model.encoder.channels  # finest first
    for name, node in model.nodes.items():
        row, column = map(int, name.split("_"))
        own = (10, 20, 30, 40)[row]
        assert node.norm.num_features == encoder[row] + (column - 1) * own
        assert node.halve.in_channels == (encoder[row + 1] if column == 1 else (10, 20, 30, 40)[row + 1])


def test_the_classic_unet_is_as_large_as_published() -> None:
    model = build_model("unet_classic", num_classes=2)
    assert [block[0].out_channels for block in model.encoder] == [64, 128, 256, 512, 1024]
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23  # "In total the network has 23 convolutional layers", section 2


# VGG16, the encoder of the first papers


@on_timm_encoders
def test_vgg16_serves_as_encoder(name: str) -> None:
    model = build_model(name, num_classes=3, backbone="vgg11").eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 33, 47)).shape == (1, 3, 33, 47)


def test_atrous_vgg_sees_as_wide_as_the_strided_one() -> None:
    torch.manual_seed(0)
    strided, atrous = Backbone("vgg11"), Backbone("vgg11", output_stride=8)
    atrous.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 96, 128)
    assert strided.strides == [1, 2, 4, 8, 16, 32]
    assert atrous.strides == [1, 2, 4, 8, 8, 8]
    assert atrous(x)[-1].shape[-2:] == (12, 16)
    convs = [layer.dilation[0] for layer in atrous.net.modules() if isinstance(layer, nn.Conv2d)]
    assert convs == [1, 1, 1, 1, 1, 1, 2, 2]  # conv5 has rate 2, as in DeepLab v1


# DeepLab: atrous convolution


# Where the strided grid lies on the dense one. A stride-2 convolution padded on both sides is centred on 0, 2, 4...;
# TensorFlow's "SAME" padding of an even size pads more behind than before, so it is centred on 1, 3, 5...
@pytest.mark.parametrize(("backbone", "first"), [("resnet18", 0), ("mobilenetv2_035", 0), ("tf_efficientnet_lite0", 1)])
@pytest.mark.parametrize(("dense", "coarse"), [(8, 16), (16, 32)])
def test_atrous_features_contain_the_strided_ones(backbone: str, first: int, dense: int, coarse: int) -> None:
    torch.manual_seed(0)
    strided = randomise_batchnorm(Backbone(backbone, output_stride=coarse)).eval()
    atrous = Backbone(backbone, output_stride=dense).eval()
    atrous.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 128, 192)
    with torch.inference_mode():
        fine, expected = atrous(x)[-1], strided(x)[-1]
    assert fine.shape[-2:] == (128 // dense, 192 // dense)
    torch.testing.assert_close(
        fine[..., first::2, first::2], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
    )
    other = 1 - first  # the other grid is another picture: the comparison can fail
    assert not torch.allclose(fine[..., other::2, other::2], expected, rtol=0.01, atol=0.01)


def test_aspp_has_a_1x1_three_atrous_and_an_image_branch() -> None:
    model = build_model("deeplabv3", num_classes=21, atrous_rates=(4, 8, 12))
    convs = [branch[0] for branch in model.aspp.branches]
    assert [(conv.kernel_size, conv.dilation) for conv in convs] == [
        ((1, 1), (1, 1)),
        ((3, 3), (4, 4)),
        ((3, 3), (8, 8)),
        ((3, 3), (12, 12)),
    ]
    assert {conv.out_channels for conv in convs} == {256}
    assert model.aspp.project[0][0].in_channels == 5 * 256
    assert model.backbone.strides[-1] == 16


def test_deeplab_v1_has_one_large_field_of_view_at_output_stride_8() -> None:
    model = build_model("deeplabv1", num_classes=21)
    fc6, fc7, fc8 = (module for module in model.head.modules() if isinstance(module, nn.Conv2d))
    assert (fc6.kernel_size, fc6.dilation, fc7.kernel_size, fc8.kernel_size) == ((3, 3), (12, 12), (1, 1), (1, 1))
    assert model.backbone.strides[-1] == 8


def test_deeplab_v2_sums_the_scores_of_four_rates() -> None:
    model = build_model("deeplabv2", num_classes=2, backbone=TINY_BACKBONE).eval()
    assert [branch[0][0].dilation[0] for branch in model.branches] == [6, 12, 18, 24]
    x = torch.randn(1, 3, 64, 64)
    features = model.backbone(x)[-1]
    expected = sum(branch(features) for branch in model.branches)
    torch.testing.assert_close(model(x), resize(expected, (64, 64)))


def test_image_pooling_tells_every_place_the_average() -> None:
    pooling = build_model("deeplabv3", num_classes=2, backbone=TINY_BACKBONE).aspp.image_pooling.eval()
    x = torch.rand(1, pooling.conv[0].in_channels, 5, 7)
    y = pooling(x)
    torch.testing.assert_close(y, y[..., :1, :1].expand_as(y))
    shuffled = x.flatten(2)[..., torch.randperm(35)].view_as(x)
    torch.testing.assert_close(pooling(shuffled), y)


def test_resize_keeps_pixel_areas_aligned() -> None:
    x = torch.tensor([[[[0.0, 4.0]]]])
    torch.testing.assert_close(resize(x, (1, 4)), torch.tensor([[[[0.0, 1.0, 3.0, 4.0]]]]))
    assert resize(x, (1, 2)) is x
