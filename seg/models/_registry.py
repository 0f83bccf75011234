"""Networks by name. A new one is a file with a registered builder and an import line in `seg/models/__init__.py`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

Builder = Callable[..., nn.Module]

_builders: dict[str, Builder] = {}


def register(builder: Builder) -> Builder:
    """Register a keyword-only builder under its own function name."""
    positional = [p.name for p in inspect.signature(builder).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    if positional:
        raise TypeError(f"builder '{builder.__name__}' must be keyword-only; positional: {', '.join(positional)}")
    if builder.__name__ in _builders:
        raise ValueError(f"network '{builder.__name__}' is registered twice; rename one of the builders")
    _builders[builder.__name__] = builder
    return builder


def list_models() -> list[str]:
    """Names `build_model` accepts, in the order of registration."""
    return list(_builders)


def build_model(name: str, *, num_classes: int, **options: Any) -> nn.Module:
    """Build the network `name` with random weights.

    Args:
        name: one of `list_models()`.
        num_classes: number of output channels K, background included.
        options: keyword arguments of that builder, for example `backbone` (a timm encoder) or `atrous_rates`.

    Returns:
        A module that maps x (N, 3, h, w), any h, w >= 32, to logits (N, K, h, w). No softmax inside.

    Raises:
        ValueError: unknown name, or an option that this network does not have.
    """
    if name not in _builders:
        raise ValueError(f"unknown network '{name}'; known: {', '.join(_builders)}")
    builder = _builders[name]
    known = [key for key in inspect.signature(builder).parameters if key != "num_classes"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"network '{name}' has no option {', '.join(map(repr, unknown))}; known: {', '.join(known)}")
    return builder(num_classes=num_classes, **options)
