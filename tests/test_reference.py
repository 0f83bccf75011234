"""torchvision's published weights become a checkpoint like any other; the file here is made by torchvision itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import randomise_batchnorm
from torchvision.models import get_model

from seg import load_predictor
from seg.models import build_model
from train.reference import import_torchvision

ARCH = "lraspp_mobilenet_v3_large"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision publishes them: a state dictionary saved by torch."""
    torch.manual_seed(0)
    model = randomise_batchnorm(get_model(ARCH, weights=None, weights_backbone=None, num_classes=21))
    file = tmp_path_factory.mktemp("published") / "weights.pth"
    torch.save(model.state_dict(), file)
    return file


def test_the_imported_network_computes_what_torchvision_computes(published: Path, tmp_path: Path) -> None:
    card = import_torchvision(ARCH, tmp_path, file=published)
    predictor = load_predictor(tmp_path / f"{card.name}.json")
    theirs = get_model(ARCH, weights=None, weights_backbone=None, num_classes=21).eval()
    theirs.load_state_dict(torch.load(published, weights_only=True))
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = theirs(x)["out"]
    torch.testing.assert_close(predictor.logits(x), expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))
    photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    assert predictor.predict(photo).label_map.shape == (60, 90)
    assert predictor.predict(photo).network_size == (520, 784)


def test_weights_of_another_network_are_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights\.pth does not hold this network"):
        import_torchvision("deeplabv3_mobilenet_v3_large", tmp_path, file=published)


def test_unknown_network_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no segmentation network 'resnet50'; it has .*fcn_resnet50"):
        import_torchvision("resnet50", tmp_path)


def test_auxiliary_classifiers_of_torchvision_are_left_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = get_model("fcn_resnet50", weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    file = tmp_path / "fcn.pth"
    torch.save(model.state_dict(), file)
    card = import_torchvision("fcn_resnet50", tmp_path, file=file)
    ours = build_model("torchvision_reference", num_classes=21, arch="fcn_resnet50")
    assert card.parameters == sum(parameter.numel() for parameter in ours.parameters())
