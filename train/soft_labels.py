"""What a teacher said about the training pictures: its logits on a coarse grid, read for any crop of them.

Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", 2015. `train.teacher` writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch.nn import functional as F

FILE_NAME = "soft_labels.safetensors"
STRIDE, OFFSET = 4, 2  # a crop's pixels 2, 6, 10, ... get a soft label


@dataclass(frozen=True)
class TeacherFacts:
    """How a soft label file was made.

    Attributes:
        title: of the teacher.
        sha256: of its file.
        side: of the square it looks at, pixels.
        scale, zero_point: logit = scale * (stored - zero_point).
    """

    title: str
    sha256: str
    side: int
    scale: float
    zero_point: int


def write_soft_labels(
    file: Path, names: list[str], logits: np.ndarray, extent: np.ndarray, facts: TeacherFacts
) -> None:
    """Write a soft label file, atomically.

    Args:
        names: of the pictures, without their endings.
        logits: (N, K, g, g) uint8 or int8; corners of the grid lie on the centres of the square's corner pixels.
        extent: (N, 2) float32, the share of the square's height and width that the photo fills, from the top left.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    metadata = {"names": json.dumps(names), **{key: str(value) for key, value in vars(facts).items()}}
    tensors = {"logits": logits, "extent": extent}
    # safetensors writes the memory of an array as it lies, whatever its strides.
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, part, metadata)
    part.replace(file)


class SoftLabels:
    """A soft label file, mapped into memory once in each process that reads it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a file that `write_soft_labels` wrote.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise FileNotFoundError(f"no soft labels {file}; `python -m train teach` makes them")
        self.file = file
        try:
            with safe_open(file, "np") as opened:
                told = opened.metadata()
                self.shape: tuple[int, ...] = tuple(opened.get_slice("logits").get_shape())  # N, K, g, g
                self.extent: np.ndarray = opened.get_tensor("extent")
            self.facts = TeacherFacts(
                told["title"], told["sha256"], int(told["side"]), float(told["scale"]), int(told["zero_point"])
            )
            self.index = {name: i for i, name in enumerate(json.loads(told["names"]))}
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} holds no soft labels: {error}; `python -m train teach` makes them") from error

    @cached_property
    def _logits(self) -> Any:
        return safe_open(self.file, "np").get_slice("logits")

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_logits"}  # another process maps it anew

    def check(self, names: Iterable[str], *, num_classes: int) -> None:
        """Whether this file can teach these pictures.

        Raises:
            ValueError: the teacher knows another number of classes, or never saw some of them; counted.
        """
        if self.shape[1] != num_classes:
            raise ValueError(f"the teacher of {self.file} knows {self.shape[1]} classes, the recipe has {num_classes}")
        missing = [name for name in names if name not in self.index]
        if missing:
            raise ValueError(
                f"{self.file} lacks {len(missing):,} pictures of the training list, for example {missing[0]}; "
                "make it for that list: python -m train teach TEACHER --list LIST"
            )

    def logits(self, name: str) -> torch.Tensor:
        """(K, g, g) float32, what the teacher said about the whole square."""
        i = self.index[name]
        stored = torch.from_numpy(self._logits[i : i + 1][0])
        return (stored.float() - self.facts.zero_point) * self.facts.scale

    def at(self, name: str, positions: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The teacher's logits where the pixels of a crop come from.

        Args:
            positions: (2, c, c) row and column in the photo; negative where a pixel lies outside it.
            size: height and width of the photo, pixels.

        Returns:
            float16 (K, c/4, c/4) logits of the pixels 2, 6, 10, ... of both axes, 0 outside the photo;
            bool (c/4, c/4), inside the photo.
        """
        thinned = positions[:, OFFSET::STRIDE, OFFSET::STRIDE].float()  # (2, c/4, c/4)
        inside = (thinned >= 0).all(dim=0)
        filled = torch.from_numpy(self.extent[self.index[name]]) * self.facts.side  # the photo in the square, pixels
        in_square = (thinned + 0.5) * (filled / torch.tensor(size))[:, None, None] - 0.5  # a pixel is its centre
        grid = 2 * in_square / (self.facts.side - 1) - 1  # -1 and 1 are the centres of the square's corner pixels
        logits = F.grid_sample(
            self.logits(name)[None],
            grid.flip(0).permute(1, 2, 0)[None],  # column first
            padding_mode="border",
            align_corners=True,
        )[0]
        return (logits * inside).half(), inside
