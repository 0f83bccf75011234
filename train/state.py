"""The state of a run: what is saved to go on later, and how a wish to stop is heard without tearing a step."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from seg.models import DEFAULT_BACKBONE, build_model
from train.auxiliary import WithAuxiliary
from train.config import Recipe
from train.encoder import frozen_layers, init_network
from train.optimise import make_optimizer

HARMLESS = ("eval_every", "eval_images", "save_minutes", "workers", "title", "data")  # a resumed run may change these


class Stopped(Exception):
    """A run was asked to stop and has saved its state; the message says how to go on."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


@dataclass
class Run:
    """What changes during a run and is saved to resume it.

    Attributes:
        model: learns; `model.network` is the network itself.
        ema: the average of its weights, which is scored and shipped.
        step: optimizer steps made.
        encoder_init, init: what the weights started from, for the card.
        losses: of the steps since the last row of the log.
    """

    model: WithAuxiliary
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    step: int
    encoder_init: str
    init: dict[str, Any]
    losses: list[float] = field(default_factory=list)

    def save(self, path: Path, recipe: Recipe) -> None:
        """Write everything to one file, atomically: a kill or a power cut leaves the old file or the new one whole."""
        state = {
            "recipe": recipe.to_dict(),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "encoder_init": self.encoder_init,
            "init": self.init,
            "losses": self.losses,
        }
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def load(self, path: Path, recipe: Recipe) -> None:
        """Take over what `save` wrote; the parameters must already lie on their device.

        Raises:
            ValueError: the state was saved under another recipe; names the keys.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        _check_same_recipe(path, before=state["recipe"], now=recipe.to_dict())
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.encoder_init = state["encoder_init"]
        self.init = state["init"]
        self.losses = state["losses"]


def new_run(recipe: Recipe, *, begin: bool = True, synchronise: bool = False) -> Run:
    """A run before its first step.

    Args:
        begin: load the starting weights; off where a saved state will take their place.
        synchronise: BatchNorm looks at the pictures of all processes (CUDA only).
    """
    network = build_model(recipe.model, num_classes=len(recipe.class_set), **recipe.model_options)
    encoder_init, init = "", dict[str, Any]()
    if begin:
        encoder_init, init = init_network(
            network,
            init=recipe.init,
            encoder_init=recipe.encoder_init,
            backbone=recipe.model_options.get("backbone", DEFAULT_BACKBONE),
        )
    network = network.to(memory_format=torch.channels_last)
    ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
    if synchronise:  # after the copy was made: what is scored and shipped runs in one process
        network = convert_sync_batchnorm(network)
    frozen = frozen_layers(network, recipe.freeze)
    model = WithAuxiliary(network, layers=recipe.aux_layers, num_classes=len(recipe.class_set), frozen=frozen)
    return Run(model, ema, make_optimizer(model, recipe), step=0, encoder_init=encoder_init, init=init)


def _check_same_recipe(path: Path, *, before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [key for key in now if key not in HARMLESS and key in before and before[key] != now[key]]
    if changed:
        told = "; ".join(f"{key} was {before[key]!r}, now {now[key]!r}" for key in changed)
        raise ValueError(
            f"{path} was saved under another recipe: {told}. Resume with the old values, or train in another --folder"
        )


class StopSignals:
    """While this context is open, Ctrl-C and SIGTERM are only noted, in `received`; 0 until then.

    The loop ends the step, saves and raises `Stopped`. A second Ctrl-C does what it always does: it stops at once, and
    the run goes on from its last save.
    """

    def __init__(self) -> None:
        self.received = 0
        self.over = multiprocessing.RawValue(ctypes.c_bool, False)  # other processes see it too

    def __enter__(self) -> StopSignals:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python does not allow handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.value = True
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number


def outlive_signals(over: ctypes.c_bool, _worker: int) -> None:
    """For the processes of a DataLoader: signals reach them with the trainer, which still needs them to end the step.

    They obey SIGTERM once `over` is set, for that is how Python ends its child processes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if over.value else None)
