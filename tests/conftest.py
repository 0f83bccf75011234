"""What several test files share: a small real checkpoint, photographs, and settings for a quiet machine."""

from __future__ import annotations

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before anything imports gradio
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage
import torch
from page_server import page_server  # noqa: F401, a fixture
from PIL import Image, ImageDraw
from torch import nn

from seg.card import ModelCard
from seg.checkpoint import save_checkpoint
from seg.classes import IGNORE_INDEX, VOC
from seg.models import build_model
from seg.transforms import Preprocess
from train.config import Recipe

torch.set_num_threads(1)

TINY_BACKBONE = "test_efficientnet"  # timm's own test encoder: strides 2 to 32, 82 thousand parameters


@pytest.fixture(autouse=True)
def ordinary_floats() -> Iterator[None]:
    """Predictors flush tiny numbers to zero in their thread; Hypothesis draws no floats in such a thread."""
    yield
    torch.set_flush_denormal(False)


def packaged_photo(name: str) -> Path:
    """A photograph that comes with scikit-image, for example "chelsea.png"."""
    return Path(skimage.__file__).parent / "data" / name


def randomise_batchnorm(model: nn.Module) -> nn.Module:
    """Give every BatchNorm statistics and weights that do something, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
                for tensor in (module.bias, module.running_mean):
                    tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return model


def tiny_model(seed: int = 0) -> nn.Module:
    """An untrained FCN-8s whose labels still differ from place to place."""
    torch.manual_seed(seed)
    model = build_model("fcn8s", num_classes=len(VOC), backbone=TINY_BACKBONE, fc_channels=16)
    model.get_submodule("score16").reset_parameters()  # FCN's skips start silent
    model.get_submodule("score8").reset_parameters()
    return randomise_batchnorm(model).eval()


def tiny_card(**changes: object) -> ModelCard:
    """The card of `tiny_model`, before the facts about its file are known."""
    values: dict[str, object] = {
        "name": "tiny",
        "title": "Tiny FCN",
        "model": "fcn8s",
        "model_options": {"backbone": TINY_BACKBONE, "fc_channels": 16},
        "classes": VOC,
        "preprocess": Preprocess(short_side=64, long_side=128),
        "weights": {},
        "parameters": 0,
        "macs": 0,
        "macs_input": (64, 64),
        "licence": "MIT",
        **changes,
    }
    return ModelCard(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `tiny.json` and `tiny.safetensors`; read only, copy it to change it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save_checkpoint(tiny_model(), tiny_card(), folder)
    return folder


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A photograph of a cat, 225 x 150 pixels."""
    with Image.open(packaged_photo("chelsea.png")) as image:
        return image.convert("RGB").resize((225, 150))


@pytest.fixture(scope="session")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC2012 folder: grey pictures of 90 x 70 pixels, each with a rectangle in the colour of its class."""
    root = tmp_path_factory.mktemp("data") / "VOC2012"
    all_names = [f"picture{i}" for i in range(6)]
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for i, name in enumerate(all_names):
        class_id = 1 + i % 3
        image, label = Image.new("RGB", (90, 70), (90, 90, 90)), Image.new("P", (90, 70))
        label.putpalette(VOC.colormap.tobytes())
        box = (10 + 4 * i, 8, 50 + 4 * i, 55)
        ImageDraw.Draw(image).rectangle(box, fill=VOC.colours[class_id])
        ImageDraw.Draw(label).rectangle(box, fill=class_id, outline=IGNORE_INDEX)
        image.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        label.save(root / "SegmentationClassAug" / f"{name}.png")
    for list_name, names in (("trainaug", all_names[:4]), ("val", all_names[4:])):
        (root / "ImageSets" / "Segmentation" / f"{list_name}.txt").write_text("\n".join(names) + "\n")
    return root


@pytest.fixture
def recipe(voc: Path) -> Recipe:
    """Six steps of a network of 0.1 million parameters on `voc`."""
    return Recipe(
        name="tiny", title="Tiny FCN", model="fcn8s",
        model_options={"backbone": TINY_BACKBONE, "fc_channels": 16},
        encoder_init="none", data=str(voc), crop_size=64, scale=(48, 96), batch_size=2, steps=6, warmup_steps=1,
        encoder_lr=1e-2, head_lr=1e-2, mixed_precision="no", eval_every=0, workers=0, short_side=64, long_side=96,
    )  # fmt: skip
