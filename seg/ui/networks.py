"""Which networks the page offers, and in what order."""

from __future__ import annotations

from seg import list_checkpoints
from seg.card import load_card
from seg.checkpoint import card_path

CLASSIC = ("fcn8s", "unet", "deeplabv3")  # the three that the page is about


def load_title(name: str) -> str:
    """How the card calls the network."""
    return load_card(card_path(name)).title


def comparable() -> list[str]:
    """Names of the networks that share the first one's classes: only those can be compared pixel by pixel."""
    names = list_checkpoints()
    classes = {name: load_card(card_path(name)).classes for name in names}
    return [name for name in names if classes[name] == classes[names[0]]]


def default_networks() -> list[str]:
    """The three that the page is about, where they are there; else the first three."""
    names = comparable()
    return [name for name in CLASSIC if name in names] if set(CLASSIC) <= set(names) else names[:3]
