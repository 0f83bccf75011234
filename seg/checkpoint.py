"""Checkpoints: weights as half-precision safetensors, a card beside them, found by name, checked before use."""

from __future__ import annotations

import copy
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from seg.card import CardError, ModelCard, load_card, save_card
from seg.models import build_model

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
EXTRA_FOLDER_VARIABLE = "SEGLAB_CHECKPOINTS"
REMEDY = "get the files again (`git checkout -- checkpoints` in a clone, or `git lfs pull`)"
_DISPLAY_ORDER = ("fcn32s", "fcn16s", "fcn8s", "unet", "unetpp", "deeplabv1", "deeplabv2", "deeplabv3")


class CheckpointError(RuntimeError):
    """Weights that cannot be used; the message names the file, the cause and the next step."""


def checkpoint_folders() -> list[Path]:
    """Where checkpoints are looked for: `checkpoints/`, then the folders in SEGLAB_CHECKPOINTS."""
    extra = os.environ.get(EXTRA_FOLDER_VARIABLE, "")
    return [CHECKPOINTS, *(Path(folder) for folder in extra.split(os.pathsep) if folder)]


def list_checkpoints() -> list[str]:
    """Names of all checkpoints, the papers' networks first and in the papers' order, then others by name."""
    names = {card.stem for folder in checkpoint_folders() for card in folder.glob("*.json")}
    return [name for name in _DISPLAY_ORDER if name in names] + sorted(names - set(_DISPLAY_ORDER))


def complete_checkpoints() -> list[str]:
    """`list_checkpoints`, for a program that cannot start without them.

    Raises:
        CheckpointError: there is none, or there are weights without a card.
    """
    for folder in checkpoint_folders():
        for weights in sorted(folder.glob("*.safetensors")):
            if not weights.with_suffix(".json").is_file():
                raise CheckpointError(f"{weights} has no card {weights.with_suffix('.json').name} beside it; {REMEDY}")
    if not list_checkpoints():
        raise CheckpointError(f"no checkpoint in {', '.join(map(str, checkpoint_folders()))}; {REMEDY}")
    return list_checkpoints()


def card_path(name_or_path: str | Path) -> Path:
    """The card of a checkpoint given by name, or by the path of its card.

    Raises:
        CheckpointError: no such checkpoint; the message lists the known ones.
    """
    path = Path(name_or_path)
    if path.suffix == ".json":
        return path
    if path.name == str(name_or_path):
        for folder in checkpoint_folders():
            if (candidate := folder / f"{path.name}.json").is_file():
                return candidate
    known = ", ".join(list_checkpoints()) or f"none; put cards and weights into {CHECKPOINTS}"
    raise CheckpointError(f"unknown checkpoint '{name_or_path}'; known: {known}")


def check_checkpoint(name_or_path: str | Path) -> tuple[ModelCard, bytes]:
    """The card of a checkpoint and the bytes of its weights, whose sha256 is the card's.

    Raises:
        CheckpointError: unknown name, missing or damaged card or weights.
    """
    path = card_path(name_or_path)
    try:
        card = load_card(path)
    except CardError as error:
        raise CheckpointError(str(error)) from error
    weights = path.parent / Path(card.weights["file"]).name
    try:
        data = weights.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint '{card.name}': no weights {weights} ({error.strerror}); {REMEDY}") from error
    if hashlib.sha256(data).hexdigest() != card.weights["sha256"]:
        raise CheckpointError(
            f"{weights} ({len(data)} bytes) is not the file its card describes ({card.weights['bytes']} bytes, "
            f"sha256 {card.weights['sha256'][:12]}...): damaged, cut off or from another version; {REMEDY}"
        )
    return card, data


def load_checkpoint(name_or_path: str | Path) -> tuple[nn.Module, ModelCard]:
    """Build the network a card names and load its weights, float32, in eval mode.

    Raises:
        CheckpointError: as `check_checkpoint`, or the weights do not fit. Nothing falls back to random weights.
    """
    card, data = check_checkpoint(name_or_path)
    try:
        model = build_model(card.model, num_classes=len(card.classes), **card.model_options)
        state = {name: tensor.float() for name, tensor in safetensors.torch.load(data).items()}
        model.load_state_dict(state)
    except (ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint '{card.name}' does not fit network '{card.model}': {error}") from error
    return model.eval(), card


def save_checkpoint(model: nn.Module, card: ModelCard, folder: Path) -> ModelCard:
    """Write `<name>.safetensors` and `<name>.json`; returns the card with the facts about weights and size filled in.

    Kernels are stored in half precision; vectors (biases, BatchNorm) stay float32, they are few and their range is
    wide. Counters that only training needs are left out of the parameter count but kept in the file.

    Raises:
        CheckpointError: a weight is not a number, or too large for half precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"'{name}' of '{card.name}' has weights that are no finite float16; train it again")
    data = safetensors.torch.save(state)
    weights = folder / f"{card.name}.safetensors"
    part = weights.with_suffix(".part")
    part.write_bytes(data)
    facts = {
        "file": weights.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "dtype": "float16 kernels, float32 vectors",
    }
    card = replace(
        card,
        weights=facts,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=count_macs(model, card.macs_input),
    )
    part.replace(weights)  # at the last moment: until the card follows, the old one names other weights
    save_card(card, folder / f"{card.name}.json")
    return card


def count_macs(model: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-accumulate operations of one forward pass on a picture of `size` (h, w), counted by PyTorch."""
    model = copy.deepcopy(model).eval()  # the caller's stays in its mode
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, *size, device=next(model.parameters()).device))
    return counter.get_total_flops() // 2
