"""ModelCard: the JSON beside a checkpoint, with everything a program or a person must know about those weights."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg.classes import ClassSet
from seg.transforms import Preprocess

FORMAT = 1
_REQUIRED = (
    "name", "title", "model", "model_options", "classes", "preprocess", "weights", "parameters", "macs", "macs_input",
    "licence",
)  # fmt: skip


class CardError(ValueError):
    """A card that cannot be used; the message names the file, the cause and the next step."""


@dataclass(frozen=True)
class ModelCard:
    """Facts about one set of weights. What the architecture is stands in the code, under the name `model`.

    Attributes:
        name: checkpoint name, also the file name.
        title: how people call the network.
        model, model_options: what `seg.models.build_model` needs.
        classes: what the ids mean.
        preprocess: the network's input.
        weights: {"file", "sha256", "bytes", "dtype"}.
        parameters: learnable numbers of the network.
        macs: multiply-accumulate operations for one picture of `macs_input` (h, w).
        metrics: what was measured, on which images, with which command; {} before the first evaluation.
        training: data, recipe, command, commit, seed, what the encoder started from.
        licence: of the weights.
        intended_use, known_failures: for a reader.
    """

    name: str
    title: str
    model: str
    model_options: dict[str, Any]
    classes: ClassSet
    preprocess: Preprocess
    weights: dict[str, Any]
    parameters: int
    macs: int
    macs_input: tuple[int, int]
    licence: str
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    intended_use: str = ""
    known_failures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or self.name != Path(self.name).name or "\\" in self.name or self.name.startswith("."):
            raise ValueError(f"checkpoint name '{self.name}' must be a plain file name, without folders")

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "title": self.title,
            "model": self.model,
            "model_options": self.model_options,
            "classes": self.classes.to_dict(),
            "preprocess": self.preprocess.to_dict(),
            "weights": self.weights,
            "parameters": self.parameters,
            "macs": self.macs,
            "macs_input": list(self.macs_input),
            "metrics": self.metrics,
            "training": self.training,
            "licence": self.licence,
            "intended_use": self.intended_use,
            "known_failures": list(self.known_failures),
        }


def save_card(card: ModelCard, path: Path) -> None:
    """Write the card as readable JSON, atomically; a list of numbers takes one line."""
    text = json.dumps(card.to_dict(), ensure_ascii=False, indent=1)
    # A line break inside a JSON string is written \n, so what spans lines here is a list, never somebody's words.
    text = re.sub(r"\[\n[-+\d.eE,\s]+\]", lambda found: re.sub(r"\s+", " ", found[0][1:-1]).strip().join("[]"), text)
    part = path.with_suffix(".json.part")
    part.write_text(text + "\n", "utf-8")
    part.replace(path)


def load_card(path: Path) -> ModelCard:
    """Read and check a card.

    Raises:
        CardError: missing, not JSON, a field missing or of the wrong kind.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CardError(f"no card {path}; copy the checkpoint's .json beside its .safetensors") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CardError(f"{path} cannot be read as a card: {error}; get the file again") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CardError(f"{path} is not a model card of format {FORMAT}; write it with `python -m train fit`")
    missing = [key for key in _REQUIRED if key not in values]
    if missing:
        raise CardError(f"{path} lacks {', '.join(missing)}; write it with `python -m train fit`")
    if values["name"] != path.stem:
        raise CardError(f"{path} is the card of '{values['name']}'; name the file {values['name']}.json")
    try:
        return ModelCard(
            name=str(values["name"]),
            title=str(values["title"]),
            model=str(values["model"]),
            model_options=dict(values["model_options"]),
            classes=ClassSet.from_dict(values["classes"]),
            preprocess=Preprocess.from_dict(values["preprocess"]),
            weights={
                **{key: str(values["weights"][key]) for key in ("file", "sha256", "dtype")},
                "bytes": int(values["weights"]["bytes"]),
            },
            parameters=int(values["parameters"]),
            macs=int(values["macs"]),
            macs_input=(int(values["macs_input"][0]), int(values["macs_input"][1])),
            metrics=dict(values.get("metrics", {})),
            training=dict(values.get("training", {})),
            licence=str(values["licence"]),
            intended_use=str(values.get("intended_use", "")),
            known_failures=tuple(values.get("known_failures", ())),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CardError(f"{path} has a wrong entry ({type(error).__name__}: {error}); get the file again") from error
