"""Where networks answer: on a graphics card if there is one, else on the processor.

On Hugging Face's ZeroGPU a card is lent for the seconds that `_predict` runs, in a process of its own. What goes in and
comes out is therefore small and plain, and the weights are moved to the card before the page starts. The lab looks
inside networks on the processor, everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

try:
    import spaces  # before anything touches a card; Hugging Face installs it where it is needed
except ImportError:
    spaces = None

import torch
from PIL import Image

from seg import Segmentation, load_predictor
from seg.card import load_card
from seg.checkpoint import card_path, list_checkpoints
from seg.ui import answers, log
from seg.ui.photo import SharedPhoto
from seg.ui.times import TIMES

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SECONDS = 15  # for which ZeroGPU lends the card at most; who asks for little is served sooner

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _on_card(function: _Function) -> _Function:
    return spaces.GPU(duration=SECONDS)(function) if spaces else function


@_on_card
def _predict(network: str, photo: Image.Image | SharedPhoto, crf: bool) -> Segmentation:
    return load_predictor(network, device=DEVICE).predict(photo, crf=crf)


class Network:
    """A network to ask, wherever it answers.

    Attributes:
        card: what its weights are and what was measured.
    """

    def __init__(self, name: str) -> None:
        """Take the network of this checkpoint.

        Raises:
            CheckpointError: unknown name.
        """
        self.card = load_card(card_path(name))
        self._name = name
        log.asked(name)

    def predict(self, photo: Image.Image | SharedPhoto, *, crf: bool = False) -> Segmentation:
        """What `Predictor.predict` says, or said to this visitor before."""
        shared = photo if isinstance(photo, SharedPhoto) else SharedPhoto(photo)

        def make() -> Segmentation:
            shared.input_for(self.card.preprocess)  # here: what a process that is lent a card prepares is lost with it
            answer = _predict(self._name, shared, crf)
            if not crf:
                TIMES.served(answer)
            return answer

        return answers.kept(shared, (self._name, crf), make)

    def predict_anew(self, photo: Image.Image) -> Segmentation:
        """The same without a CRF and never from memory, for whoever measures how long it takes."""
        return _predict(self._name, photo, False)


def prepare() -> None:
    """Move every network to the card, if there is one: ZeroGPU lends only what lies there before the page starts."""
    if DEVICE != "cpu":
        for name in list_checkpoints():
            load_predictor(name, device=DEVICE)
